//! Layers that a program defines, of operators that there are.

use super::containers::combine;
use super::{Build, Combine, Layer, Type};
use crate::graph::{Error, ValueId};
use crate::network::builder::Builder;
use crate::ops::view;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use selvedge_kernels::DType;
use selvedge_kernels::elementwise::MAX_TERMS;

/// A layer of a program's own: operators on values, in any order, a value as often as one likes. Nothing else is asked of
/// it: its gradient follows from theirs, and images and sessions see these alone.
///
/// # Example
/// A highway, `y = t · h(x) + (1 - t) · x` with a gate `t`. Source: Srivastava et al. 2015.
/// ```
/// use selvedge_core::DType;
/// use selvedge_core::graph::ValueId;
/// use selvedge_core::network::{Activation, Compose, Custom, Dense, Error, Network, Options, Scope};
///
/// #[derive(Clone, Debug, PartialEq)]
/// struct Highway;
///
/// impl Compose for Highway {
///     fn name(&self) -> &str {
///         "highway"
///     }
///
///     fn build(&self, to: &mut Scope<'_, '_>, x: ValueId) -> Result<ValueId, Error> {
///         let features = *to.shape(x).last().ok_or_else(|| to.shape_error("features", x))?;
///         let dense = |activation| Dense::new(features).activation(activation);
///         let h = to.layer("hidden", dense(Activation::Tanh), x)?;
///         let t = to.layer("gate", dense(Activation::Sigmoid), x)?;
///         let [new, old] = [to.multiply(h, t)?, to.multiply(x, t)?];
///         let rest = to.subtract(x, old)?;
///         to.add(new, rest)
///     }
/// }
///
/// let network = Network::new([4])
///     .layer("highway", Custom::new(Highway))
///     .layer("head", Dense::new(2));
/// let options = Options { train: true, samples: 8, ..Options::default() };
/// network.compile(DType::I8, &options)?;
/// let summary = network.summary(DType::I8, &options)?;
/// assert_eq!((&*summary[1].path, summary[1].parameters), ("highway.gate", 4 * 4 + 4));
/// # Ok::<(), Error>(())
/// ```
pub trait Compose: fmt::Debug + Send + Sync + 'static {
    /// What it is, in summaries and errors: `highway`.
    fn name(&self) -> &str;

    /// Appends its operators to `x`, and returns its output.
    ///
    /// # Errors
    /// Those of `to`, and what it refuses itself: [`Scope::shape_error`], [`Scope::attribute_error`].
    fn build(&self, to: &mut Scope<'_, '_>, x: ValueId) -> Result<ValueId, Error>;
}

/// A [`Compose`] in a network. It has no form in JSON, and the form of a network that has one is refused.
#[derive(Debug)]
pub struct Custom(Box<dyn Held>);

/// What a layer of a program's own can do besides.
trait Held: Compose {
    fn duplicate(&self) -> Box<dyn Held>;
    fn equals(&self, other: &dyn Held) -> bool;
    fn as_any(&self) -> &dyn Any;
}

impl<L: Compose + Clone + PartialEq> Held for L {
    fn duplicate(&self) -> Box<dyn Held> {
        Box::new(self.clone())
    }

    fn equals(&self, other: &dyn Held) -> bool {
        let other = other.as_any().downcast_ref::<L>();
        other.is_some_and(|other| self == other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Custom {
    /// This layer.
    #[must_use]
    pub fn new(layer: impl Compose + Clone + PartialEq) -> Self {
        Self(Box::new(layer))
    }

    /// What it is.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }
}

impl Clone for Custom {
    fn clone(&self) -> Self {
        Self(self.0.duplicate())
    }
}

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        self.0.equals(&*other.0)
    }
}

/// The path and the name of the first layer of a program's own among `layers` and all in them.
pub(in crate::network) fn find(layers: &[Layer]) -> Option<(String, &str)> {
    layers.iter().find_map(|layer| {
        if let Type::Custom(custom) = &layer.layer {
            return Some((layer.name.clone(), custom.name()));
        }
        layer.layer.rows().into_iter().find_map(|(branch, layers)| {
            let (path, name) = find(layers)?;
            let names = [Some(&*layer.name), branch, Some(&*path)];
            Some((
                names.into_iter().flatten().collect::<Vec<_>>().join("."),
                name,
            ))
        })
    })
}

/// What a [`Compose`] appends operators with. Values are of samples: extents do not count the batch.
pub struct Scope<'s, 'g> {
    to: &'s mut Builder<'g>,
    /// Names of the layers so far.
    names: Vec<String>,
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut scope = f.debug_struct("Scope");
        scope.field("path", &self.to.path());
        scope.field("layers", &self.names).finish()
    }
}

impl Scope<'_, '_> {
    /// Type of the elements that layers compute with.
    #[must_use]
    pub const fn dtype(&self) -> DType {
        self.to.dtype
    }

    /// Extents of a value.
    #[must_use]
    pub fn shape(&self, x: ValueId) -> Vec<usize> {
        self.to.shape_of(x)
    }

    /// A layer on `x`, with parameters of its own under this name.
    ///
    /// # Errors
    /// Those of the layer; [`Error::Attribute`] for a name that another has.
    pub fn layer(
        &mut self,
        name: &str,
        layer: impl Into<Type>,
        x: ValueId,
    ) -> Result<ValueId, Error> {
        self.layers(&[Layer::new(name, layer)], x)
    }

    /// Layers on `x` in order, as they are: frozen, disabled, with shared parameters.
    ///
    /// # Errors
    /// As [`Scope::layer`].
    pub fn layers(&mut self, layers: &[Layer], x: ValueId) -> Result<ValueId, Error> {
        self.check(&[x])?;
        self.names
            .extend(layers.iter().map(|layer| layer.name.clone()));
        let names: Vec<&str> = self.names.iter().map(|name| &**name).collect();
        self.to.check_names(&names)?;
        let y = self.to.sequence(layers, x)?;
        // What several readers say of its gradient is added with other random words than those of the layer.
        let number = self.to.number();
        Ok(view::describe::fork(self.to.graph, y, number))
    }

    /// Values that come together as branches do.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Attribute`].
    pub fn combine(&mut self, how: &Combine, of: &[ValueId]) -> Result<ValueId, Error> {
        self.check(of)?;
        self.to.check_range("values", of.len(), MAX_TERMS)?;
        let number = self.to.number();
        combine(self.to, how, of, number)
    }

    /// `a + b`, where `b` may [stretch](selvedge_kernels::elementwise::forward) to the shape of `a`.
    ///
    /// # Errors
    /// As [`Scope::combine`].
    pub fn add(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, Error> {
        self.combine(&Combine::Add, &[a, b])
    }

    /// `a - b`, where `b` may stretch.
    ///
    /// # Errors
    /// As [`Scope::combine`].
    pub fn subtract(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, Error> {
        self.combine(&Combine::Subtract, &[a, b])
    }

    /// `a · b`, where `b` may stretch: `[H, W, C]` by `[C]`.
    ///
    /// # Errors
    /// As [`Scope::combine`].
    pub fn multiply(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, Error> {
        self.combine(&Combine::Multiply, &[a, b])
    }

    /// `a / b`, where `b` may stretch.
    ///
    /// # Errors
    /// As [`Scope::combine`].
    pub fn divide(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, Error> {
        self.combine(&Combine::Divide, &[a, b])
    }

    /// Values side by side along the last axis.
    ///
    /// # Errors
    /// As [`Scope::combine`].
    pub fn concat(&mut self, of: &[ValueId]) -> Result<ValueId, Error> {
        self.combine(&Combine::Concat, of)
    }

    /// Says that `x` has not the shape that was expected.
    #[must_use]
    pub fn shape_error(&self, expected: &str, x: ValueId) -> Error {
        self.to.shape_error(expected, &self.shape(x))
    }

    /// Says that the layer has been told what cannot be.
    #[must_use]
    pub fn attribute_error(&self, expected: impl ToString, found: impl ToString) -> Error {
        self.to.attribute_error(expected, found)
    }

    /// Refuses values that are no samples of elements: those of another network.
    fn check(&self, values: &[ValueId]) -> Result<(), Error> {
        for &id in values {
            let value = self.to.graph.value(id).filter(|value| value.varies);
            let Some(value) = value else {
                return Err(self.attribute_error("values of this network", "one of another"));
            };
            if value.dtype != self.to.dtype {
                return Err(self.attribute_error(self.to.dtype, value.dtype));
            }
        }
        Ok(())
    }
}

impl Build for Custom {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        to.inside(|to| {
            let x = view::describe::fork(to.graph, x, number);
            let mut scope = Scope {
                to,
                names: Vec::new(),
            };
            let y = self.0.build(&mut scope, x)?;
            scope.check(&[y])?;
            Ok(y)
        })
    }
}
