//! Rows of logits to rows of probabilities.
//!
//! A `Variant` says what an image tells of a member of the family, and which kernels it calls; what all of them share is
//! here: temperature, exponents, the random words of a draw.

mod learned;
mod parts;
mod rows;
mod top_k;

pub(crate) use learned::{Mixed, Step};
pub use learned::{run as run_learned, train as train_learned};
pub(crate) use parts::load;
#[cfg(feature = "alloc")]
pub(crate) use parts::{MOST_CLUSTERS, MOST_LEVELS};
pub use parts::{run_adaptive, run_mixture, run_tree, train_adaptive, train_mixture, train_tree};
pub use rows::{
    run, run_entmax, run_gumbel, run_masked, train, train_entmax, train_gumbel, train_masked,
};
pub(crate) use top_k::mark;
pub use top_k::run as run_top_k;

use super::Result;
use super::call::{Attributes, Call, Direction, read, write};
use crate::net::Context;
use selvedge_kernels::rng::Words;
use selvedge_kernels::scale::Mode;
use selvedge_kernels::softmax::{Errors, Logits, Temperature, gradient_exponent};
use selvedge_kernels::{self as kernels, Element};

/// The words of a draw: there is none at inference.
pub(crate) fn words<T: Element, E>(context: &Context<'_, T, E>) -> Option<Words> {
    match context.mode {
        Mode::Train => Some(context.mask()),
        Mode::Infer | Mode::Calibrate => None,
    }
}

/// The exponent of probabilities.
pub(crate) const fn stored<T: Element>() -> i32 {
    -(T::MAGNITUDE_BITS as i32)
}

/// A temperature, as the bits of an `f32`.
fn temperature(attributes: &mut Attributes<'_>) -> Result<Temperature> {
    Ok(Temperature::new(f32::from_bits(attributes.word()?))?)
}

/// What a call has beside logits and probabilities. What is too short is its kernel's to refuse.
struct Tools<'a, T: Element> {
    words: Option<Words>,
    /// A constant of the image, or what the way there has computed.
    table: &'a [u8],
    numbers: &'a mut [T::Number],
    /// More room, for what it likes.
    room: &'a mut [u8],
}

/// A member of the family, as the attributes behind its temperature say.
trait Variant: Sized {
    fn read(batch: usize, attributes: &mut Attributes<'_>) -> Result<Self>;

    /// The probabilities `out` of `logits`.
    fn forward<T: Element>(
        &self,
        logits: Logits<'_, T>,
        tools: Tools<'_, T>,
        out: &mut [T],
    ) -> kernels::Result<()>;

    /// Takes errors of the probabilities to those of the logits, and returns their range.
    fn backward<T: Element>(
        &self,
        logits: Logits<'_, T>,
        tools: Tools<'_, T>,
        errors: Errors<'_, T>,
        dx: &mut [T],
    ) -> kernels::Result<u32>;
}

/// Values: x, table, y, numbers, room.
fn forward<T: Element, V: Variant>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let temperature = temperature(&mut attributes)?;
    let variant = V::read(call.batch, &mut attributes)?;
    let (exponent, slots) = (call.exponent(0), [0, 1, 2, 3, 4]);
    call.with::<T, _, 5>(Direction::Forward, 0, slots, |context, views| {
        let [x, of, y, numbers, room] = views;
        let logits = Logits::new(read::<T>(x)?, exponent).at(temperature);
        let tools = Tools {
            words: words(&context),
            table: read(of)?,
            numbers: write(numbers)?,
            room: write(room)?,
        };
        Ok(variant.forward(logits, tools, write(y)?)?)
    })?;
    call.set_exponent(2, stored::<T>());
    Ok(())
}

/// Values: x, dy, table, dx, numbers, room.
fn backward<T: Element, V: Variant>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let temperature = temperature(&mut attributes)?;
    let variant = V::read(call.batch, &mut attributes)?;
    let (exponent, slots) = (call.exponent(0), [0, 1, 2, 3, 4, 5]);
    let acc = gradient_exponent::<T>(call.exponent(1), temperature);
    let exponent = call.with::<T, _, 6>(Direction::Backward, 0, slots, |context, views| {
        let [x, dy, of, dx, numbers, room] = views;
        let logits = Logits::new(read::<T>(x)?, exponent).at(temperature);
        let (words, table) = (words(&context), read(of)?);
        let (numbers, room) = (write::<T::Number>(numbers)?, write::<u8>(room)?);
        let (dy, dx) = (read::<T>(dy)?, write::<T>(dx)?);
        let run = |store| {
            let tools = Tools {
                words,
                table,
                numbers: &mut *numbers,
                room: &mut *room,
            };
            variant.backward(logits, tools, Errors { dy, store }, dx)
        };
        Ok(context.rescale(acc, run)?)
    })?;
    call.set_exponent(3, exponent);
    Ok(())
}

/// Defines the two groups of variants.
macro_rules! groups {
    ($($(#[$doc:meta])* $run:ident, $train:ident: $variant:ident, $kind:ident, $back:ident;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub const fn $run<T: Element>() -> &'static [Kernel] {
            const {
                &[Kernel {
                    kind: Kind::$kind,
                    dtypes: [T::DTYPE, T::DTYPE],
                    run: super::forward::<T, $variant>,
                }]
            }
        }

        /// Takes errors back through it.
        #[must_use]
        pub const fn $train<T: Element>() -> &'static [Kernel] {
            const {
                &[Kernel {
                    kind: Kind::$back,
                    dtypes: [T::DTYPE, T::DTYPE],
                    run: super::backward::<T, $variant>,
                }]
            }
        }
    )*};
}
use groups;

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    pub(crate) use super::learned::describe::{append as append_learned, sum_bytes};
    pub(crate) use super::top_k::describe::append as append_top_k;
    use crate::graph::{Graph, ValueId};
    use crate::ops::Kind;
    use crate::ops::function::{Function, Given};
    use alloc::vec;
    use alloc::vec::Vec;
    use selvedge_kernels::Element;

    macro_rules! variants {
        ($($name:ident: $forward:ident $backward:ident;)*) => {$(
            pub(crate) static $name: Function = Function {
                forward: Kind::$forward,
                backward: Kind::$backward,
                asks_input: true,
                states: [0, 1],
            };
        )*};
    }

    variants! {
        PLAIN: Softmax SoftmaxBackward;
        MASKED: MaskedSoftmax MaskedSoftmaxBackward;
        GUMBEL: GumbelSoftmax GumbelSoftmaxBackward;
        ENTMAX: Entmax EntmaxBackward;
        TREE: TreeSoftmax TreeSoftmaxBackward;
        ADAPTIVE: AdaptiveSoftmax AdaptiveSoftmaxBackward;
        MIXTURE: MixtureSoftmax MixtureSoftmaxBackward;
    }

    /// Bytes of a number that kernels work with.
    pub(crate) const fn number_bytes<T: Element>() -> usize {
        size_of::<T::Number>()
    }

    /// What a variant has beside logits.
    pub(crate) struct Own {
        /// Temperature first.
        pub(crate) attributes: Vec<u32>,
        /// A constant of the image.
        pub(crate) table: Option<Vec<u8>>,
        /// Bytes of the numbers that its kernels work with.
        pub(crate) numbers: usize,
        /// Bytes of its other room.
        pub(crate) room: usize,
    }

    impl Function {
        /// The probabilities of `x`, in `shape`.
        pub(crate) fn of_logits(
            &'static self,
            graph: &mut Graph,
            number: u32,
            x: ValueId,
            shape: Vec<usize>,
            own: Own,
        ) -> ValueId {
            let table = own.table.map(|table| graph.constant(table));
            let mut scratch = vec![graph.raw(vec![own.numbers], false)];
            if own.room != 0 {
                scratch.push(graph.raw(vec![own.room], false));
            }
            let given = Given {
                attributes: own.attributes,
                constants: vec![table],
                scratch,
            };
            self.append(graph, number, x, shape, given)
        }
    }
}
