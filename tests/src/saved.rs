//! Models as bytes: what visitors save and load.

use selvedge_core::Element;
use selvedge_core::net::{Network, Visitor, VisitorMut};
use selvedge_core::train::Trainer;
use selvedge_kernels::batch_norm::Running;
use selvedge_kernels::scale::State;

/// What is saved beside parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Of momentum.
    Velocities,
    /// States of activations and errors.
    Exponents,
    /// Statistics of batch normalisation.
    Running,
}

/// All kinds.
pub const ALL: [Kept; 3] = [Kept::Velocities, Kept::Exponents, Kept::Running];

/// A model as bytes.
#[derive(Default)]
pub struct Saved {
    /// Everything, in the order of the visitor.
    pub bytes: Vec<u8>,
    /// How many tensors or states there are of each kind.
    pub counts: [usize; 3],
}

impl Saved {
    /// Adds elements as little-endian bytes.
    pub fn elements<T: Element>(&mut self, elements: &[T]) {
        for element in elements {
            element.le_bytes(|bytes| self.bytes.extend(bytes));
        }
    }
}

impl Visitor for Saved {
    fn parameter<P: Element>(&mut self, value: &[P], residual: &[i8], exponent: i16) {
        self.elements(value);
        self.elements(residual);
        self.elements(&[exponent]);
    }

    fn velocities<V: Element>(&mut self, velocities: &[V]) {
        self.counts[0] += 1;
        self.elements(velocities);
    }

    fn exponent_state(&mut self, state: Option<State>) {
        self.counts[1] += 1;
        match state {
            None => self.bytes.push(u8::MAX),
            Some(State { exponent, low }) => {
                self.bytes.push(low);
                self.elements(&[exponent]);
            }
        }
    }

    fn running<S: Element>(&mut self, running: &[Running<S>]) {
        self.counts[2] += 1;
        for running in running {
            self.elements(&[running.mean, running.variance]);
        }
    }
}

/// Reads what was saved; what is not kept is read and left as it was.
pub struct Loader<'a> {
    /// What is left to be read.
    pub bytes: &'a [u8],
    /// What is loaded beside parameters.
    pub kept: &'a [Kept],
}

impl Loader<'_> {
    fn elements<T: Element>(&mut self, elements: &mut [T]) {
        for element in elements {
            let (own, rest) = self.bytes.split_at(T::DTYPE.bytes());
            *element = T::from_le_bytes_of(own).unwrap();
            self.bytes = rest;
        }
    }

    fn one<T: Element>(&mut self) -> T {
        let mut element = [T::ZERO];
        self.elements(&mut element);
        element[0]
    }
}

impl VisitorMut for Loader<'_> {
    fn parameter<P: Element>(&mut self, value: &mut [P], residual: &mut [i8], exponent: &mut i16) {
        self.elements(value);
        self.elements(residual);
        *exponent = self.one();
    }

    fn velocities<V: Element>(&mut self, velocities: &mut [V]) {
        let mut read = velocities.to_vec();
        self.elements(&mut read);
        if self.kept.contains(&Kept::Velocities) {
            velocities.copy_from_slice(&read);
        }
    }

    fn exponent_state(&mut self, state: &mut Option<State>) {
        let read = match self.one() {
            u8::MAX => None,
            low => Some(State {
                exponent: self.one(),
                low,
            }),
        };
        if self.kept.contains(&Kept::Exponents) {
            *state = read;
        }
    }

    fn running<S: Element>(&mut self, running: &mut [Running<S>]) {
        for running in running {
            let read = Running {
                mean: self.one(),
                variance: self.one(),
            };
            if self.kept.contains(&Kept::Running) {
                *running = read;
            }
        }
    }
}

/// Gives `to` all that `from` has learned: networks of the same parameters and states, whatever their extents.
///
/// # Panics
/// If one has more of them than the other.
pub fn copy<A: Network, B: Network, const M: usize, const N: usize>(
    from: &Trainer<A, M>,
    to: &mut Trainer<B, N>,
) {
    let mut saved = Saved::default();
    from.visit(&mut saved);
    let mut loader = Loader {
        bytes: &saved.bytes,
        kept: &ALL,
    };
    to.visit_mut(&mut loader);
    assert!(loader.bytes.is_empty(), "bytes are left over");
}
