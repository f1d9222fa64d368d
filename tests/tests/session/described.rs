//! The networks that targets describe, compile and compare: what each is there for happens in it.

use super::with_image;
use selvedge_core::image::{Image, Role};
use selvedge_core::ops::Kind;
use selvedge_core::{Element, Serial};
use selvedge_digits::described::{self, Case};
use std::collections::BTreeSet;

/// With and without a stop half-way.
fn fingerprints<T: Element>(mut case: Case<T>) -> [String; 2] {
    [false, true].map(|is_stopped| {
        case.is_stopped = is_stopped;
        case.fingerprint(&Serial).unwrap().to_string()
    })
}

macro_rules! all {
    ($($name:ident($narrow:ident, $wide:ident),)*) => {
        [$(
            (stringify!($name), fingerprints(described::$name::<$narrow>())),
            (stringify!($name), fingerprints(described::$name::<$wide>())),
        )*]
    };
}

#[test]
fn a_session_that_is_stopped_gives_the_bytes_of_one_that_is_not() {
    let all = selvedge_digits::each_described!(all!());
    for (name, [whole, stopped]) in &all {
        assert_eq!(whole, stopped, "{name}");
    }
    let different: BTreeSet<_> = all.iter().map(|(_, [whole, _])| whole).collect();
    assert_eq!(different.len(), all.len(), "each type has its bytes");
}

fn with<R>(case: &Case<i8>, then: impl FnOnce(&Image<'_>) -> R) -> R {
    let bytes = case.network.compile(i8::DTYPE, &case.options).unwrap();
    with_image(&bytes, then)
}

/// Whether training has an operator of this kind.
fn has(case: &Case<i8>, kind: Kind) -> bool {
    with(case, |image| {
        image.kinds(Role::Train).any(|found| found == Some(kind))
    })
}

#[test]
fn each_network_has_what_it_is_there_for() {
    assert!(has(&described::types(), Kind::Convert));
    assert!(has(&described::attention(), Kind::RotaryBackward));
    assert!(has(&described::carried(), Kind::RecurrentStep));
    assert!(has(&described::branches(), Kind::MixtureGate));
    assert!(with(&described::ticks(), |image| image.has(Role::Step)));
    assert!(with(&described::gathered(), |image| image.has(Role::Update)));
    let tight = described::budget();
    assert!(has(&tight, Kind::Restate));
    let mut roomy = tight.clone();
    roomy.options.budget = selvedge_core::network::Budget::NONE;
    let arena = |case: &Case<i8>| with(case, |image| image.arena_bytes());
    assert!(arena(&tight) < arena(&roomy));
}

#[test]
fn each_network_lists_the_operators_that_its_image_has_and_no_others() {
    macro_rules! check {
        ($($name:ident($narrow:ident, $wide:ident),)*) => {$({
            let case = described::$name::<i8>();
            let roles = Role::ALL.into_iter();
            let kinds: Vec<_> = with(&case, |image| roles.flat_map(|role| {
                image.has(role).then(|| image.kinds(role)).into_iter().flatten()
            }).flatten().collect());
            for group in case.operators {
                let is_there = group.iter().any(|kernel| kinds.contains(&kernel.kind));
                assert!(is_there, "{}: {:?}", stringify!($name), group[0].kind);
            }
        })*};
    }
    selvedge_digits::each_described!(check!());
}
