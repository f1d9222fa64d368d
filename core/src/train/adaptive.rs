//! Steps over many items: an adaptive softmax, whose loss looks at the head and one tail.

use super::{Head, Trainer};
use crate::error::{Error, Result};
use crate::net::{Network, Values};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::optim::Sgd;
use selvedge_kernels::softmax::adaptive::{Clusters, cross_entropy_of_head, loss_exponent};
use selvedge_kernels::softmax::{Kernels, Logits, Number, Temperature};
use selvedge_kernels::{Arg, Element, Error as KernelError};

/// What the logits of an element type are computed in.
type NumberOf<N> = <<N as Network>::Elem as Kernels>::Number;

impl<N: Network, const B: usize> Trainer<N, B> {
    /// One training step on the first `labels.len()` samples of the input by the cross-entropy of an adaptive
    /// softmax, without computing all its probabilities. Returns the sum of the losses, before the step.
    ///
    /// The output of the network is a row of logits, one for each item of `clusters` and then one for each tail; a
    /// label is an item. `scratch` has twice as many elements as such a row. As a layer, which gives
    /// probabilities: [`AdaptiveSoftmax`](crate::net::AdaptiveSoftmax). Numerical behaviour:
    /// [`selvedge_kernels::softmax::adaptive::cross_entropy`]; integers of 8 bits have logits of 16.
    ///
    /// # Errors
    /// [`Error::Loss`] for a label that is no item, for clusters that do not fit the output and for other
    /// scratch; otherwise as [`Trainer::step`]. Nothing has changed then.
    ///
    /// # Example
    /// ```
    /// use selvedge_core::{Rate, Serial, Sgd, net, train::Trainer};
    /// use selvedge_kernels::softmax::adaptive::Clusters;
    /// // Five items: two often seen, and a tail of three. So six logits.
    /// net! { struct Words: [2] { head: dense(6) } }
    /// let clusters = Clusters::new(&[4, 0, 1, 2, 3], &[2, 3], &mut [false; 5])?;
    /// let mut trainer = Trainer::<Words<f32>, 2>::BLANK;
    /// trainer.init(1).unwrap();
    /// let (sgd, mut scratch) = (Sgd::new(Rate { mantissa: 1, exponent: 0 }), [0.0; 12]);
    /// let mut loss = 0.0;
    /// for _ in 0..100 {
    ///     trainer.input_mut().copy_from_slice(&[1.0, -1.0, -1.0, 1.0]);
    ///     loss = trainer.step_adaptive(&Serial, clusters, &[4, 2], &sgd, &mut scratch).unwrap();
    /// }
    /// assert!(loss < 0.1, "{loss}");
    /// # Ok::<(), selvedge_kernels::Error>(())
    /// ```
    ///
    /// Source: Grave et al. 2017.
    pub fn step_adaptive(
        &mut self,
        exec: &impl Executor,
        clusters: Clusters<'_>,
        labels: &[u32],
        sgd: &Sgd,
        scratch: &mut [NumberOf<N>],
    ) -> Result<<NumberOf<N> as Number>::Sum> {
        check::<N, B>(clusters, labels, scratch.len()).map_err(Error::Loss)?;
        let exponent = |_| loss_exponent::<N::Elem>(Temperature::ONE);
        let gradient = |y: Values<'_, Head<N>>, store, dy: &mut [N::Elem]| {
            dy.fill(N::Elem::ZERO); // what no label reads stays
            let logits = Logits::new(y.data, y.exponent);
            cross_entropy_of_head::<N::Elem>(clusters, logits, labels, store, dy, scratch)
        };
        self.descend(exec, labels.len(), sgd, true, exponent, gradient)
    }
}

/// Refuses what the loss would refuse, before anything adapts to the batch.
fn check<N: Network, const B: usize>(
    clusters: Clusters<'_>,
    labels: &[u32],
    scratch: usize,
) -> core::result::Result<(), KernelError> {
    let (classes, items) = (Trainer::<N, B>::OUTPUT_LEN, clusters.items());
    let lens = [
        (Arg::Clusters, classes, clusters.logits()),
        (Arg::Scratch, classes.saturating_mul(2), scratch),
    ];
    for (arg, expected, got) in lens {
        if expected != got {
            return Err(KernelError::Length { arg, expected, got });
        }
    }
    for (row, &label) in labels.iter().enumerate() {
        let label = label as usize;
        if label >= items {
            return Err(KernelError::Label {
                row,
                label,
                classes: items,
            });
        }
    }
    Ok(())
}
