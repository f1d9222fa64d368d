//! Layers over a stream: what windows see of earlier passes.

use super::{Backward, Info, Layer, Pass, SampleTape, Slopes, Tape, Values, Visitor, VisitorMut};
use crate::error::{Result, in_layer};
use crate::ops::stream::advance;
use crate::tensor::{D2, Shape};
use selvedge_kernels::Element;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::split::move_up;

/// `Inner` over a stream of rows of `F` features, of which a pass is given `L`: windows also see the `CONTEXT`
/// rows before, those of earlier passes, and zeros before the first. So `Inner` takes `[CONTEXT + L, F]`, the layer
/// `[L, F]`; to begin a new stream, [`Tape::reset`].
///
/// A convolution of `k` columns at a dilation of `d` wants a context of `(k - 1) · d`; a stride must divide `L`. In
/// pieces of any length a stream gives the bytes of the whole sequence with that many zeros before it. Training is
/// truncated: no error goes to rows of earlier passes. Rows are kept at the exponent of their pass; where the next one
/// has another, they are rounded to it, to nearest even. It takes no number.
///
/// # Example
/// ```
/// use selvedge_core::net::{Conv, Layer, Relu, Slide, Stream};
/// use selvedge_core::tensor::{D2, D3};
/// // Sample by sample: of each new row of four features and the two before it, eight features.
/// type Window = Conv<i8, D2<3, 4>, D3<8, 3, 4>, D2<1, 8>, Slide, Relu>;
/// type Live = Stream<Window, 1, 4, 2>;
/// static LIVE: Live = Layer::BLANK;
/// assert_eq!(Live::INFO.parameters, 8 * 3 * 4 + 8);
/// ```
/// What `Inner` takes must be the context and the piece:
/// ```compile_fail
/// # use selvedge_core::net::{Conv, Layer, Relu, Slide, Stream};
/// # use selvedge_core::tensor::{D2, D3};
/// static LIVE: Stream<Conv<i8, D2<3, 4>, D3<8, 3, 4>, D2<1, 8>, Slide, Relu>, 1, 4, 3> = Layer::BLANK;
/// ```
pub struct Stream<Inner, const L: usize, const F: usize, const CONTEXT: usize> {
    inner: Inner,
}

/// What a stream keeps: the rows before, and those that windows see.
pub struct StreamTape<I: Layer, const CONTEXT: usize, const F: usize, const B: usize> {
    inner: I::Tape<B>,
    context: SampleTape<I::Elem, D2<CONTEXT, F>, B>,
    rows: SampleTape<I::Elem, I::Input, B>,
    exponent: i32,
    is_running: bool,
}

impl<I: Layer, const CONTEXT: usize, const F: usize, const B: usize> Tape
    for StreamTape<I, CONTEXT, F, B>
{
    const BLANK: Self = Self {
        inner: Tape::BLANK,
        context: Tape::BLANK,
        rows: Tape::BLANK,
        exponent: 0,
        is_running: false,
    };

    fn reset(&mut self) {
        self.inner.reset();
        self.is_running = false;
    }
}

impl<I: Layer, const L: usize, const F: usize, const CONTEXT: usize> Stream<I, L, F, CONTEXT> {
    /// The layer that runs over the stream.
    pub const fn inner(&self) -> &I {
        &self.inner
    }

    /// Elements of a sample's piece, and of what windows see of it.
    const PIECE: usize = L * F;
    const SEEN: usize = (CONTEXT + L) * F;
}

impl<I, const L: usize, const F: usize, const CONTEXT: usize> Layer for Stream<I, L, F, CONTEXT>
where
    I: Layer<In = <I as Layer>::Elem>,
{
    type Elem = I::Elem;
    type In = I::Elem;
    type Out = I::Out;
    type Input = D2<L, F>;
    type Output = I::Output;
    type Tape<const B: usize> = StreamTape<I, CONTEXT, F, B>;

    const BLANK: Self = {
        assert!(
            I::Input::RANK == 2 && I::Input::EXTENTS[0] == CONTEXT + L && I::Input::CHANNELS == F,
            "stream: the inner layer must take CONTEXT + L rows of F features"
        );
        Self { inner: I::BLANK }
    };

    const INFO: Info = I::INFO;
    const TICKS: usize = if I::TICKS > 0 { 1 } else { 0 };

    fn init(&mut self, seed: u32, number: u32) -> Result<()> {
        self.inner.init(seed, number)
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, I::Elem>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, I::Out>> {
        let context = tape.context.samples_mut(B);
        if !tape.is_running {
            context.fill(I::Elem::ZERO);
            tape.exponent = x.exponent;
        }
        let (sizes, kept) = ([CONTEXT * F, Self::PIECE], (context, tape.exponent));
        let rows = tape.rows.samples_mut(x.batch);
        advance(pass.exec, sizes, kept, (x.data, x.exponent), rows).map_err(in_layer(number))?;
        (tape.is_running, tape.exponent) = (true, x.exponent);
        let seen = Values {
            data: tape.rows.samples(x.batch),
            exponent: x.exponent,
            batch: x.batch,
        };
        self.inner
            .forward::<E, B>(pass, number, seen, &mut tape.inner)
    }

    fn output<'t, const B: usize>(
        &self,
        x: Values<'t, I::Elem>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, I::Out> {
        let seen = Values {
            data: tape.rows.samples(x.batch),
            exponent: tape.exponent,
            batch: x.batch,
        };
        self.inner.output::<B>(seen, &tape.inner)
    }

    fn backward<'e, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, I::Elem>,
        tape: &mut Self::Tape<B>,
        errors: Backward<'e, I::Elem>,
        is_needed: bool,
    ) -> Result<Backward<'e, I::Elem>> {
        let seen = Values {
            data: tape.rows.samples(x.batch),
            exponent: tape.exponent,
            batch: x.batch,
        };
        let below =
            self.inner
                .backward::<E, B>(pass, number, seen, &mut tape.inner, errors, is_needed)?;
        if is_needed {
            // The errors of earlier rows are left out.
            for sample in 0..x.batch {
                let from = sample * Self::SEEN + CONTEXT * F;
                let to = sample * Self::PIECE;
                move_up(below.error, from, Self::PIECE, to);
            }
        }
        Ok(below)
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        self.inner.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        self.inner.visit_mut(visitor);
    }
}
