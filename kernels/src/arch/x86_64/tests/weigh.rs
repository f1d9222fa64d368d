//! Weighted rows of every set against plain code.

extern crate std;

use super::{Set, sets};
use crate::arch::block::{Factors, Rows, WIDTH};
use crate::arch::{Isa, Kernel, Scalar};
use crate::rng::mix32;
use std::vec::Vec;

/// A type's weighted rows, with factors of 32 bits.
macro_rules! weigh {
    ($name:ident: $element:ty, $sum:ty, $weigh:ident, |$word:ident| $x:expr, $factor:expr, |$f:ident, $e:ident| $product:expr) => {
        #[test]
        fn $name() {
            struct Weigh<'a>(Factors<'a, $sum>, Rows<'a, $element>, [[$sum; WIDTH]; 4]);
            impl Kernel for Weigh<'_> {
                type Output = Option<[[$sum; WIDTH]; 4]>;

                #[inline(always)]
                fn run<I: Isa>(self, isa: I) -> Self::Output {
                    let Self(factors, rows, mut sums) = self;
                    isa.$weigh(factors, rows, &mut sums).then_some(sums)
                }
            }
            let mut seed = 0;
            let mut next = || {
                seed += 1;
                mix32(seed)
            };
            for count in [1usize, 2, 7, 30] {
                for width in [1usize, 8, 15, 16, 17, 31, 32] {
                    let step = width + 3;
                    let values: Vec<$element> = (0..count * step)
                        .map(|_| {
                            let $word = next();
                            $x
                        })
                        .collect();
                    let words: Vec<$sum> = (0..4 * count)
                        .map(|_| {
                            let $word = next();
                            $factor
                        })
                        .collect();
                    for (sum_step, row_step) in [(count, 1), (1, 4)] {
                        let factors = Factors {
                            values: &words,
                            sum_step,
                            row_step,
                        };
                        let rows = Rows {
                            values: &values[..(count - 1) * step + width],
                            step,
                            count,
                            width,
                        };
                        let begin = [[<$sum>::from(3u8); WIDTH]; 4];
                        let mut want = begin;
                        for k in 0..count {
                            for (r, want) in want.iter_mut().enumerate() {
                                let $f = words[r * sum_step + k * row_step];
                                for (c, want) in want.iter_mut().enumerate().take(width) {
                                    let $e = values[k * step + c];
                                    *want += $product;
                                }
                            }
                        }
                        assert!(Weigh(factors, rows, begin).run(Scalar).is_none());
                        for set in sets() {
                            let Some(got) = set.run(Weigh(factors, rows, begin)) else {
                                assert!(matches!(set, Set::Avx2(_)), "{set:?} does not");
                                continue;
                            };
                            for (want, got) in want.iter().zip(&got) {
                                assert_eq!(want[..width], got[..width], "{count} of {width}");
                            }
                            // Neither rows nor factors may be missing.
                            let short = Rows {
                                count: count + 1,
                                ..rows
                            };
                            assert!(set.run(Weigh(factors, short, begin)).is_none());
                            let values = &words[..words.len() - 1];
                            let short = Factors { values, ..factors };
                            assert!(set.run(Weigh(short, rows, begin)).is_none());
                        }
                    }
                }
            }
        }
    };
}

weigh!(weighted_rows_of_f32: f32, f32, weigh_f32, |word| word as f32 / 4_294_967_296.0 - 0.5,
    word as f32 / 4_294_967_296.0 - 0.5, |f, x| f * x);
weigh!(weighted_rows_of_i8: i8, i32, weigh_i8, |word| word as i8, (word & 0xFFFF) as i32 - 32_768, |f, x| f * i32::from(x));
weigh!(weighted_rows_of_u8: u8, i32, weigh_u8, |word| word as u8, (word & 0xFFFF) as i32 - 32_768,
    |f, x| f * (i32::from(x) - 128));
