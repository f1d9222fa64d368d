//! From layers to operators.

use super::Options;
use super::layers::{Conv2d, Dense, Layer, MaxPool2d, Padding, Type};
use crate::graph::{Error, Graph, ValueId, shown};
use crate::ops::{activation, conv, dense, pool, view, weighted};
use alloc::string::{String, ToString};
use alloc::vec;
use selvedge_kernels::init::Gain;
use selvedge_kernels::window::Window;
use selvedge_kernels::{self as kernels, DType, Element};

/// Calls `$body` with the element type of `$dtype` as `$t`.
macro_rules! by_dtype {
    ($dtype:expr, $t:ident => $body:expr) => {
        by_dtype!(@ $dtype, $t => $body; I8 i8, U8 u8, I16 i16, U16 u16, I32 i32, U32 u32, I64 i64, U64 u64,
            F16 kernels::f16, Bf16 kernels::bf16, F32 f32, F64 f64)
    };
    (@ $dtype:expr, $t:ident => $body:expr; $($variant:ident $type:ty),*) => {
        match $dtype {
            $(DType::$variant => {
                type $t = $type;
                $body
            })*
        }
    };
}

/// Exponent of inputs, which stand for fractions.
pub(super) fn pixel_exponent(dtype: DType) -> i16 {
    by_dtype!(dtype, T => T::PIXEL_EXPONENT as i16)
}

/// Type of the last output.
fn head(dtype: DType) -> DType {
    by_dtype!(dtype, T => <T as Element>::Head::DTYPE)
}

/// What a layer is built with.
struct Builder<'g> {
    graph: &'g mut Graph,
    dtype: DType,
    path: String,
    number: u32,
    /// Whether it is the last of the network.
    is_last: bool,
    /// Whether nothing below it learns, so that its own errors go no further.
    is_first: bool,
    options: &'g Options,
}

/// Refuses two layers of one name.
pub(super) fn check_names(layers: &[Layer]) -> Result<(), Error> {
    for (i, layer) in layers.iter().enumerate() {
        let mut before = layers.iter().take(i);
        if before.any(|other| other.name == layer.name) {
            return Err(Error::Attribute {
                path: layer.name.clone(),
                expected: "a name of its own".to_string(),
                found: "two layers of this name".to_string(),
            });
        }
    }
    Ok(())
}

/// Refuses a tensor that an image has no room for: `samples` of `shape`, with at most 2^31 bytes.
pub(super) fn check_size(path: &str, shape: &[usize], samples: usize) -> Result<(), Error> {
    const LARGEST: usize = 8; // bytes of an element
    let mut extents = shape.iter().chain([&samples, &LARGEST]).copied();
    let bytes = extents.try_fold(1usize, usize::checked_mul);
    match bytes {
        Some(0) => Err(Error::Shape {
            path: path.to_string(),
            expected: "extents of at least one".to_string(),
            found: shown(shape),
        }),
        Some(bytes) if bytes <= 1 << 31 => Ok(()),
        _ => Err(Error::Size),
    }
}

/// Layers in order.
pub(super) fn sequence(
    graph: &mut Graph,
    dtype: DType,
    layers: &[Layer],
    mut x: ValueId,
    options: &Options,
) -> Result<ValueId, Error> {
    for ((i, layer), number) in layers.iter().enumerate().zip(0..) {
        let is_first = graph.parameters.is_empty();
        let mut builder = Builder {
            graph: &mut *graph,
            dtype,
            path: layer.name.clone(),
            number,
            is_last: i + 1 == layers.len(),
            options,
            is_first,
        };
        x = match &layer.layer {
            Type::Dense(layer) => builder.dense(layer, x)?,
            Type::Conv2d(layer) => builder.conv2d(layer, x)?,
            Type::MaxPool2d(layer) => builder.max_pool2d(layer, x)?,
            Type::Flatten => {
                let len = builder.graph.shape_of(x).iter().product();
                view::describe::append(builder.graph, x, vec![len], number)
            }
        };
    }
    Ok(x)
}

impl Builder<'_> {
    fn kernel(&self) -> impl Fn(kernels::Error) -> Error + use<> {
        let path = self.path.clone();
        move |source| Error::Kernel {
            path: path.clone(),
            source,
        }
    }

    fn shape_error(&self, expected: &str, found: &[usize]) -> Error {
        Error::Shape {
            path: self.path.clone(),
            expected: expected.to_string(),
            found: shown(found),
        }
    }

    /// Refuses sums in training that no accumulator holds: of a gradient over `terms` products of each sample, of an error
    /// over `outputs` products.
    fn check_sums(&self, terms: usize, outputs: usize) -> Result<(), Error> {
        if !self.options.train {
            return Ok(());
        }
        let [most, most_of_gradient] = by_dtype!(self.dtype, T => {
            [<T as Element>::MAX_PRODUCTS, <T as Element>::MAX_GRADIENT_PRODUCTS]
        });
        let gradient = (terms.saturating_mul(self.options.samples), most_of_gradient);
        let error = (if self.is_first { 0 } else { outputs }, most);
        for (terms, limit) in [gradient, error] {
            if terms > limit {
                return Err(self.kernel()(kernels::Error::Accumulator { terms, limit }));
            }
        }
        Ok(())
    }

    fn dense(&mut self, layer: &Dense, x: ValueId) -> Result<ValueId, Error> {
        let shape = self.graph.shape_of(x);
        let Some(&features) = shape.last() else {
            return Err(self.shape_error("at least one axis", &shape));
        };
        check_size(&self.path, &[layer.outputs, features], 1)?;
        let rows = shape.iter().product::<usize>() / features;
        check_size(&self.path, &[rows, layer.outputs], self.options.samples)?;
        self.check_sums(rows, layer.outputs)?;
        let code = layer.activation.code();
        let is_head = self.is_last && code == 0;
        let gain = if is_head {
            Gain::He
        } else {
            activation::gain(code)
        };
        let (dtype, number, error) = (self.dtype, self.number, self.kernel());
        let to = vec![layer.outputs, features];
        let [weight, bias] = by_dtype!(dtype, T => {
            weighted::describe::parameters::<T>(self.graph, number, gain, features, to, layer.outputs)
        })
        .map_err(error)?;
        let dtypes = [dtype, if is_head { head(dtype) } else { dtype }];
        Ok(dense::describe::append(
            self.graph,
            dtypes,
            number,
            [x, weight, bias],
            &shape,
            layer.outputs,
            code,
        ))
    }

    fn conv2d(&mut self, layer: &Conv2d, x: ValueId) -> Result<ValueId, Error> {
        let shape = self.graph.shape_of(x);
        let &[rows, columns, channels] = &*shape else {
            return Err(self.shape_error("rows, columns and channels", &shape));
        };
        self.check_extents(&[
            ("stride", layer.stride),
            ("dilation", layer.dilation),
            ("kernel", layer.kernel),
        ])?;
        if let Padding::Each(cells) = layer.padding {
            self.check_extents(&[("padding", [cells.max(1); 2])])?;
        }
        let input = [rows, columns];
        let extents = kernels::conv::Shape {
            batch: 1,
            input,
            channels,
            filters: layer.filters,
            groups: layer.groups,
            window: window(
                layer.kernel,
                layer.stride,
                layer.dilation,
                layer.padding,
                input,
            ),
        };
        let divides = |n: usize| layer.groups > 0 && n.is_multiple_of(layer.groups);
        if !divides(channels) || !divides(layer.filters) {
            return Err(Error::Attribute {
                path: self.path.clone(),
                expected: alloc::format!(
                    "groups that divide {channels} channels and {} filters",
                    layer.filters
                ),
                found: layer.groups.to_string(),
            });
        }
        let depth = channels / layer.groups;
        check_size(
            &self.path,
            &[layer.filters, layer.kernel[0], layer.kernel[1], depth],
            1,
        )?;
        let [out_rows, out_columns] = (extents.window.outputs(input)).map_err(self.kernel())?;
        let out = [out_rows, out_columns, layer.filters];
        check_size(&self.path, &out, self.options.samples)?;
        let cells = layer.kernel[0] * layer.kernel[1];
        self.check_sums(
            out_rows * out_columns,
            cells * (layer.filters / layer.groups),
        )?;
        let fan_in = layer.kernel[0] * layer.kernel[1] * depth;
        let code = layer.activation.code();
        let (dtype, number, error) = (self.dtype, self.number, self.kernel());
        let to = vec![layer.filters, layer.kernel[0], layer.kernel[1], depth];
        let gain = activation::gain(code);
        let [weight, bias] = by_dtype!(dtype, T => {
            weighted::describe::parameters::<T>(self.graph, number, gain, fan_in, to, layer.filters)
        })
        .map_err(&error)?;
        conv::describe::append(self.graph, dtype, number, [x, weight, bias], &extents, code)
            .map_err(error)
    }

    /// Refuses what no window has.
    fn check_extents(&self, attributes: &[(&str, [usize; 2])]) -> Result<(), Error> {
        for (name, extents) in attributes {
            if extents
                .iter()
                .any(|&extent| extent == 0 || extent > 1 << 16)
            {
                return Err(Error::Attribute {
                    path: self.path.clone(),
                    expected: alloc::format!("{name} of 1 to 65536"),
                    found: shown(extents),
                });
            }
        }
        Ok(())
    }

    fn max_pool2d(&mut self, layer: &MaxPool2d, x: ValueId) -> Result<ValueId, Error> {
        let shape = self.graph.shape_of(x);
        let &[rows, columns, channels] = &*shape else {
            return Err(self.shape_error("rows, columns and channels", &shape));
        };
        self.check_extents(&[("stride", layer.stride), ("kernel", layer.kernel)])?;
        let input = [rows, columns];
        let extents = kernels::pool::Shape {
            batch: 1,
            input,
            channels,
            window: window(layer.kernel, layer.stride, [1; 2], Padding::Valid, input),
        };
        let error = self.kernel();
        pool::describe::append(self.graph, self.dtype, self.number, x, &extents).map_err(error)
    }
}

fn window(
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
    input: [usize; 2],
) -> Window<2> {
    let axis = |i: usize| match padding {
        Padding::Valid => [0; 2],
        Padding::Each(cells) => [cells; 2],
        Padding::Same => {
            let at = |extents: [usize; 2]| extents.get(i).copied().unwrap_or(1).max(1);
            let reach = at(dilation) * (at(kernel) - 1) + 1;
            let outputs = at(input).div_ceil(at(stride));
            let cells = ((outputs - 1) * at(stride) + reach).saturating_sub(at(input));
            [cells / 2, cells - cells / 2]
        }
    };
    Window {
        kernel,
        stride,
        padding: [axis(0), axis(1)],
        dilation,
    }
}
