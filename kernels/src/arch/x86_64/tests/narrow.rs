//! Epilogues of every set against plain code.

extern crate std;

use super::{Set, fill, sets};
use crate::activation::Activation;
use crate::arch::{Isa, Kernel, Scalar};
use crate::element::Element;
use crate::fixed::{Magnitude, Rounding};
use crate::requantize::{Epilogue, Store};
use crate::rng::Words;

/// The epilogue of some rows, by an instruction set.
struct Tile16<'a, T: Element> {
    acc: &'a [[T::Acc; 48]; 5],
    place: [usize; 3],
    epilogue: Epilogue<T>,
    out: &'a mut [T],
}

impl<T: Element> Kernel for Tile16<'_, T> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let (mut acc, mut range) = (*self.acc, Default::default());
        self.epilogue
            .tile_by(isa, &mut acc, self.place, 77, &mut range, self.out, &mut []);
        range.bits()
    }
}

/// Accumulators become bytes as they do in plain code: ties, extremes, all shifts, parts of vectors.
#[test]
fn narrowing_agrees() {
    fn agrees<T: Element<Acc = i32>>(isa: Set, extremes: &[i32]) {
        let words = fill(5 * 48, 5, extremes, |u| (u as i32) >> (u % 31));
        let mut acc = [[0; 48]; 5];
        for (to, &x) in acc.as_flattened_mut().iter_mut().zip(&words) {
            *to = x;
        }
        let roundings = [
            Rounding::NearestEven,
            Rounding::Stochastic(Words::new(1, 2, 3)),
        ];
        for shift in -2..34 {
            for (case, columns) in (1..=48).enumerate() {
                let (rows, step) = (case % 5 + 1, columns + case % 3);
                for rounding in roundings {
                    for activation in [Activation::Identity, Activation::Relu] {
                        let epilogue = Epilogue {
                            activation,
                            exponent: 0,
                            store: Store::Shift { shift, rounding },
                        };
                        let [mut got, mut want] = [[T::ZERO; 260]; 2];
                        let place = [rows, columns, step];
                        let kernel = |out| Tile16 {
                            acc: &acc,
                            place,
                            epilogue,
                            out,
                        };
                        let seen = isa.run(kernel(&mut got[..]));
                        let name = std::format!("{isa:?}, {place:?}, {epilogue:?}");
                        assert_eq!(seen, kernel(&mut want[..]).run(Scalar), "{name}");
                        assert_eq!(got, want, "{name}");
                    }
                }
            }
        }
    }
    let extremes = [i32::MAX, -i32::MAX, 1 << 30, 127, -128, 384, -3, 2, 0];
    for isa in sets() {
        agrees::<i8>(isa, &extremes);
        agrees::<u8>(isa, &extremes);
    }
}
