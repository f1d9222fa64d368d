//! What walks over a network's parameters and states: to save a model, to load one, to compare two.

use selvedge_kernels::Element;
use selvedge_kernels::batch_norm::Running;
use selvedge_kernels::scale::{Scale, State};

/// What walks over a network's parameters, in layer order; and over what training keeps beside them, if
/// it asks for that.
///
/// A deployed network is its parameters, running statistics and exponent states. A model whose training goes
/// on with the same bytes is that with velocities, and with what [`Trainer::visit`](crate::train::Trainer::visit) says.
pub trait Visitor {
    /// One parameter tensor: stored elements, row-major; low bytes of their masters, where they
    /// have any; exponent, of integers.
    fn parameter<P: Element>(&mut self, value: &[P], residual: &[i8], exponent: i16);

    /// The velocities of the parameter tensor before, where momentum keeps them; integers at the exponent of the
    /// masters.
    fn velocities<V: Element>(&mut self, velocities: &[V]) {
        let _ = velocities;
    }

    /// The exponent state of an activation or error of integers; `None` if it has seen nothing.
    fn exponent_state(&mut self, state: Option<State>) {
        let _ = state;
    }

    /// Running statistics of each channel.
    fn running<S: Element>(&mut self, running: &[Running<S>]) {
        let _ = running;
    }
}

/// What changes a network's parameters, in layer order: loads weights; and what training keeps beside them, if
/// it asks for that. The same calls as of a [`Visitor`].
///
/// # Example
/// ```
/// use selvedge_core::net::{Layer, Network, VisitorMut};
/// use selvedge_core::{Element, net, train::Trainer};
/// use selvedge_kernels::batch_norm::Running;
///
/// /// Takes the running statistics of another program, as floats, for channels in order.
/// struct Statistics<'a>(&'a [(f64, f64)]);
///
/// impl VisitorMut for Statistics<'_> {
///     fn parameter<P: Element>(&mut self, _: &mut [P], _: &mut [i8], _: &mut i16) {}
///
///     fn running<S: Element>(&mut self, running: &mut [Running<S>]) {
///         // Integers count in units of 2^-32.
///         let unit = if S::DTYPE.is_integer() { 2f64.powi(-32) } else { 1.0 };
///         let (own, rest) = self.0.split_at(running.len());
///         for (running, &(mean, variance)) in running.iter_mut().zip(own) {
///             running.mean = S::from_f64(mean / unit);
///             running.variance = S::from_f64(variance / unit);
///         }
///         self.0 = rest;
///     }
/// }
///
/// net! { struct Net: [2] { norm: batch_norm, head: dense(2) } }
/// let mut trainer = Trainer::<Net<i8>, 1>::BLANK;
/// trainer.init(1)?;
/// let mut statistics = Statistics(&[(0.5, 0.25), (-1.0, 2.0)]);
/// trainer.network_mut().layers_mut().visit_mut(&mut statistics);
/// assert_eq!(trainer.network().norm().running().elements()[1].variance, 2 << 32);
/// # Ok::<(), selvedge_core::Error>(())
/// ```
pub trait VisitorMut {
    /// One parameter tensor: stored elements, row-major; low bytes of their masters, where they
    /// have any (0 if the element is all there is); exponent, of integers.
    fn parameter<P: Element>(&mut self, value: &mut [P], residual: &mut [i8], exponent: &mut i16);

    /// The velocities of the parameter tensor before, where momentum keeps them; integers at the exponent of the
    /// masters.
    fn velocities<V: Element>(&mut self, velocities: &mut [V]) {
        let _ = velocities;
    }

    /// The exponent state of an activation or error of integers; `None` if it has seen nothing. More than 63
    /// steps with a bit to spare are taken as 63.
    fn exponent_state(&mut self, state: &mut Option<State>) {
        let _ = state;
    }

    /// Running statistics of each channel.
    fn running<S: Element>(&mut self, running: &mut [Running<S>]) {
        let _ = running;
    }
}

/// Shows the exponent states of a layer of `T`; floats have none.
pub(crate) fn show_scales<T: Element>(visitor: &mut impl Visitor, scales: &[T::Scale]) {
    if T::DTYPE.is_integer() {
        for scale in scales {
            visitor.exponent_state(scale.state());
        }
    }
}

/// Hands them out, to be changed.
pub(crate) fn hand_scales<T: Element, const N: usize>(
    visitor: &mut impl VisitorMut,
    scales: [&mut T::Scale; N],
) {
    if T::DTYPE.is_integer() {
        for scale in scales {
            let mut state = scale.state();
            visitor.exponent_state(&mut state);
            *scale = Scale::from_state(state);
        }
    }
}
