//! A mixture of softmaxes whose weights are learned.

use super::parts::shape;
use super::{Call, Direction, Result, read, stored, temperature, write};
use crate::net::Context;
use crate::ops::learned::{self, Learned, Target};
use crate::ops::{Kernel, Kind};
use selvedge_kernels::optim::{Role, Sgd};
use selvedge_kernels::rng::Words;
use selvedge_kernels::softmax::{Errors, Logits, gradient_exponent, mixture};
use selvedge_kernels::{self as kernels, Element};

crate::ops::groups! {
    /// A mixture by weights of its own.
    run, train: LearnedMixture forward, LearnedMixtureStep step;
}

/// A mixture of these extents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mixed<'a, T> {
    pub(crate) shape: mixture::Shape,
    /// Logits of the components.
    pub(crate) logits: Logits<'a, T>,
}

/// What the way back works in.
#[derive(Debug)]
pub(crate) struct Step<'a, T: Element> {
    /// Room for the weights as they are before.
    pub(crate) before: &'a mut [T],
    pub(crate) numbers: &'a mut [T::Number],
    pub(crate) sums: &'a mut [T::Acc],
}

/// The first `len` numbers; all if there are fewer, which a kernel then refuses.
fn first<N>(numbers: &mut [N], len: usize) -> &mut [N] {
    let len = len.min(numbers.len());
    numbers.get_mut(..len).unwrap_or_default()
}

impl<T: Element> Mixed<'_, T> {
    /// Takes the error to `dx`, where that is asked for with its context, and returns its exponent; the weights learn.
    pub(crate) fn step<'t, E>(
        self,
        (dy, exponent): (&[T], i32),
        dx: Option<(Context<'_, T, E>, &mut [T])>,
        weight: impl Target<'t, T, T::Acc>,
        (sgd, words): (&Sgd, Words),
        room: Step<'_, T>,
    ) -> kernels::Result<i32> {
        let Self { shape, logits } = self;
        let Step {
            before,
            numbers,
            sums,
        } = room;
        for (to, &from) in before.iter_mut().zip(weight.value()) {
            *to = from;
        }
        let of_weights = Logits::new(&*before, weight.exponent().into());
        let weights = mixture::Weights::Logits(of_weights);
        let mut below = exponent;
        let (k, n) = (shape.components, shape.classes);
        if let Some((context, dx)) = dx {
            let acc = gradient_exponent::<T>(exponent, logits.temperature);
            let numbers = first(numbers, k.saturating_add(n.saturating_mul(2)));
            below = context.rescale(acc, |store| {
                let errors = Errors { dy, store };
                mixture::backward(shape, weights, logits, errors, dx, numbers)
            })?;
        }
        let acc = weights.gradient_exponent(exponent);
        weight.learn(sgd, acc, words, |gradient| {
            let numbers = first(numbers, n.saturating_add(k.saturating_mul(2)));
            mixture::backward_weights(shape, weights, logits, dy, gradient, numbers, sums)
        })?;
        Ok(below)
    }
}

/// Attributes: temperature, rows of a sample, components, classes. Values: x, weights; y, numbers.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let temperature = temperature(&mut attributes)?;
    let shape = shape(call.batch, &mut attributes)?;
    let [x_exponent, exponent] = [0, 1].map(|slot| call.exponent(slot));
    let [x, weights, y, numbers] = call.views([0, 1, 2, 3])?;
    let weights = mixture::Weights::Logits(Logits::new(read::<T>(weights)?, exponent));
    let logits = Logits::new(read(x)?, x_exponent).at(temperature);
    mixture::forward(shape, weights, logits, write(y)?, write(numbers)?)?;
    call.set_exponent(2, stored::<T>());
    Ok(())
}

/// Values: x, dy, weights with what learns beside them; dx, gradient; the weights before, numbers, sums.
fn step<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    const WEIGHTS: usize = 2;
    const DX: usize = 5;
    const GRADIENT: usize = 6;
    let mut attributes = call.attributes();
    let temperature = temperature(&mut attributes)?;
    let shape = shape(call.batch, &mut attributes)?;
    let [x_exponent, exponent] = [0, 1].map(|slot| call.exponent(slot));
    let mut of_weights = call.exponent(WEIGHTS) as i16; // it comes from `i16`
    let (pass, number, is_needed) = (call.pass(), call.number(), call.has(DX));
    let words = pass.update_words(number, 0);
    let slots = [0, 1, WEIGHTS, 3, 4, DX, GRADIENT, 7, 8, 9];
    let below = call.with::<T, _, 10>(Direction::Backward, 0, slots, |context, views| {
        let [x, dy, w0, w1, w2, dx, w3, before, numbers, sums] = views;
        let weight = Learned::of([w0, w1, w2, w3], &mut of_weights, Role::Bias)?;
        let mixed = Mixed {
            shape,
            logits: Logits::new(read::<T>(x)?, x_exponent).at(temperature),
        };
        let room = Step {
            before: write(before)?,
            numbers: write(numbers)?,
            sums: write(sums)?,
        };
        let dx = write(dx)?;
        let dx = is_needed.then_some((context, dx));
        Ok(mixed.step((read(dy)?, exponent), dx, weight, (pass.sgd, words), room)?)
    })?;
    let weights = Logits::<T>::new(&[], of_weights.into());
    let sums = mixture::Weights::Logits(weights).gradient_exponent(exponent);
    learned::keep(call, [WEIGHTS], GRADIENT, [of_weights], [sums]);
    call.set_exponent(DX, below);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::learned::describe::Told;
    use crate::ops::{Describe, Kind, learned};
    use alloc::vec;
    use alloc::vec::Vec;
    use selvedge_kernels::Element;
    use selvedge_kernels::optim::Role;

    #[derive(Debug)]
    struct LearnedMixture;

    /// Bytes of a sum of a weight's gradient.
    pub(crate) const fn sum_bytes<T: Element>() -> usize {
        size_of::<T::Acc>()
    }

    /// `x`, `[.., K, N]`, by `weights` to `shape`, `[.., N]`. `bytes` are those of a number and of a sum.
    pub(crate) fn append(
        graph: &mut Graph,
        number: u32,
        [x, weights]: [ValueId; 2],
        temperature: u32,
        [components, classes]: [usize; 2],
        bytes: [usize; 2],
        shape: Vec<usize>,
    ) -> ValueId {
        let dtype = graph.dtype_of(x);
        let rows = shape.iter().product::<usize>() / classes.max(1);
        let [of_number, of_sum] = bytes;
        let numbers = graph.raw(vec![components + 2 * classes, of_number], false);
        let mut attributes = vec![temperature];
        attributes.extend([rows, components, classes, of_number, of_sum].map(|size| size as u32));
        let y = graph.computed(dtype, shape);
        let node = Node::new(&LearnedMixture, Kind::LearnedMixture, dtype, number)
            .inputs([Some(x), Some(weights)])
            .outputs([Some(y)])
            .scratch([numbers])
            .attributes(attributes);
        graph.node(node);
        y
    }

    impl Describe for LearnedMixture {
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[x, weights], &[Some(y)], &[_, _, k, n, of_number, of_sum]) =
                (&*node.inputs, &*node.outputs, &*node.attributes)
                && let Some(dy) = walk.error(y, node.number)
            {
                let (parameters, gradients) =
                    learned::describe::told(walk, node, [Told::new(weights, Role::Bias)]);
                let dx = walk.new_error(x);
                let [k, n, of_number, of_sum] = [k, n, of_number, of_sum].map(|n| n as usize);
                let dtype = node.dtypes[0];
                let room = [
                    walk.graph.computed_once(dtype, vec![k]),
                    walk.graph
                        .raw(vec![(k + 2 * n).max(2 * k + n), of_number], false),
                    walk.graph.raw(vec![k, of_sum], false),
                ];
                let step = Node::new(self, Kind::LearnedMixtureStep, dtype, node.number)
                    .inputs([x, Some(dy)])
                    .inputs(parameters)
                    .outputs([dx])
                    .outputs(gradients)
                    .scratch(room)
                    .attributes(node.attributes.clone())
                    .states(1);
                walk.graph.node(step);
            }
            Ok(())
        }
    }
}
