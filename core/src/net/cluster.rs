//! A layer of soft k-means: how near a row is to each of several centres, which are learned.

use super::{
    Backward, Context, Errors, Info, Layer, Optimizer, OutputTape, Param, Pass, Plain, SampleTape,
    Slopes, Tape, Values, Visitor, VisitorMut, hand_scales, show_scales,
};
use crate::error::{Result, in_layer};
use crate::ops::cluster::{Parameters, Told};
use crate::tensor::{Shape, Tensor};
use core::marker::PhantomData;
use selvedge_kernels::Element;
use selvedge_kernels::cluster::{self, Clusters, Metric, Mode, Temperature};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::init::Gain;
use selvedge_kernels::optim::Role;
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::Scale;

/// What a k-means layer gives, as a type.
pub trait Gives: 'static {
    /// The same for kernels.
    const MODE: Mode;
    /// Of inputs `In` and shares `P`, the shape of the output.
    type Output<In: Shape, P: Shape>: Shape;
}

/// The share of each cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shares;

/// The mean of the centres, by shares.
#[derive(Clone, Copy, Debug, Default)]
pub struct Means;

impl Gives for Shares {
    const MODE: Mode = Mode::Probabilities;
    type Output<In: Shape, P: Shape> = P;
}

impl Gives for Means {
    const MODE: Mode = Mode::Features;
    type Output<In: Shape, P: Shape> = In;
}

/// How rows are compared with centres, as a type.
pub trait Clustering: 'static {
    /// Which distance.
    const METRIC: Metric = Metric::Euclidean;
    /// How soft the assignment is.
    const TEMPERATURE: Temperature = Temperature::ONE;
}

/// By the Euclidean distance, at temperature 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Euclidean;

impl Clustering for Euclidean {}

/// Soft k-means of each row (the last axis, `D`) of `In` with centres `C` (`[K, D]`): shares `P`, of the
/// shape of `In` with `K` in place of `D`, or the means of centres by these shares, as `O` says. Centres start
/// uniform, with variance 1. Numerical behaviour: [`selvedge_kernels::cluster`].
///
/// # Example
/// ```
/// use selvedge_core::net::{KMeans, Layer, Means};
/// use selvedge_core::tensor::{D1, D2};
/// // How near 16 features are to each of four centres, and the mean of the centres by that.
/// type Members = KMeans<i8, D1<16>, D2<4, 16>, D1<4>>;
/// type Snapped = KMeans<i8, D1<16>, D2<4, 16>, D1<4>, Means>;
/// static MEMBERS: Members = Layer::BLANK;
/// static SNAPPED: Snapped = Layer::BLANK;
/// assert_eq!(MEMBERS.centres().elements().len(), 4 * 16);
/// ```
/// Shapes that do not belong together do not compile: centres are as long as rows.
/// ```compile_fail
/// # use selvedge_core::net::{KMeans, Layer};
/// # use selvedge_core::tensor::{D1, D2};
/// static MEMBERS: KMeans<i8, D1<16>, D2<4, 8>, D1<4>> = Layer::BLANK;
/// ```
pub struct KMeans<T: Element, In, C: Shape, P, O = Shares, M = Euclidean, R: Optimizer = Plain> {
    centres: Param<T, C, R>,
    /// The centres before an update: their gradient reads them while each that is summed is applied.
    before: Tensor<T, C>,
    output_scale: T::Scale,
    score_scale: T::Scale,
    error_scale: T::Scale,
    shapes: PhantomData<(In, P, O, M)>,
}

/// The output of a k-means layer, and distances, shares and scores of all rows.
pub struct KMeansTape<T: Element, Out: Shape, P: Shape, const B: usize> {
    output: OutputTape<T, Out, B>,
    members: SampleTape<T::Member, P, B>,
    scores: SampleTape<T::Score, P, B>,
}

impl<T: Element, Out: Shape, P: Shape, const B: usize> Tape for KMeansTape<T, Out, P, B> {
    const BLANK: Self = Self {
        output: Tape::BLANK,
        members: Tape::BLANK,
        scores: Tape::BLANK,
    };

    fn reset(&mut self) {
        self.output.reset();
    }
}

impl<T: Element, In: Shape, C: Shape, P: Shape, O: Gives, M: Clustering, R: Optimizer>
    KMeans<T, In, C, P, O, M, R>
{
    /// The centres, `[K, D]`.
    pub const fn centres(&self) -> &Param<T, C, R> {
        &self.centres
    }

    const CHECKED: () = {
        assert!(
            C::RANK == 2 && C::CHANNELS == In::CHANNELS,
            "k_means: centres must be rows as long as those of the input"
        );
        assert!(
            P::CHANNELS == C::EXTENTS[0] && P::Leading::LEN == In::Leading::LEN,
            "k_means: a share for each row and each centre"
        );
    };

    const fn extents(batch: usize) -> cluster::Shape {
        cluster::Shape {
            rows: batch * In::Leading::LEN,
            features: In::CHANNELS,
            clusters: P::CHANNELS,
        }
    }

    fn clusters(&self, x_exponent: i32) -> Clusters<'_, T> {
        Clusters {
            metric: M::METRIC,
            temperature: M::TEMPERATURE,
            centres: self.centres.elements(),
            exponent: i32::from(self.centres.exponent()),
            x_exponent,
        }
    }
}

impl<T: Element, In: Shape, C: Shape, P: Shape, O: Gives, M: Clustering, R: Optimizer> Layer
    for KMeans<T, In, C, P, O, M, R>
{
    type Elem = T;
    type In = T;
    type Out = T;
    type Input = In;
    type Output = O::Output<In, P>;
    type Tape<const B: usize> = KMeansTape<T, O::Output<In, P>, P, B>;

    const BLANK: Self = {
        let () = Self::CHECKED;
        Self {
            centres: Param::BLANK,
            before: Tensor::BLANK,
            output_scale: Scale::UNSET,
            score_scale: Scale::UNSET,
            error_scale: Scale::UNSET,
            shapes: PhantomData,
        }
    };

    const INFO: Info = Info {
        kind: "k_means",
        numbers: 1,
        parameters: C::LEN,
        macs: In::Leading::LEN * C::LEN,
        flash_bytes: Param::<T, C, R>::FLASH_BYTES + if T::DTYPE.is_integer() { 2 } else { 0 },
        errors: Errors {
            error: O::Output::<In, P>::LEN,
            spare: In::LEN,
            swaps: true,
        },
        errors_first: Errors {
            error: O::Output::<In, P>::LEN,
            spare: 0,
            swaps: false,
        },
        without_velocities: Info::without_velocities::<R>(),
        sum: None, // the forward pass refuses more rows
        long_sum: None,
        long_sum_first: None,
    };

    fn init(&mut self, seed: u32, number: u32) -> Result<()> {
        let words = Words::new(seed, stream::parameter(number, 0), 0);
        self.centres
            .init(words, Gain::LeCun, 1)
            .map_err(in_layer(number))?;
        (self.output_scale, self.score_scale) = (Scale::UNSET, Scale::UNSET);
        self.error_scale = Scale::UNSET;
        Ok(())
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, T>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, T>> {
        let shape = Self::extents(x.batch);
        let mut scale = self.output_scale;
        let clusters = self.clusters(x.exponent);
        let members = tape.members.samples_mut(x.batch);
        cluster::members(pass.exec, shape, clusters, x.data, members).map_err(in_layer(number))?;
        let members = &*members;
        let out = tape.output.samples_mut(x.batch);
        let context = Context::<T, E>::forward(pass, number, &mut scale);
        let exponent = context
            .rescale(clusters.output_exponent(O::MODE), |store| {
                cluster::forward(pass.exec, shape, clusters, O::MODE, members, store, out)
            })
            .map_err(in_layer(number))?;
        self.output_scale = scale;
        Ok(tape.output.keep(pass.mode, x.batch, exponent))
    }

    fn output<'t, const B: usize>(
        &self,
        x: Values<'t, T>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, T> {
        tape.output.values(x.batch)
    }

    fn backward<'e, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, T>,
        tape: &mut Self::Tape<B>,
        errors: Backward<'e, T>,
        is_needed: bool,
    ) -> Result<Backward<'e, T>> {
        tape.output.begin_backward(number, x.batch)?;
        let batch = x.batch;
        let (members, scores) = (&tape.members, &mut tape.scores);
        let (members, scores) = (members.samples(batch), scores.samples_mut(batch));
        let lens = [batch * O::Output::<In, P>::LEN, batch * In::LEN];
        errors
            .through(lens, is_needed, |dy, exponent, dx| {
                let parameters = Parameters {
                    centres: self.centres.parameter(Role::Bias),
                    before: self.before.elements_mut(),
                    score_scale: &mut self.score_scale,
                    error_scale: &mut self.error_scale,
                };
                let told = Told {
                    shape: Self::extents(batch),
                    metric: M::METRIC,
                    temperature: M::TEMPERATURE,
                    mode: O::MODE,
                };
                let (x, dy) = ((x.data, x.exponent), (&*dy, exponent));
                let [_, below] =
                    parameters.backward(told, pass, number, x, members, scores, dy, dx)?;
                Ok(below)
            })
            .map_err(in_layer(number))
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        self.centres.visit(visitor);
        show_scales::<T>(
            visitor,
            &[self.output_scale, self.score_scale, self.error_scale],
        );
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        self.centres.visit_mut(visitor);
        hand_scales::<T, 3>(
            visitor,
            [
                &mut self.output_scale,
                &mut self.score_scale,
                &mut self.error_scale,
            ],
        );
    }
}
