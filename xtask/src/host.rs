//! What the host trains, for the fingerprints that every target must give.

use crate::Result;
use selvedge_core::net::Network;
use selvedge_core::train::Trainer;
use selvedge_core::{Element, Serial};
use selvedge_digits::{BATCH, CnnTrainer, EPOCHS, MlpTrainer, SEED, TRAIN, course, zoo};

/// The fingerprint of the larger boards' network.
pub(crate) fn cnn() -> Result<String> {
    fingerprint(Box::new(CnnTrainer::<i8>::BLANK), EPOCHS)
}

/// The fingerprint of the micro:bit's network.
pub(crate) fn mlp() -> Result<String> {
    fingerprint(Box::new(MlpTrainer::<i8>::BLANK), EPOCHS)
}

/// Name and fingerprint of each integer type of the demo, after one epoch.
pub(crate) fn one_epoch() -> Result<[(&'static str, String); 4]> {
    fn of<T: Element>() -> Result<(&'static str, String)> {
        let fingerprint = fingerprint(Box::new(CnnTrainer::<T>::BLANK), 1)?;
        Ok((T::DTYPE.name(), fingerprint))
    }
    Ok([of::<i8>()?, of::<u8>()?, of::<i16>()?, of::<u16>()?])
}

/// Name and fingerprint of each network of the zoo in its two types.
pub(crate) fn zoo() -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    macro_rules! train {
        ($($name:ident: $network:ident($narrow:ident, $wide:ident),)*) => {$(
            train!($name: $network, $narrow);
            train!($name: $network, $wide);
        )*};
        ($name:ident: $network:ident, $t:ident) => {{
            let mut trainer = Box::new(Trainer::<zoo::$network<$t>, { zoo::BATCH }>::BLANK);
            let fingerprint =
                zoo::fingerprint(&mut trainer, &Serial).map_err(|error| error.to_string())?;
            let name = concat!("zoo_", stringify!($name), "_", stringify!($t));
            all.push((name.to_owned(), fingerprint.to_string()));
        }};
    }
    selvedge_digits::each!(train!());
    Ok(all)
}

fn fingerprint<N: Network<In = <N as Network>::Elem>>(
    mut trainer: Box<Trainer<N, BATCH>>,
    epochs: u32,
) -> Result<String> {
    let mut order = [0; TRAIN];
    course(&mut trainer, &Serial, SEED, epochs, &mut order, |_| ())
        .map_err(|error| error.to_string())?;
    Ok(trainer.fingerprint().to_string())
}
