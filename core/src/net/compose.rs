//! Two layers, one after the other.

use super::{Backward, Info, Layer, Pass, Tape, Values, Visitor, VisitorMut};
use crate::error::Result;
use selvedge_kernels::exec::Executor;

impl<First: Tape, Second: Tape> Tape for (First, Second) {
    const BLANK: Self = (First::BLANK, Second::BLANK);

    fn reset(&mut self) {
        self.0.reset();
        self.1.reset();
    }
}

/// A pair of layers: the second takes what the first gives. Longer chains are nested pairs,
/// `(a, (b, c))`; they have the numbers of the same layers in a row.
impl<First, Second> Layer for (First, Second)
where
    First: Layer<Out = <First as Layer>::Elem>,
    Second: Layer<Elem = First::Elem, In = First::Elem, Input = First::Output>,
{
    type Elem = First::Elem;
    type In = First::In;
    type Out = Second::Out;
    type Input = First::Input;
    type Output = Second::Output;
    type Tape<const B: usize> = (First::Tape<B>, Second::Tape<B>);

    const BLANK: Self = (First::BLANK, Second::BLANK);

    const INFO: Info = Info::sequence(&[First::INFO, Second::INFO]);
    const TICKS: usize = First::TICKS + Second::TICKS;

    fn init(&mut self, seed: u32, number: u32) -> Result<()> {
        self.0.init(seed, number)?;
        self.1.init(seed, number + First::INFO.numbers)
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, Self::In>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, Self::Out>> {
        let between = self.0.forward::<E, B>(pass, number, x, &mut tape.0)?;
        self.1
            .forward::<E, B>(pass, number + First::INFO.numbers, between, &mut tape.1)
    }

    fn output<'t, const B: usize>(
        &self,
        x: Values<'t, Self::In>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, Self::Out> {
        self.1.output::<B>(self.0.output::<B>(x, &tape.0), &tape.1)
    }

    fn tick<E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, Self::In>,
        tape: &mut Self::Tape<B>,
    ) -> Result<()> {
        // The second first: it takes what the first gave at the last tick.
        let between = self.0.output::<B>(x, &tape.0);
        let after = number + First::INFO.numbers;
        self.1.tick::<E, B>(pass, after, between, &mut tape.1)?;
        self.0.tick::<E, B>(pass, number, x, &mut tape.0)
    }

    fn tick_one<E: Executor, const B: usize>(
        &mut self,
        index: usize,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, Self::In>,
        tape: &mut Self::Tape<B>,
    ) -> Result<()> {
        let Some(behind) = index.checked_sub(First::TICKS) else {
            return (self.0).tick_one::<E, B>(index, pass, number, x, &mut tape.0);
        };
        let between = self.0.output::<B>(x, &tape.0);
        let after = number + First::INFO.numbers;
        (self.1).tick_one::<E, B>(behind, pass, after, between, &mut tape.1)
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
        let between = self.0.output::<B>(x, &tape.0);
        let is_needed_between = is_needed || First::INFO.parameters > 0;
        let errors = self.1.backward::<E, B>(
            pass,
            number + First::INFO.numbers,
            between,
            &mut tape.1,
            errors,
            is_needed_between,
        )?;
        if !is_needed_between {
            return Ok(errors);
        }
        self.0
            .backward::<E, B>(pass, number, x, &mut tape.0, errors, is_needed)
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        self.0.visit(visitor);
        self.1.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        self.0.visit_mut(visitor);
        self.1.visit_mut(visitor);
    }
}
