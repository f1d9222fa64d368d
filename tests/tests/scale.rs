//! Delayed scaling: how an exponent state follows what it sees.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::expect_used)]

use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::scale::{Exponent, Mode, Scale};
use selvedge_kernels::{Arg, Error};

/// An exponent state does not change when the kernel that it runs refuses.
#[test]
fn a_refused_pass_leaves_the_exponent_alone() {
    let refuse = |_| Err(Error::Zero { arg: Arg::Shape });
    let rounding = Rounding::NearestEven;
    let mut state = Exponent::UNSET;
    assert!(
        state
            .requantize(-14, 7, Mode::Train, rounding, refuse)
            .is_err()
    );
    assert_eq!(state, Exponent::UNSET);
    assert_eq!(
        state.requantize(-14, 7, Mode::Train, rounding, |_| Ok(10)),
        Ok(-11)
    );
    let before = state;
    assert!(
        state
            .requantize(0, 7, Mode::Train, rounding, refuse)
            .is_err()
    );
    assert_eq!(state, before);
}

/// Delayed scaling, step by step (`docs/numerics.md` §4).
#[test]
fn exponents_grow_at_once_and_shrink_slowly() {
    let rounding = Rounding::NearestEven;
    let mut state = Exponent::UNSET;
    let mut step = |range, mode| {
        let used = state
            .requantize(0, 7, mode, rounding, |_| Ok(range))
            .expect("the kernel accepts");
        (used, state.get(), state.low())
    };
    assert_eq!(
        step(0, Mode::Train),
        (0, None, 0),
        "nothing seen: provisional"
    );
    assert_eq!(
        step(10, Mode::Infer),
        (3, None, 0),
        "inference calibrates for itself only"
    );
    assert_eq!(step(10, Mode::Train), (3, Some(3), 0), "calibration");
    assert_eq!(
        step(12, Mode::Train),
        (3, Some(5), 0),
        "grows for the next step"
    );
    assert_eq!(step(0, Mode::Train), (5, Some(5), 0), "zeros say nothing");
    for low in 1..64 {
        assert_eq!(step(9, Mode::Train), (5, Some(5), low));
    }
    assert_eq!(
        step(9, Mode::Infer),
        (5, Some(5), 63),
        "inference counts nothing"
    );
    assert_eq!(
        step(9, Mode::Train),
        (5, Some(4), 0),
        "shrinks by one after 64"
    );
    assert_eq!(step(9, Mode::Train), (4, Some(4), 1));
    assert_eq!(
        step(11, Mode::Train),
        (4, Some(4), 0),
        "a fitting step starts the count again"
    );
}
