//! Any number of branches on one input: sums, averages, side by side; mixtures of experts with their gate.
//!
//! [`Fork`](super::Fork) is for two branches, and for operations that are none of many.

mod balance;
mod branches;
mod combine;
mod mixture;
mod slots;

pub use balance::{Balance, Balanced};
pub use branches::{Branches, Extent};
pub use combine::{Combine, Grid, Line, Mean, Scatter, Total};
pub use mixture::{Mixture, MixtureTape};

use super::{
    Backward, Context, Info, Layer, OutputTape, Pass, Tape, Values, Visitor, VisitorMut,
    hand_scales, part, show_scales,
};
use crate::error::{Result, in_layer};
use crate::net::join::copy;
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::Element;
use selvedge_kernels::elementwise::{self, MAX_TERMS, Term, aligned_exponent};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::scale::Scale;
use slots::{Slots, take};

/// Branches on one input, whose outputs `C` brings together: [`Total`], [`Mean`], [`Line`] or [`Scatter`]. Its own
/// number comes before those of the branches' layers, branch by branch.
///
/// All errors of the input are added at once ([`selvedge_kernels::elementwise::sum()`]).
///
/// # Example
/// ```
/// use selvedge_core::net::{Dense, Layer, Line, Mean, Parallel, Relu, Total};
/// use selvedge_core::tensor::D1;
/// // Three views of eight features side by side, and the mean of five equal ones.
/// type Views<T> = Parallel<(Dense<T, 8, 4, Relu>, Dense<T, 8, 2>, Dense<T, 8, 1>), Line<D1<7>>>;
/// type Committee<T> = Parallel<[Dense<T, 8, 3>; 5], Mean>;
/// static VIEWS: Views<i8> = Layer::BLANK;
/// static COMMITTEE: Committee<i8> = Layer::BLANK;
/// assert_eq!(<Committee<i8> as Layer>::INFO.parameters, 5 * (8 * 3 + 3));
/// ```
/// Branches that do not belong together do not compile:
/// ```compile_fail
/// # use selvedge_core::net::{Dense, Layer, Parallel, Total};
/// static SUM: Parallel<(Dense<i8, 8, 4>, Dense<i8, 8, 2>), Total> = Layer::BLANK;
/// ```
pub struct Parallel<Bs: Branches, C> {
    branches: Bs,
    output_scale: <Bs::Elem as Element>::Scale,
    error_scale: <Bs::Elem as Element>::Scale,
    part_scale: <Bs::Elem as Element>::Scale,
    combine: PhantomData<C>,
}

/// What a [`Parallel`] keeps: the tapes of its branches, and its output.
pub struct ParallelTape<Bs, O> {
    branches: Bs,
    output: O,
}

impl<Bs: Tape, O: Tape> Tape for ParallelTape<Bs, O> {
    const BLANK: Self = Self {
        branches: Bs::BLANK,
        output: O::BLANK,
    };

    fn reset(&mut self) {
        self.branches.reset();
        self.output.reset();
    }
}

impl<Bs: Branches, C: Combine<Bs>> Parallel<Bs, C> {
    /// The branches.
    pub const fn branches(&self) -> &Bs {
        &self.branches
    }

    const fn slots(is_needed: bool) -> Slots {
        Slots::new(Bs::Input::LEN, is_needed)
    }

    /// Elements of the slot of branch `branch` for `batch` samples.
    fn slot(slots: Slots, branch: usize, batch: usize) -> usize {
        match (Bs::INFOS.get(branch), Bs::OUTPUTS.get(branch)) {
            (Some(info), Some(output)) => batch * slots.slot(info, output.len),
            _ => 0,
        }
    }

    /// Takes the errors in the slots of the first buffer, of one exponent, through their branches; leaves their sum in
    /// the other buffer and returns its exponent, where something below has parameters.
    #[allow(clippy::too_many_arguments)] // those of `Layer::backward`, in parts
    fn descend<E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, Bs::In>,
        kept: &mut Bs::Tape<B>,
        [error, spare]: [&mut [Bs::Elem]; 2],
        exponent: i32,
        slots: Slots,
    ) -> Result<i32> {
        let (batch, len, is_needed) = (x.batch, x.batch * slots.input, slots.input > 0);
        let mut rest = error;
        let mut terms = Bs::each(|_| Term {
            values: &[][..],
            exponent,
        });
        for (branch, (term, info)) in terms.as_mut().iter_mut().zip(Bs::INFOS).enumerate() {
            let slot = take(&mut rest, Self::slot(slots, branch, batch));
            if is_needed || info.parameters > 0 {
                let (branches, kept) = (&mut self.branches, &mut *kept);
                let number = number + 1;
                term.exponent = slots.descend(info, batch, slot, spare, exponent, |errors| {
                    branches.backward::<E, B>(branch, pass, number, x, kept, errors, is_needed)
                })?;
            }
            term.values = part(slot, len);
        }
        if !is_needed {
            return Ok(exponent);
        }
        let terms = terms.as_ref();
        let context = Context::<Bs::Elem, E>::backward(pass, number, &mut self.error_scale);
        let exponent = aligned_exponent(terms.iter().map(|term| term.exponent));
        context
            .rescale(exponent, |store| {
                elementwise::sum(pass.exec, terms, store, part(spare, len))
            })
            .map_err(in_layer(number))
    }
}

impl<Bs: Branches, C: Combine<Bs>> Layer for Parallel<Bs, C> {
    type Elem = Bs::Elem;
    type In = Bs::In;
    type Out = Bs::Elem;
    type Input = Bs::Input;
    type Output = C::Output;
    type Tape<const B: usize> = ParallelTape<Bs::Tape<B>, OutputTape<Bs::Elem, C::Output, B>>;

    const BLANK: Self = {
        assert!(
            0 < Bs::COUNT && Bs::COUNT <= MAX_TERMS,
            "parallel: expected 1 to 64 branches"
        );
        let () = C::CHECKED;
        Self {
            branches: Bs::BLANK,
            output_scale: Scale::UNSET,
            error_scale: Scale::UNSET,
            part_scale: Scale::UNSET,
            combine: PhantomData,
        }
    };

    const INFO: Info = {
        let all = Bs::INFO.inside();
        let [needed, first] = [Self::slots(true), Self::slots(false)];
        Info {
            kind: C::KIND,
            numbers: 1 + all.numbers,
            flash_bytes: all.flash_bytes
                + if C::RESCALES && Bs::Elem::DTYPE.is_integer() {
                    2
                } else {
                    0
                },
            errors: needed.whole(needed.branches(Bs::INFOS, Bs::OUTPUTS), C::Output::LEN),
            errors_first: first.whole(first.branches(Bs::INFOS, Bs::OUTPUTS), C::Output::LEN),
            ..all
        }
    };

    fn init(&mut self, seed: u32, number: u32) -> Result<()> {
        (self.output_scale, self.error_scale) = (Scale::UNSET, Scale::UNSET);
        self.part_scale = Scale::UNSET;
        self.branches.init(seed, number + 1)
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, Self::In>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, Self::Out>> {
        let ParallelTape {
            branches: kept,
            output,
        } = tape;
        let out = output.samples_mut(x.batch);
        self.branches.forward::<E, B>(pass, number + 1, x, kept)?;
        let outputs = Bs::each(|branch| self.branches.output::<B>(branch, x, kept));
        let context = Context::forward(pass, number, &mut self.output_scale);
        let exponent = C::forward(context, outputs.as_ref(), out).map_err(in_layer(number))?;
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
        let slots = Self::slots(is_needed);
        let Backward {
            error,
            spare,
            exponent,
        } = errors;

        // The error of the output, to those of all branches.
        let dy = part(spare, batch * C::Output::LEN);
        copy(error, dy);
        let dy = Values {
            data: &*dy,
            exponent,
            batch,
        };
        let exponent = {
            let mut rest = &mut *error;
            let mut parts = Bs::each(|branch| {
                let slot = take(&mut rest, Self::slot(slots, branch, batch));
                let len = Bs::OUTPUTS.get(branch).map_or(0, |output| output.len);
                part(slot, batch * len)
            });
            let state = &mut self.part_scale;
            let context = Context::<Bs::Elem, E>::backward_part(pass, number, 0, state);
            C::backward(context, dy, parts.as_mut()).map_err(in_layer(number))?
        };

        let buffers = [&mut *error, &mut *spare];
        let kept = &mut tape.branches;
        let exponent = self.descend::<E, B>(pass, number, x, kept, buffers, exponent, slots)?;
        let (error, spare) = if is_needed {
            (spare, error)
        } else {
            (error, spare)
        };
        Ok(Backward {
            error,
            spare,
            exponent,
        })
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        let scales = [self.output_scale, self.error_scale, self.part_scale];
        show_scales::<Self::Elem>(visitor, &scales);
        self.branches.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        let scales = [
            &mut self.output_scale,
            &mut self.error_scale,
            &mut self.part_scale,
        ];
        hand_scales::<Self::Elem, 3>(visitor, scales);
        self.branches.visit_mut(visitor);
    }
}
