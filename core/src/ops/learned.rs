//! Parameters of an operator that goes back: they descend at once, hand their gradient on, or stay as they are.

use super::call::{Call, Result, read, write};
use crate::session::memory::Bytes;
use selvedge_kernels as kernels;
use selvedge_kernels::Element;
use selvedge_kernels::optim::{Gradient, Parameter, Role, Sgd};
use selvedge_kernels::rng::Words;

/// What becomes of a parameter when its gradient is known, in sums of type `A`.
#[derive(Debug)]
pub(crate) enum Learned<'a, P: Element, A> {
    /// Nothing.
    Frozen(&'a [P], i16),
    /// It descends as the sums come in: no gradient is kept.
    Descends(Parameter<'a, P>),
    /// The sums are kept for somebody else.
    Stores(&'a [P], i16, &'a mut [A]),
}

impl<'a, P: Element, A: bytemuck::Pod> Learned<'a, P, A> {
    /// Of the views of a parameter, of the low bytes of its masters, of its velocities and of its gradient.
    pub(crate) fn of(
        [value, low, velocity, gradient]: [Bytes<'a>; 4],
        exponent: &'a mut i16,
        role: Role,
    ) -> Result<Self> {
        if !gradient.is_empty() {
            return Ok(Self::Stores(read(value)?, *exponent, write(gradient)?));
        }
        Ok(match value {
            Bytes::Constant(_) => Self::Frozen(read(value)?, *exponent),
            Bytes::Arena(_) => Self::Descends(Parameter {
                value: write(value)?,
                residual: write(low)?,
                velocity: write(velocity)?,
                exponent,
                role,
            }),
        })
    }
}

/// Where the gradient of a parameter goes. That of a typed layer descends always.
pub(crate) trait Target<'a, P: Element, A: 'a> {
    /// The elements as they are before.
    fn value(&self) -> &[P];

    /// Their exponent.
    fn exponent(&self) -> i16;

    /// Has `sum` sum up the gradient, to sums that have `exponent`; not if the parameter stays as it is.
    fn learn(
        self,
        sgd: &Sgd,
        exponent: i32,
        words: Words,
        sum: impl FnOnce(&mut Gradient<'a, P, A>) -> kernels::Result<()>,
    ) -> kernels::Result<()>;
}

impl<'a, P: Element, A: Copy + Into<P::Update> + 'a> Target<'a, P, A> for Parameter<'a, P> {
    fn value(&self) -> &[P] {
        self.value
    }

    fn exponent(&self) -> i16 {
        *self.exponent
    }

    #[inline(always)] // typed layers have nothing else
    fn learn(
        self,
        sgd: &Sgd,
        exponent: i32,
        words: Words,
        sum: impl FnOnce(&mut Gradient<'a, P, A>) -> kernels::Result<()>,
    ) -> kernels::Result<()> {
        let mut gradient = Gradient::Apply(self.update(sgd, exponent, words)?);
        sum(&mut gradient)?;
        gradient.finish();
        Ok(())
    }
}

impl<'a, P: Element, A: Copy + Into<P::Update> + 'a> Target<'a, P, A> for Learned<'a, P, A> {
    fn value(&self) -> &[P] {
        match self {
            Self::Frozen(value, _) | Self::Stores(value, ..) => value,
            Self::Descends(parameter) => parameter.value,
        }
    }

    fn exponent(&self) -> i16 {
        match self {
            Self::Frozen(_, exponent) | Self::Stores(_, exponent, _) => *exponent,
            Self::Descends(parameter) => *parameter.exponent,
        }
    }

    fn learn(
        self,
        sgd: &Sgd,
        exponent: i32,
        words: Words,
        sum: impl FnOnce(&mut Gradient<'a, P, A>) -> kernels::Result<()>,
    ) -> kernels::Result<()> {
        let mut gradient = match self {
            Self::Frozen(..) => return Ok(()),
            Self::Descends(parameter) => Gradient::Apply(parameter.update(sgd, exponent, words)?),
            Self::Stores(.., sums) => Gradient::Store(sums),
        };
        sum(&mut gradient)?;
        gradient.finish();
        Ok(())
    }
}

/// Keeps the exponents of parameters after an update, and those of gradients that were stored; `parameters` are their
/// slots, those of the gradients follow one another from `gradients` on.
pub(crate) fn keep<const N: usize>(
    call: &mut Call<'_, '_>,
    parameters: [usize; N],
    gradients: usize,
    exponents: [i16; N],
    sums: [i32; N],
) {
    let all = parameters.into_iter().zip(exponents).zip(sums);
    for (i, ((slot, exponent), sums)) in all.enumerate() {
        call.set_exponent(slot, exponent.into());
        call.set_exponent(gradients + i, sums);
    }
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Graph, Masters, Node, Pending, ValueId, Walk};
    use crate::network::builder::by_dtype;
    use alloc::vec;
    use alloc::vec::Vec;
    use selvedge_kernels::init::{Gain, uniform};
    use selvedge_kernels::optim::{Learn, Role};
    use selvedge_kernels::rng::{Words, stream};
    use selvedge_kernels::{self as kernels, Element};

    /// A parameter as its operator learns it.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Told {
        pub(crate) value: Option<ValueId>,
        pub(crate) role: Role,
        /// Whether its sums have the type of updates, and not that of products.
        pub(crate) is_wide: bool,
    }

    impl Told {
        /// A weight, or a bias, whose gradient is a sum of products.
        pub(crate) const fn new(value: Option<ValueId>, role: Role) -> Self {
            Self {
                value,
                role,
                is_wide: false,
            }
        }

        /// A gain, or what else has wide sums.
        pub(crate) const fn wide(value: Option<ValueId>) -> Self {
            Self {
                value,
                role: Role::Bias,
                is_wide: true,
            }
        }
    }

    /// The values that the operator of `node` is given for its parameters, three for each, and those of the gradients that
    /// it is to store. These update the parameters later ([`Graph::update`]).
    pub(crate) fn told<const N: usize>(
        walk: &mut Walk<'_>,
        node: &Node,
        parameters: [Told; N],
    ) -> (Vec<Option<ValueId>>, [Option<ValueId>; N]) {
        let mut gradients = [None; N];
        let mut values = Vec::new();
        for (index, (told, gradient)) in (0..).zip(parameters.iter().zip(&mut gradients)) {
            let stored = told.value.filter(|&value| walk.stores(value));
            if let Some(value) = stored {
                let len: usize = walk.graph.shape_of(value).iter().product();
                let [narrow, wide] = by_dtype!(node.dtypes[0], T => {
                    [size_of::<<T as Element>::Acc>(), size_of::<<T as Learn>::Update>()]
                });
                let bytes = if told.is_wide { wide } else { narrow };
                let sums = walk.graph.raw(vec![len, bytes], false);
                *gradient = Some(sums);
                walk.pending.push(Pending {
                    value,
                    sums,
                    dtype: node.dtypes[0],
                    number: node.number,
                    index,
                    is_weight: told.role == Role::Weight,
                    is_wide: told.is_wide,
                });
                values.extend([Some(value), None, None]);
            } else {
                values.extend(walk.graph.with_companions(told.value));
            }
        }
        (values, gradients)
    }

    /// Low bytes of the masters of `len` elements.
    fn low_bytes<T: Element>(len: usize) -> usize {
        if size_of::<T::Residual>() == 0 {
            0
        } else {
            len
        }
    }

    fn masters(trains: bool, low: &[i8]) -> Masters<'_> {
        if trains {
            Masters::Low(low)
        } else {
            Masters::Frozen
        }
    }

    /// Random weights of `shape`, parameter `index` of the layer `number`.
    pub(crate) fn random<T: Element>(
        graph: &mut Graph,
        trains: bool,
        [number, index]: [u32; 2],
        (gain, fan_in): (Gain, usize),
        shape: Vec<usize>,
    ) -> kernels::Result<(ValueId, i16)> {
        let len = shape.iter().product();
        let mut weight = vec![T::ZERO; len];
        let mut low = vec![0; low_bytes::<T>(len)];
        let words = Words::new(graph.seed, stream::parameter(number, index), 0);
        let exponent = uniform(&mut weight, &mut low, words, gain, fan_in)?;
        let value = graph.parameter(shape, &weight, masters(trains, &low), exponent);
        Ok((value, exponent))
    }

    /// These elements.
    pub(crate) fn given<T: Element>(
        graph: &mut Graph,
        trains: bool,
        shape: Vec<usize>,
        elements: &[T],
        exponent: i16,
    ) -> ValueId {
        let low = vec![0; low_bytes::<T>(elements.len())];
        let exponent = if T::DTYPE.is_integer() { exponent } else { 0 };
        graph.parameter(shape, elements, masters(trains, &low), exponent)
    }

    /// Zeros.
    pub(crate) fn zeros<T: Element>(
        graph: &mut Graph,
        trains: bool,
        shape: Vec<usize>,
        exponent: i16,
    ) -> ValueId {
        let elements = vec![T::ZERO; shape.iter().product()];
        given(graph, trains, shape, &elements, exponent)
    }

    /// Weights of `shape` and a bias of `outputs`, as the layer `number` begins.
    pub(crate) fn affine<T: Element>(
        graph: &mut Graph,
        trains: bool,
        number: u32,
        (gain, fan_in): (Gain, usize),
        shape: Vec<usize>,
        outputs: usize,
    ) -> kernels::Result<[ValueId; 2]> {
        transposed::<T>(
            graph,
            trains,
            number,
            (gain, fan_in),
            fan_in,
            shape,
            outputs,
        )
    }

    /// The same with weights of a type of their own under activations of type `T`.
    pub(crate) fn mixed<T: Element, K: Element>(
        graph: &mut Graph,
        trains: bool,
        number: u32,
        (gain, fan_in): (Gain, usize),
        shape: Vec<usize>,
        outputs: usize,
    ) -> kernels::Result<[ValueId; 2]> {
        let (weight, exponent) = random::<K>(graph, trains, [number, 0], (gain, fan_in), shape)?;
        // The bias' magnitude bits reach as far as those of the weights.
        let below = T::Bias::MAGNITUDE_BITS as i16 - K::MAGNITUDE_BITS as i16;
        let bias = zeros::<T::Bias>(graph, trains, vec![outputs], exponent.saturating_sub(below));
        Ok([weight, bias])
    }

    /// The same where sums of up to `products` products are as large as those of `fan_in`.
    pub(crate) fn transposed<T: Element>(
        graph: &mut Graph,
        trains: bool,
        number: u32,
        (gain, fan_in): (Gain, usize),
        products: usize,
        shape: Vec<usize>,
        outputs: usize,
    ) -> kernels::Result<[ValueId; 2]> {
        if products > T::MAX_PRODUCTS {
            return Err(kernels::Error::Accumulator {
                terms: products,
                limit: T::MAX_PRODUCTS,
            });
        }
        mixed::<T, T>(graph, trains, number, (gain, fan_in), shape, outputs)
    }
}
