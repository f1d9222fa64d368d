//! Outputs beside the last one.

use super::containers::numbers;
use super::{Build, Inside, Layer, Rows, Type};
use crate::graph::{Error, ValueId};
use crate::network::builder::{Builder, Output};
use crate::network::{Loss, check_loss};
use crate::ops::view;
use alloc::string::String;
use alloc::vec::Vec;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// Layers whose output is one more of the network, beside what goes on: the input is passed on as it is, to a layer that follows. Outputs come in
/// the order in which heads are built, behind the network's last; so do, in training, what is asked of them, behind the
/// inputs, and their losses, behind all outputs. Source of training with several losses: Lee et al. 2015, "Deeply-supervised
/// nets"; Szegedy et al. 2014, §5.
///
/// The errors of both ways are added where the input forks, as those of [`Parallel`](super::Parallel). It takes two numbers,
/// the second of which rounds the gradient of its loss. Ticks ([`Options::step`](crate::network::Options::step)) are refused.
///
/// # Example
/// A digit and its parity, of one trunk:
/// ```
/// use selvedge_core::image::{Image, Role};
/// use selvedge_core::network::{Activation, Dense, Head, Loss, Network, Options};
/// use selvedge_core::DType;
///
/// let network = Network::new([64])
///     .layer("trunk", Dense::new(16).activation(Activation::Relu))
///     .layer("parity", Head::new(Loss::CrossEntropy).weight(-1).layer("of_two", Dense::new(2)))
///     .layer("digit", Dense::new(10));
/// let bytes = network.compile(DType::I8, &Options { train: true, ..Options::default() })?;
/// # #[repr(C, align(16))]
/// # struct Flash([u8; 8192]);
/// # let mut flash = Flash([0; 8192]);
/// # flash.0[..bytes.len()].copy_from_slice(&bytes);
/// let image = Image::parse(&flash.0)?;
/// let sizes = [0, 1].map(|output| image.output(Role::Infer, output).map(|port| port.len));
/// assert_eq!(sizes, [Some(10), Some(2)]);
/// assert_eq!(image.inputs(Role::Train), 3); // pixels, digits, parities
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Head {
    /// What training makes small of its output; nothing is asked of one without, and it teaches nothing.
    #[cfg_attr(
        feature = "json",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub loss: Option<Loss>,
    /// The power of two that its loss counts beside that of the network, -126 to 126. The loss that is reported has no
    /// weight.
    #[cfg_attr(feature = "json", serde(default))]
    pub weight: i32,
    /// The layers.
    pub layers: Vec<Layer>,
}

impl Head {
    /// Without layers, with what training makes small.
    #[must_use]
    pub const fn new(loss: Loss) -> Self {
        Self {
            loss: Some(loss),
            weight: 0,
            layers: Vec::new(),
        }
    }

    /// Without layers and without a loss: an output to be looked at.
    #[must_use]
    pub const fn untrained() -> Self {
        Self {
            loss: None,
            weight: 0,
            layers: Vec::new(),
        }
    }

    /// With a loss that counts `2^weight` times.
    #[must_use]
    pub fn weight(self, weight: i32) -> Self {
        Self { weight, ..self }
    }

    /// With one layer more.
    #[must_use]
    pub fn layer(mut self, name: impl Into<String>, layer: impl Into<Type>) -> Self {
        self.layers.push(Layer::new(name, layer));
        self
    }
}

impl Build for Head {
    fn rows(&self) -> Vec<Rows<'_>> {
        [(None, &*self.layers)].into()
    }

    fn inside(&mut self) -> Vec<Inside<'_>> {
        [Inside::of(&mut self.layers)].into()
    }

    fn numbers(&self) -> u32 {
        2 + numbers(&self.layers)
    }

    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        if to.options.step {
            let expected = "no head in a network that advances by ticks";
            return Err(to.attribute_error(expected, "one"));
        }
        if !(-126..=126).contains(&self.weight) {
            return Err(to.attribute_error("a weight of 2^-126 to 2^126", self.weight));
        }
        if let Some(loss) = self.loss {
            check_loss(loss, &to.path())?;
        }
        if to.is_last {
            let expected = "a layer behind the head, whose output is the last of the network";
            return Err(to.attribute_error(expected, "none"));
        }
        let (number, of_loss) = (to.number(), to.number());
        let x = view::describe::fork(to.graph, x, number);
        let before = to.summaries.len();
        let (value, dtype) = to.output(&self.layers, x)?;
        if to.options.headless && !to.options.train {
            to.summaries.truncate(before); // they are left out
        }
        to.heads.push(Output {
            value,
            dtype,
            loss: self.loss,
            weight: self.weight,
            number: of_loss,
        });
        Ok(x)
    }
}
