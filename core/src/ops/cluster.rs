//! Soft k-means: how near rows are to each of several centres, which are learned.

use super::call::{Attributes, Call, Direction, read, write};
use super::learned::{self, Learned, Target};
use super::{Fault, Kernel, Kind, Result};
use crate::net::{Pass, copy};
use selvedge_kernels::cluster::{self, Clusters, Errors, Metric, Mode, Saved, Shape, Temperature};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::optim::Role;
use selvedge_kernels::scale::Scale;
use selvedge_kernels::{self as kernels, Element};

super::groups! {
    /// Soft k-means.
    run, train: KMeans forward, KMeansStep step;
}

/// What a layer of clusters computes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) shape: Shape,
    pub(crate) metric: Metric,
    pub(crate) temperature: Temperature,
    pub(crate) mode: Mode,
}

impl Told {
    fn clusters<'a, T: Element>(
        &self,
        centres: &'a [T],
        exponent: i32,
        x_exponent: i32,
    ) -> Clusters<'a, T> {
        Clusters {
            metric: self.metric,
            temperature: self.temperature,
            centres,
            exponent,
            x_exponent,
        }
    }
}

/// What the backward pass changes. Typed layers and operators both call it, so their bytes are the same.
pub(crate) struct Parameters<'a, T: Element, C> {
    pub(crate) centres: C,
    /// Room for the centres before the update: their gradient reads them while each that is summed is applied.
    pub(crate) before: &'a mut [T],
    pub(crate) score_scale: &'a mut T::Scale,
    pub(crate) error_scale: &'a mut T::Scale,
}

impl<'a, T: Element, C: Target<'a, T, T::Update>> Parameters<'a, T, C> {
    /// Takes the error to `dx`, where that is asked for, and updates; returns the exponents of the gradient and of `dx`.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)] // those of `Layer::backward`, and what differs
    pub(crate) fn backward<E: Executor>(
        self,
        told: Told,
        pass: &Pass<'_, E>,
        number: u32,
        (x, x_exponent): (&[T], i32),
        members: &[T::Member],
        scores: &mut [T::Score],
        (dy, dy_exponent): (&[T], i32),
        dx: Option<&mut [T]>,
    ) -> kernels::Result<[i32; 2]> {
        let Self {
            centres,
            before,
            score_scale,
            error_scale,
        } = self;
        let Told { shape, mode, .. } = told;
        copy(centres.value(), before);
        let clusters = told.clusters(&*before, centres.exponent().into(), x_exponent);
        let errors = Errors { mode, dy, members };
        let exponent = clusters.score_exponent(shape, mode, dy_exponent);
        let (bits, nearest) = (T::MAGNITUDE_BITS.min(15), Rounding::NearestEven);
        let score = score_scale.requantize(exponent, bits, pass.mode, nearest, |store| {
            cluster::scores(pass.exec, shape, clusters, errors, store, scores)
        })?;
        let saved = Saved { x, members, scores };
        let mut below = dy_exponent;
        if let Some(dx) = dx {
            let context = Direction::Backward.context::<T, E>(pass, number, error_scale);
            below = context.rescale(clusters.input_exponent(score), |store| {
                cluster::backward_input(pass.exec, shape, clusters, saved, store, dx)
            })?;
        }
        let exponent = clusters.gradient_exponent(mode, score, dy_exponent);
        let words = pass.update_words(number, 0);
        centres.learn(pass.sgd, exponent, words, |gradient| {
            let exponents = [score, dy_exponent];
            cluster::backward_centres(shape, clusters, saved, errors, exponents, gradient)
        })?;
        Ok([exponent, below])
    }
}

/// Attributes: rows of a sample, features, clusters, metric, temperature's mantissa and exponent, whether means are given.
fn told(batch: usize, attributes: &mut Attributes<'_>) -> Result<Told> {
    let [rows, features, clusters] = attributes.sizes()?;
    let metric = match attributes.word()? {
        0 => Metric::Euclidean,
        1 => Metric::Manhattan,
        2 => Metric::Cosine,
        _ => return Err(Fault::Malformed),
    };
    let temperature = Temperature {
        mantissa: attributes.word()? as u8,
        exponent: attributes.word()? as i16, // its two's complement
    };
    let mode = match attributes.word()? {
        0 => Mode::Probabilities,
        _ => Mode::Features,
    };
    Ok(Told {
        shape: Shape {
            rows: batch.saturating_mul(rows),
            features,
            clusters,
        },
        metric,
        temperature,
        mode,
    })
}

/// Values: x, centres; y, distances and shares.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let told = told(call.batch, &mut call.attributes())?;
    let [x_exponent, exponent] = [0, 1].map(|slot| call.exponent(slot));
    let slots = [0, 1, 2, 3];
    let exponent = call.with::<T, _, 4>(Direction::Forward, 0, slots, |context, views| {
        let [x, centres, y, members] = views;
        let clusters = told.clusters(read::<T>(centres)?, exponent, x_exponent);
        let (exec, y, members) = (context.exec, write::<T>(y)?, write(members)?);
        cluster::members(exec, told.shape, clusters, read(x)?, members)?;
        let members = &*members;
        Ok(
            context.rescale(clusters.output_exponent(told.mode), |store| {
                cluster::forward(exec, told.shape, clusters, told.mode, members, store, y)
            })?,
        )
    })?;
    call.set_exponent(2, exponent);
    Ok(())
}

/// Values: x, distances and shares, dy, centres with what learns beside them; dx, gradient, centres before, scores.
fn step<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    const CENTRES: usize = 3;
    const DX: usize = 6;
    const GRADIENT: usize = 7;
    let told = told(call.batch, &mut call.attributes())?;
    let [x_exponent, exponent] = [0, 2].map(|slot| call.exponent(slot));
    let mut of_centres = call.exponent(CENTRES) as i16; // it comes from `i16`
    let mut scales: [T::Scale; 2] = [call.scale(0), call.scale(1)];
    let (pass, number, is_needed) = (call.pass(), call.number(), call.has(DX));
    let slots = [0, 1, 2, 3, 4, 5, GRADIENT, DX, 8, 9];
    let [x, members, dy, c0, c1, c2, c3, dx, before, scores] = call.views(slots)?;
    let [score_scale, error_scale] = &mut scales;
    let parameters = Parameters::<T, _> {
        centres: Learned::<T, T::Update>::of([c0, c1, c2, c3], &mut of_centres, Role::Bias)?,
        before: write(before)?,
        score_scale,
        error_scale,
    };
    let dx = if is_needed { Some(write(dx)?) } else { None };
    let (x, dy) = ((read(x)?, x_exponent), (read(dy)?, exponent));
    let (members, scores) = (read(members)?, write(scores)?);
    let [sums, below] = parameters.backward(told, &pass, number, x, members, scores, dy, dx)?;
    for (index, scale) in scales.into_iter().enumerate() {
        call.set_scale(index, scale);
    }
    learned::keep(call, [CENTRES], GRADIENT, [of_centres], [sums]);
    call.set_exponent(DX, below);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use super::Told;
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind, learned};
    use alloc::vec;
    use selvedge_kernels::Element;
    use selvedge_kernels::cluster::{Kernels, Metric, Mode};

    #[derive(Debug)]
    struct KMeans;

    /// The shares of `centres` in each row of `x`, or their means; `told` for one sample.
    pub(crate) fn append<T: Element>(
        graph: &mut Graph,
        x: ValueId,
        centres: ValueId,
        told: Told,
        number: u32,
    ) -> ValueId {
        let (shape, mut extents) = (told.shape, graph.shape_of(x));
        let means = told.mode == Mode::Features;
        if let Some(last) = extents.last_mut()
            && !means
        {
            *last = shape.clusters;
        }
        let y = graph.computed(T::DTYPE, extents);
        let row = size_of::<T::Member>();
        let members = graph.raw(vec![shape.rows, shape.clusters, row], true);
        let attributes = vec![
            shape.rows as u32,
            shape.features as u32,
            shape.clusters as u32,
            match told.metric {
                Metric::Euclidean => 0,
                Metric::Manhattan => 1,
                Metric::Cosine => 2,
            },
            told.temperature.mantissa.into(),
            told.temperature.exponent as u16 as u32,
            means.into(),
        ];
        let node = Node::new(&KMeans, Kind::KMeans, T::DTYPE, number)
            .inputs([Some(x), Some(centres)])
            .outputs([Some(y)])
            .scratch([members])
            .attributes(attributes)
            .states(1);
        graph.node(node);
        y
    }

    impl Describe for KMeans {
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[x, Some(centres)], &[Some(y)], &[members]) =
                (&*node.inputs, &*node.outputs, &*node.scratch)
                && let &[rows, _, clusters, ..] = &*node.attributes
                && let Some(dy) = walk.error(y, node.number)
            {
                let dtype = node.dtypes[0];
                let score = crate::network::builder::by_dtype!(dtype, T => {
                    size_of::<<T as Kernels>::Score>()
                });
                let (parameters, gradients) = learned::describe::told(
                    walk,
                    node,
                    [learned::describe::Told::wide(Some(centres))],
                );
                let dx = walk.new_error(x);
                let shape = walk.graph.shape_of(centres);
                let scores = vec![rows as usize, clusters as usize, score];
                let scratch = [
                    walk.graph.computed_once(dtype, shape),
                    walk.graph.raw(scores, true),
                ];
                let step = Node::new(self, Kind::KMeansStep, dtype, node.number)
                    .inputs([x, Some(members), Some(dy)])
                    .inputs(parameters)
                    .outputs([dx])
                    .outputs(gradients)
                    .scratch(scratch)
                    .attributes(node.attributes.clone())
                    .states(2);
                walk.graph.node(step);
            }
            Ok(())
        }
    }
}
