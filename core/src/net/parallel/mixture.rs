//! Mixtures of experts.

use super::branches::{Branches, beside};
use super::combine::are_equal;
use super::slots::{Slots, take};
use crate::error::{Result, in_layer};
use crate::net::join::copy;
use crate::net::{
    Backward, Context, Info, Layer, OutputTape, Pass, Tape, Values, Visitor, VisitorMut,
    hand_scales, part, show_scales,
};
use crate::tensor::Shape;
use selvedge_kernels::elementwise::{self, MAX_TERMS, Term, aligned_exponent};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::experts::{self, common_exponent};
use selvedge_kernels::scale::Scale;
use selvedge_kernels::{Element, Result as KernelResult};

/// Experts on one input, `Σ_i w_i · y_i`, whose weights the layer `Gate` finds for each sample, mostly a softmax behind
/// a dense layer. A gate `[N]` weighs whole samples of `N` experts, one `[L, N]` each of `L` rows `[L, F]`, and so on
/// for more leading axes. Its own number comes before those of the gate's layers, and these before those of the
/// experts', one by one. Experts of other inner sizes are pairs that end in a [`Stitch`](crate::net::Stitch).
///
/// All experts run for all samples, those of weight 0 too: what a sample gets does not depend on its batch. The
/// gate has its gradient from the experts' outputs, exactly: `dL/dw_i = Σ_f dy · y_i`. Numerical behaviour:
/// [`selvedge_kernels::experts`].
///
/// # Example
/// ```
/// use selvedge_core::net::{Balance, Dense, Layer, Mixture, Relu, Softmax, Stitch, TopKSoftmax};
/// use selvedge_core::tensor::D1;
/// type Gate<T> = (Dense<T, 8, 3>, Softmax<T, D1<3>>);
/// type Soft<T> = Mixture<Gate<T>, [(Dense<T, 8, 16, Relu>, Dense<T, 16, 4>); 3]>;
/// // One expert of two, by a gate that is told to use both; the experts are of different sizes.
/// type Switch<T> = (Dense<T, 8, 2>, (TopKSoftmax<T, D1<2>, 1>, Balance<T, D1<2>>));
/// type Sparse<T> = Mixture<Switch<T>, ((Dense<T, 8, 2, Relu>, Stitch<T, 2, 4>), (Dense<T, 8, 9, Relu>, Stitch<T, 9, 4>))>;
/// static SOFT: Soft<i8> = Layer::BLANK;
/// static SPARSE: Sparse<f32> = Layer::BLANK;
/// assert_eq!(<Soft<i8> as Layer>::INFO.kind, "mixture");
/// ```
/// In [`net!`](crate::net!), the gate comes first:
/// ```
/// use selvedge_core::net::{Network, Softmax};
/// use selvedge_core::{net, tensor::D1};
/// net! {
///     struct Experts: [8] {
///         experts: mixture { logits: dense(2), gate: layer(Softmax<T, D1<2>> => [2]) }
///             { narrow: dense(2, activation = relu), stitch: dense(4) }
///             { wide: dense(9, activation = relu), stitch: dense(4) },
///         head: dense(3),
///     }
/// }
/// static EXPERTS: Experts<i8> = Network::BLANK;
/// ```
/// A gate has a weight for each expert:
/// ```compile_fail
/// # use selvedge_core::net::{Dense, Layer, Mixture, Softmax};
/// # use selvedge_core::tensor::D1;
/// static SOFT: Mixture<(Dense<i8, 8, 3>, Softmax<i8, D1<3>>), [Dense<i8, 8, 4>; 2]> = Layer::BLANK;
/// ```
///
/// Source: Jacobs et al. 1991, "Adaptive Mixtures of Local Experts".
pub struct Mixture<Gate: Layer, Bs: Branches> {
    gate: Gate,
    experts: Bs,
    output_scale: <Bs::Elem as Element>::Scale,
    error_scale: <Bs::Elem as Element>::Scale,
    expert_scales: Bs::Each<<Bs::Elem as Element>::Scale>,
    gate_scale: <Bs::Elem as Element>::Scale,
}

/// What a [`Mixture`] keeps: the tapes of its gate and of its experts, and its output.
pub struct MixtureTape<G, Bs, O> {
    gate: G,
    experts: Bs,
    output: O,
}

impl<G: Tape, Bs: Tape, O: Tape> Tape for MixtureTape<G, Bs, O> {
    const BLANK: Self = Self {
        gate: G::BLANK,
        experts: Bs::BLANK,
        output: O::BLANK,
    };

    fn reset(&mut self) {
        self.gate.reset();
        self.experts.reset();
        self.output.reset();
    }
}

impl<Gate, Bs> Mixture<Gate, Bs>
where
    Gate: Layer<Elem = Bs::Elem, In = Bs::In, Out = Bs::Elem, Input = Bs::Input>,
    Bs: Branches,
{
    /// Rows of a sample that have weights of their own.
    const ROWS: usize = Gate::Output::LEN / Gate::Output::CHANNELS;

    const CHECKED: () = {
        assert!(
            0 < Bs::COUNT && Bs::COUNT < MAX_TERMS,
            "mixture: expected 1 to 63 experts"
        );
        assert!(
            are_equal(Bs::OUTPUTS),
            "mixture: all experts must have outputs of the same shape"
        );
        assert!(
            Gate::Output::CHANNELS == Bs::COUNT,
            "mixture: the gate must have a weight for each expert"
        );
        let leading = Gate::Output::RANK - 1;
        let mut axis = 0;
        while axis < leading {
            assert!(
                leading < Bs::First::RANK
                    && Gate::Output::EXTENTS[axis] == Bs::First::EXTENTS[axis],
                "mixture: the gate must have weights for samples or for rows of the experts' outputs"
            );
            axis += 1;
        }
        assert!(
            Bs::First::LEN / Self::ROWS <= Bs::Elem::MAX_PRODUCTS,
            "mixture: rows are too long for the accumulator of the gate's gradient"
        );
    };

    /// The gate.
    pub const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The experts.
    pub const fn experts(&self) -> &Bs {
        &self.experts
    }

    const fn extents(batch: usize) -> experts::Shape {
        experts::Shape {
            rows: batch * Self::ROWS,
            experts: Bs::COUNT,
            features: Bs::First::LEN / Self::ROWS,
        }
    }

    const fn slots(is_needed: bool) -> Slots {
        Slots::new(Bs::Input::LEN, is_needed)
    }

    /// Elements of the slot of an expert or of the gate, for `batch` samples.
    const fn slot(slots: Slots, info: &Info, output: usize, batch: usize) -> usize {
        batch * slots.slot(info, output)
    }

    /// The outputs of the experts that a tape keeps.
    fn outputs<'t, const B: usize>(
        experts: &Bs,
        x: Values<'t, Bs::In>,
        kept: &'t Bs::Tape<B>,
    ) -> Bs::Each<Term<'t, Bs::Elem>> {
        Bs::each(|expert| {
            let y = experts.output::<B>(expert, x, kept);
            Term {
                values: y.data,
                exponent: y.exponent,
            }
        })
    }

    /// Takes the error `dy` of the output to that of the gate's output, `dw`, and to those of the experts' outputs,
    /// each at the beginning of its slot of `rest`; returns their exponents.
    #[allow(clippy::too_many_arguments)] // those of `Layer::backward`, in parts
    fn part<E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, Bs::In>,
        tape: &<Self as Layer>::Tape<B>,
        dy: Values<'_, Bs::Elem>,
        [dw, rest]: [&mut [Bs::Elem]; 2],
        slots: Slots,
    ) -> KernelResult<(i32, Bs::Each<i32>)> {
        let (shape, exec) = (Self::extents(dy.batch), pass.exec);
        let is_needed = slots.input > 0;
        let weights = self.gate.output::<B>(x, &tape.gate);
        let mut exponents = Bs::each(|_| dy.exponent);
        let mut rest = rest;
        let states = self.expert_scales.as_mut().iter_mut();
        let experts = states.zip(exponents.as_mut()).zip(Bs::INFOS).enumerate();
        for (expert, ((state, exponent), info)) in experts {
            let dx = take(&mut rest, Self::slot(slots, info, Bs::First::LEN, dy.batch));
            if is_needed || info.parameters > 0 {
                let dx = part(dx, dy.data.len());
                let context = Context::<Bs::Elem, E>::backward_part(pass, number, 0, state);
                *exponent = context.rescale(weights.exponent + dy.exponent, |store| {
                    experts::backward(exec, shape, expert, weights.data, dy.data, store, dx)
                })?;
            }
        }
        let mut exponent = dy.exponent;
        if is_needed || Gate::INFO.parameters > 0 {
            let outputs = Self::outputs::<B>(&self.experts, x, &tape.experts);
            let outputs = outputs.as_ref();
            let state = &mut self.gate_scale;
            let context = Context::<Bs::Elem, E>::backward_part(pass, number, 1, state);
            exponent = context.rescale(dy.exponent + common_exponent(outputs), |store| {
                experts::backward_weights(exec, shape, outputs, dy.data, store, dw)
            })?;
        }
        Ok((exponent, exponents))
    }
}

impl<Gate, Bs> Layer for Mixture<Gate, Bs>
where
    Gate: Layer<Elem = Bs::Elem, In = Bs::In, Out = Bs::Elem, Input = Bs::Input>,
    Bs: Branches,
{
    type Elem = Bs::Elem;
    type In = Bs::In;
    type Out = Bs::Elem;
    type Input = Bs::Input;
    type Output = Bs::First;
    type Tape<const B: usize> =
        MixtureTape<Gate::Tape<B>, Bs::Tape<B>, OutputTape<Bs::Elem, Bs::First, B>>;

    const BLANK: Self = {
        let () = Self::CHECKED;
        Self {
            gate: Gate::BLANK,
            experts: Bs::BLANK,
            output_scale: Scale::UNSET,
            error_scale: Scale::UNSET,
            expert_scales: Bs::UNSET,
            gate_scale: Scale::UNSET,
        }
    };

    const INFO: Info = {
        let all = beside(&[Gate::INFO, Bs::INFO]).inside();
        let [needed, first] = [Self::slots(true), Self::slots(false)];
        let (gate, outputs) = (Gate::Output::LEN, Bs::OUTPUTS);
        Info {
            kind: "mixture",
            numbers: 1 + all.numbers,
            macs: all.macs + Bs::COUNT * Bs::First::LEN,
            flash_bytes: all.flash_bytes + if Bs::Elem::DTYPE.is_integer() { 2 } else { 0 },
            errors: needed.whole(
                needed.beside(needed.branches(Bs::INFOS, outputs), &Gate::INFO, gate),
                Bs::First::LEN,
            ),
            errors_first: first.whole(
                first.beside(first.branches(Bs::INFOS, outputs), &Gate::INFO, gate),
                Bs::First::LEN,
            ),
            ..all
        }
    };

    fn init(&mut self, seed: u32, number: u32) -> Result<()> {
        (self.output_scale, self.error_scale) = (Scale::UNSET, Scale::UNSET);
        (self.expert_scales, self.gate_scale) = (Bs::UNSET, Scale::UNSET);
        self.gate.init(seed, number + 1)?;
        self.experts.init(seed, number + 1 + Gate::INFO.numbers)
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, Self::In>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, Self::Out>> {
        let MixtureTape {
            gate,
            experts: kept,
            output,
        } = tape;
        let (shape, exec) = (Self::extents(x.batch), pass.exec);
        let out = output.samples_mut(x.batch);
        let weights = self.gate.forward::<E, B>(pass, number + 1, x, gate)?;
        let first = number + 1 + Gate::INFO.numbers;
        self.experts.forward::<E, B>(pass, first, x, kept)?;
        let outputs = Self::outputs::<B>(&self.experts, x, kept);
        let outputs = outputs.as_ref();
        let context = Context::<Bs::Elem, E>::forward(pass, number, &mut self.output_scale);
        let exponent = context
            .rescale(weights.exponent + common_exponent(outputs), |store| {
                experts::forward(exec, shape, weights.data, outputs, store, out)
            })
            .map_err(in_layer(number))?;
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
        let (slots, len) = (Self::slots(is_needed), batch * Bs::Input::LEN);
        let Backward {
            error,
            spare,
            exponent,
        } = errors;
        let dy = part(spare, batch * Bs::First::LEN);
        copy(error, dy);
        let dy = Values {
            data: &*dy,
            exponent,
            batch,
        };
        let gate_len = Self::slot(slots, &Gate::INFO, Gate::Output::LEN, batch);
        let mut rest = &mut *error;
        let dw = part(take(&mut rest, gate_len), batch * Gate::Output::LEN);
        let (of_gate, of_experts) = self
            .part::<E, B>(pass, number, x, tape, dy, [dw, rest], slots)
            .map_err(in_layer(number))?;

        // The gate's and the experts', whose number is no type's: a table on the stack.
        let mut terms = [Term {
            values: &[][..],
            exponent: 0,
        }; MAX_TERMS];
        let mut rest = &mut *error;
        let slot = take(&mut rest, gate_len);
        let mut exponent = of_gate;
        if is_needed || Gate::INFO.parameters > 0 {
            let (gate, kept) = (&mut self.gate, &mut tape.gate);
            exponent = slots.descend(&Gate::INFO, batch, slot, spare, exponent, |errors| {
                gate.backward::<E, B>(pass, number + 1, x, kept, errors, is_needed)
            })?;
        }
        let [term, others @ ..] = &mut terms;
        *term = Term {
            values: part(slot, len),
            exponent,
        };
        let first = number + 1 + Gate::INFO.numbers;
        let experts = others.iter_mut().zip(Bs::INFOS).zip(of_experts.as_ref());
        for (expert, ((term, info), &exponent)) in experts.enumerate() {
            let slot = take(&mut rest, Self::slot(slots, info, Bs::First::LEN, batch));
            term.exponent = exponent;
            if is_needed || info.parameters > 0 {
                let (experts, kept) = (&mut self.experts, &mut tape.experts);
                term.exponent = slots.descend(info, batch, slot, spare, exponent, |errors| {
                    experts.backward::<E, B>(expert, pass, first, x, kept, errors, is_needed)
                })?;
            }
            term.values = part(slot, len);
        }
        if !is_needed {
            return Ok(Backward {
                error,
                spare,
                exponent,
            });
        }
        let terms = terms.get(..=Bs::COUNT).unwrap_or_default();
        let context = Context::<Bs::Elem, E>::backward(pass, number, &mut self.error_scale);
        let exponent = context
            .rescale(
                aligned_exponent(terms.iter().map(|term| term.exponent)),
                |store| elementwise::sum(pass.exec, terms, store, part(spare, len)),
            )
            .map_err(in_layer(number))?;
        Ok(Backward {
            error: spare,
            spare: error,
            exponent,
        })
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        show_scales::<Self::Elem>(visitor, &[self.output_scale, self.error_scale]);
        show_scales::<Self::Elem>(visitor, self.expert_scales.as_ref());
        show_scales::<Self::Elem>(visitor, &[self.gate_scale]);
        self.gate.visit(visitor);
        self.experts.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        let scales = [&mut self.output_scale, &mut self.error_scale];
        hand_scales::<Self::Elem, 2>(visitor, scales);
        for scale in self.expert_scales.as_mut() {
            hand_scales::<Self::Elem, 1>(visitor, [scale]);
        }
        hand_scales::<Self::Elem, 1>(visitor, [&mut self.gate_scale]);
        self.gate.visit_mut(visitor);
        self.experts.visit_mut(visitor);
    }
}
