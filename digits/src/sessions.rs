//! The same training of an image: `networks/` has the descriptions of the demo's networks.

use crate::{BATCH, Digits, EPOCHS, TRAIN, rate_at, train};
use selvedge_core::image::Role;
use selvedge_core::ops::activation::Few;
use selvedge_core::ops::{Registry, conv, dense, loss, pool};
use selvedge_core::session::{Error, Result, Session};
use selvedge_core::train::Samples;
use selvedge_core::{Element, Executor};
use selvedge_kernels::rng::shuffle;

/// The operators of the demo's network in bytes, and no others.
pub static CNN_OPERATORS: Registry<'static> = &[
    conv::run_over::<i8, Few, 2>(),
    conv::train_over::<i8, Few, 2>(),
    pool::run_over::<i8, 2>(),
    pool::train_over::<i8, 2>(),
    dense::run_with::<i8, Few>(),
    dense::train_with::<i8, Few>(),
    loss::cross_entropy_of::<i8>(),
];

/// Those of the smaller one.
pub static MLP_OPERATORS: Registry<'static> = &[
    dense::run_with::<i8, Few>(),
    dense::train_with::<i8, Few>(),
    loss::cross_entropy_of::<i8>(),
];

/// Puts the images at `indices` into the input of the program of `role`, and returns their labels.
fn load<T: Element>(
    session: &mut Session<'_>,
    role: Role,
    digits: &Digits,
    indices: impl Iterator<Item = usize>,
) -> Result<[u16; BATCH]> {
    let mut labels = [0; BATCH];
    let samples = session.input_mut::<T>(role, 0)?;
    let samples = samples.chunks_exact_mut(crate::PIXELS);
    for ((index, x), label) in indices.zip(samples).zip(&mut labels) {
        *label = digits.read(index, x).unwrap_or(0);
    }
    Ok(labels)
}

/// Trains a session of elements of `T` as [`course`](crate::course) does its typed twin.
///
/// # Errors
/// Those of [`Session::train_step`].
pub fn session_course<T: Element>(
    session: &mut Session<'_>,
    exec: &dyn Executor,
    epochs: u32,
    order: &mut [u16; TRAIN],
    mut on_step: impl FnMut(),
) -> Result<()> {
    let digits = train();
    for epoch in 0..epochs {
        shuffle(session.seed(), epoch, order).map_err(|_| Error::Malformed)?;
        for batch in order.as_chunks::<BATCH>().0 {
            let indices = batch.iter().map(|&index| usize::from(index));
            let labels = load::<T>(session, Role::Train, &digits, indices)?;
            let asked = session.input_mut(Role::Train, 1)?.iter_mut();
            asked.zip(labels).for_each(|(asked, label)| *asked = label);
            session.train_step(exec, BATCH, &rate_at(epoch, EPOCHS))?;
            on_step();
        }
    }
    Ok(())
}

/// How many images a session of elements of `T` recognises.
///
/// # Errors
/// Those of [`Session::run`].
pub fn count_right<T: Element>(
    session: &mut Session<'_>,
    exec: &dyn Executor,
    digits: &Digits,
) -> Result<usize> {
    let (mut right, mut first) = (0, 0);
    while first < digits.len() {
        let samples = BATCH.min(digits.len() - first);
        let indices = first..first + samples;
        let labels = load::<T>(session, Role::Infer, digits, indices)?;
        let mut classes = [0; BATCH];
        let classes = classes.get_mut(..samples).unwrap_or_default();
        session.classify::<T::Head>(exec, samples, classes)?;
        let pairs = classes.iter().zip(&labels);
        right += pairs.filter(|(class, label)| class == label).count();
        first += samples;
    }
    Ok(right)
}
