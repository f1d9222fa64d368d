//! The networks that every target trains for comparison: their steps reach each parameter, and any number of
//! tasks gives the same bytes. (`cargo xtask test` compares targets.)

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

use selvedge_core::Serial;
use selvedge_core::train::Trainer;
use selvedge_digits::zoo::{self, BATCH};
use selvedge_tests::parameters::tensors;
use selvedge_tests::threads::Threads;

macro_rules! in_both_types {
    ($test:ident: $($name:ident: $network:ident($narrow:ident, $wide:ident),)*) => {$(
        #[test]
        fn $name() {
            $test!($network, $narrow);
            $test!($network, $wide);
        }
    )*};
}

mod every_tensor_moves {
    use super::*;

    macro_rules! moves {
        ($network:ident, $t:ident) => {{
            let mut trainer = Box::new(Trainer::<zoo::$network<$t>, BATCH>::BLANK);
            trainer.init(selvedge_digits::SEED).unwrap();
            let before = tensors(trainer.network());
            zoo::train(&mut trainer, &Serial).unwrap();
            for (number, (was, is)) in before.iter().zip(tensors(trainer.network())).enumerate() {
                assert!(
                    *was != is,
                    "{}: tensor {number} has not moved",
                    stringify!($t)
                );
            }
        }};
    }

    selvedge_digits::each!(in_both_types!(moves:));
}

mod any_number_of_tasks {
    use super::*;

    macro_rules! gives_the_same_bytes {
        ($network:ident, $t:ident) => {{
            let fingerprint = |tasks| {
                let mut trainer = Box::new(Trainer::<zoo::$network<$t>, BATCH>::BLANK);
                match tasks {
                    1 => zoo::fingerprint(&mut trainer, &Serial).unwrap(),
                    _ => zoo::fingerprint(&mut trainer, &Threads(tasks)).unwrap(),
                }
            };
            assert_eq!(fingerprint(3), fingerprint(1), "{}", stringify!($t));
        }};
    }

    selvedge_digits::each!(in_both_types!(gives_the_same_bytes:));
}
