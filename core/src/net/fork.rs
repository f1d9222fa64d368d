//! Two branches on one input: residual connections, gates, concatenation.

use super::join::{add, copy};
use super::layout::Behind;
use super::{
    Asked, Backward, Context, Errors, Info, Join, LastAxis, Layer, LongSum, OutputTape, Part, Pass,
    Sum, Tape, Values, Visitor, VisitorMut, hand_scales, part, show_scales,
};
use crate::error::{Result, in_layer};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::Element;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::scale::Scale;

/// Two branches on one input, joined by `J`. Its own number comes before those of the first branch, and
/// these before those of the second.
///
/// # Example
/// ```
/// use selvedge_core::net::{Concat, Dense, Fork, Layer, Relu, Sigmoid, Product};
/// use selvedge_core::tensor::D1;
/// // Two views of eight features side by side, and a gate.
/// type Views = Fork<Dense<i8, 8, 4, Relu>, Dense<i8, 8, 2, Relu>, Concat<D1<6>>>;
/// type Gated = Fork<Dense<i8, 8, 8>, Dense<i8, 8, 8, Sigmoid>, Product>;
/// static VIEWS: Views = Layer::BLANK;
/// static GATED: Gated = Layer::BLANK;
/// assert_eq!((Views::INFO.kind, Gated::INFO.kind), ("concat", "product"));
/// ```
/// Branches that do not belong together do not compile:
/// ```compile_fail
/// # use selvedge_core::net::{Concat, Dense, Fork, Layer};
/// # use selvedge_core::tensor::D1;
/// static VIEWS: Fork<Dense<i8, 8, 4>, Dense<i8, 8, 2>, Concat<D1<7>>> = Layer::BLANK;
/// ```
pub struct Fork<First: Layer, Second: Layer, J: Join<First::Output, Second::Output>> {
    first: First,
    second: Second,
    output_scale: <First::Elem as Element>::Scale,
    error_scale: <First::Elem as Element>::Scale,
    part_scales: [<First::Elem as Element>::Scale; 2],
    scratch: J::Scratch<First::Elem>,
    join: PhantomData<J>,
}

/// `layers(x) + shortcut(x)`: a residual connection, whose shortcut is [`Skip`] where none is given. Numerical
/// behaviour: [`Sum`]. Source: He et al. 2015.
///
/// # Example
/// ```
/// use selvedge_core::net::{Dense, Layer, Relu, Residual};
/// type Block = Residual<(Dense<i8, 16, 8, Relu>, Dense<i8, 8, 16>)>;
/// // With a shortcut of its own, the branch may give another shape.
/// type Wider = Residual<Dense<i8, 16, 20, Relu>, Dense<i8, 16, 20>>;
/// static BLOCK: (Block, Wider) = Layer::BLANK;
/// ```
/// A branch whose output is not of the shape of its input wants a shortcut:
/// ```compile_fail
/// # use selvedge_core::net::{Dense, Layer, Relu, Residual};
/// static BLOCK: Residual<Dense<i8, 16, 20, Relu>> = Layer::BLANK;
/// ```
pub type Residual<L, Shortcut = Skip<<L as Layer>::Elem, <L as Layer>::Input>> =
    Fork<L, Shortcut, Sum>;

/// The input `In` split along the axis `A`: its first part through `First`, what is behind it through `Second`, joined
/// by `J`. Each part is a layer of its own, [`Part`](super::Part), with a number. A branch that splits in turn makes three parts, and
/// so on.
///
/// # Example
/// ```
/// use selvedge_core::net::{Concat, Conv, Layer, Relu, Same, Skip, Split};
/// use selvedge_core::tensor::{D3, D4};
/// // A half of the channels is convolved, the other passes (Wang et al. 2020, "CSPNet").
/// type Half = D3<8, 8, 4>;
/// type Convolved = Conv<i8, Half, D4<4, 3, 3, 4>, Half, Same, Relu>;
/// static STAGE: Split<D3<8, 8, 8>, Convolved, Skip<i8, Half>, Concat<D3<8, 8, 8>>> = Layer::BLANK;
/// ```
/// Parts that are not the whole do not compile:
/// ```compile_fail
/// # use selvedge_core::net::{Concat, Layer, Skip, Split};
/// # use selvedge_core::tensor::D1;
/// static STAGE: Split<D1<8>, Skip<i8, D1<4>>, Skip<i8, D1<3>>, Concat<D1<7>>> = Layer::BLANK;
/// ```
pub type Split<In, First, Second, J, A = LastAxis> = Fork<
    (
        Part<<First as Layer>::Elem, In, <First as Layer>::Input, A>,
        First,
    ),
    (
        Part<
            <First as Layer>::Elem,
            In,
            <Second as Layer>::Input,
            A,
            Behind<<First as Layer>::Input>,
        >,
        Second,
    ),
    J,
>;

/// What a [`Fork`] keeps: the tapes of its branches, and its output.
pub struct ForkTape<A, B, O> {
    first: A,
    second: B,
    output: O,
}

impl<A: Tape, B: Tape, O: Tape> Tape for ForkTape<A, B, O> {
    const BLANK: Self = Self {
        first: A::BLANK,
        second: B::BLANK,
        output: O::BLANK,
    };

    fn reset(&mut self) {
        self.first.reset();
        self.second.reset();
        self.output.reset();
    }
}

impl<First, Second, J> Fork<First, Second, J>
where
    First: Layer,
    Second: Layer,
    J: Join<First::Output, Second::Output>,
{
    /// The first branch.
    pub const fn first(&self) -> &First {
        &self.first
    }

    /// The second branch.
    pub const fn second(&self) -> &Second {
        &self.second
    }
}

/// The error buffers of a fork: `[second branch | first branch]`, and a spare one for both.
struct Plan {
    second: usize,
    errors: Errors,
}

impl Plan {
    /// `outputs` are those of the fork and of its branches; `input` is 0 if nothing below is trained.
    const fn of(first: Errors, second: Errors, outputs: [usize; 3], input: usize) -> Self {
        let [out, first_out, second_out] = outputs;
        let in_second = most([out, second_out, second.error, input]);
        let in_first = most([first_out, first.error, input, 0]);
        Self {
            second: in_second,
            errors: Errors {
                error: in_second + in_first,
                spare: most([first.spare, second.spare, second_out, input]),
                // The sum goes where the second branch's error is not.
                swaps: !second.swaps,
            },
        }
    }
}

const fn most(lens: [usize; 4]) -> usize {
    let (mut most, mut rest) = (0, lens.as_slice());
    while let [len, others @ ..] = rest {
        most = if *len > most { *len } else { most };
        rest = others;
    }
    most
}

impl<First, Second, J> Fork<First, Second, J>
where
    First: Layer<Out = <First as Layer>::Elem>,
    Second: Layer<Elem = First::Elem, In = First::In, Out = First::Elem, Input = First::Input>,
    J: Join<First::Output, Second::Output>,
{
    const OUTPUTS: [usize; 3] = [J::Output::LEN, First::Output::LEN, Second::Output::LEN];

    /// The error buffers where something below has parameters.
    const PLAN: Plan = Plan::of(
        First::INFO.errors,
        Second::INFO.errors,
        Self::OUTPUTS,
        First::Input::LEN,
    );

    /// Those where nothing below has.
    const PLAN_FIRST: Plan = Plan::of(
        First::INFO.errors_first,
        Second::INFO.errors_first,
        Self::OUTPUTS,
        0,
    );
}

impl<First, Second, J> Layer for Fork<First, Second, J>
where
    First: Layer<Out = <First as Layer>::Elem>,
    Second: Layer<Elem = First::Elem, In = First::In, Out = First::Elem, Input = First::Input>,
    J: Join<First::Output, Second::Output>,
{
    type Elem = First::Elem;
    type In = First::In;
    type Out = First::Elem;
    type Input = First::Input;
    type Output = J::Output;
    type Tape<const B: usize> =
        ForkTape<First::Tape<B>, Second::Tape<B>, OutputTape<First::Elem, J::Output, B>>;

    const BLANK: Self = {
        let () = J::CHECKED;
        Self {
            first: First::BLANK,
            second: Second::BLANK,
            output_scale: Scale::UNSET,
            error_scale: Scale::UNSET,
            part_scales: [Scale::UNSET; 2],
            scratch: Tape::BLANK,
            join: PhantomData,
        }
    };

    const INFO: Info = {
        let both = Info::sequence(&[First::INFO, Second::INFO]).inside();
        let exponent = if J::RESCALES && First::Elem::DTYPE.is_integer() {
            2
        } else {
            0
        };
        Info {
            kind: J::KIND,
            numbers: 1 + both.numbers,
            flash_bytes: both.flash_bytes + exponent,
            // Nothing below the fork is below its second branch either.
            long_sum_first: LongSum::or(
                LongSum::or(None, 1, First::INFO.long_sum_first),
                1 + First::INFO.numbers,
                Second::INFO.long_sum_first,
            ),
            errors: Self::PLAN.errors,
            errors_first: Errors {
                swaps: false, // nothing is passed down
                ..Self::PLAN_FIRST.errors
            },
            ..both
        }
    };

    fn init(&mut self, seed: u32, number: u32) -> Result<()> {
        (self.output_scale, self.error_scale) = (Scale::UNSET, Scale::UNSET);
        self.part_scales = [Scale::UNSET; 2];
        self.first.init(seed, number + 1)?;
        self.second.init(seed, number + 1 + First::INFO.numbers)
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, Self::In>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, Self::Out>> {
        let ForkTape {
            first,
            second,
            output,
        } = tape;
        let a = self.first.forward::<E, B>(pass, number + 1, x, first)?;
        let after = number + 1 + First::INFO.numbers;
        let b = self.second.forward::<E, B>(pass, after, x, second)?;
        let context = Context::forward(pass, number, &mut self.output_scale);
        let exponent =
            J::forward(context, a, b, output.samples_mut(x.batch)).map_err(in_layer(number))?;
        Ok(output.keep(pass.mode, x.batch, exponent))
    }

    fn output<'t, const B: usize>(
        &self,
        x: Values<'t, Self::In>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, Self::Out> {
        tape.output.values(x.batch)
    }

    fn backward<'e, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, Self::In>,
        tape: &mut Self::Tape<B>,
        errors: Backward<'e, Self::Elem>,
        is_needed: bool,
    ) -> Result<Backward<'e, Self::Elem>> {
        if !is_needed && Self::INFO.parameters == 0 {
            return Ok(errors);
        }
        let batch = x.batch;
        tape.output.begin_backward(number, batch)?;
        let plan = if is_needed {
            Self::PLAN
        } else {
            Self::PLAN_FIRST
        };
        let Backward {
            error,
            spare: whole_spare,
            exponent,
        } = errors;
        let spare = &mut *whole_spare;
        let room = (batch * plan.second).min(error.len());
        let (in_second, in_first) = error.split_at_mut_checked(room).unwrap_or_default();

        // The error of the output, to those of both branches.
        let (a, b) = (
            self.first.output::<B>(x, &tape.first),
            self.second.output::<B>(x, &tape.second),
        );
        let dy = Values {
            data: part(&mut *in_second, batch * J::Output::LEN),
            exponent,
            batch,
        };
        let da = part(&mut *in_first, a.data.len());
        let db = part(&mut *spare, b.data.len());
        let [first, second] = &mut self.part_scales;
        let contexts = [
            Context::backward_part(pass, number, 0, first),
            Context::backward_part(pass, number, 1, second),
        ];
        let asked = Asked {
            first: is_needed || First::INFO.parameters > 0,
            second: is_needed || Second::INFO.parameters > 0,
        };
        let [exponent_a, exponent_b] = J::backward(
            asked,
            contexts,
            &mut self.scratch,
            a,
            b,
            tape.output.values(batch),
            dy,
            da,
            db,
        )
        .map_err(in_layer(number))?;
        copy(db, in_second);

        // Each through its branch. That of the first waits while the second's is on its way.
        let len = batch * First::Input::LEN;
        let errors = Backward {
            error: &mut *in_first,
            spare: &mut *spare,
            exponent: exponent_a,
        };
        let below =
            self.first
                .backward::<E, B>(pass, number + 1, x, &mut tape.first, errors, is_needed)?;
        let exponent_a = below.exponent;
        if is_needed && First::INFO.errors.swaps {
            copy(part(below.error, len), below.spare);
        }
        let errors = Backward {
            error: in_second,
            spare,
            exponent: exponent_b,
        };
        let after = number + 1 + First::INFO.numbers;
        let below =
            self.second
                .backward::<E, B>(pass, after, x, &mut tape.second, errors, is_needed)?;
        if !is_needed {
            return Ok(Backward {
                error,
                spare: whole_spare,
                exponent,
            });
        }
        let [a, b] =
            [(in_first, exponent_a), (below.error, below.exponent)].map(|(error, exponent)| {
                Values {
                    data: &*part(error, len),
                    exponent,
                    batch,
                }
            });
        let context = Context::backward(pass, number, &mut self.error_scale);
        let exponent = add(context, a, b, part(below.spare, len)).map_err(in_layer(number))?;
        let (error, spare) = if plan.errors.swaps {
            (whole_spare, error)
        } else {
            (error, whole_spare)
        };
        Ok(Backward {
            error,
            spare,
            exponent,
        })
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        show_scales::<Self::Elem>(visitor, &[self.output_scale, self.error_scale]);
        show_scales::<Self::Elem>(visitor, &self.part_scales);
        self.first.visit(visitor);
        self.second.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        let [first, second] = &mut self.part_scales;
        let scales = [&mut self.output_scale, &mut self.error_scale, first, second];
        hand_scales::<Self::Elem, 4>(visitor, scales);
        self.first.visit_mut(visitor);
        self.second.visit_mut(visitor);
    }
}

/// Passes its input on: the shortcut of a residual connection. It moves nothing, keeps nothing and has no number.
///
/// # Example
/// ```
/// use selvedge_core::net::{Concat, Dense, Fork, Layer, Relu, Skip};
/// use selvedge_core::tensor::D1;
/// // Eight features with four made of them: a block of DenseNet.
/// static GROWN: Fork<Skip<i8, D1<8>>, Dense<i8, 8, 4, Relu>, Concat<D1<12>>> = Layer::BLANK;
/// ```
pub type Skip<T, S> = super::Flatten<T, S, S, 0>;
