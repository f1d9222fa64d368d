//! What layers are built with: graph, path, number, element type, and checks with their messages.

use super::layers::{Build, Layer, Type, custom};
use super::{LayerSummary, Loss, Options};
use crate::graph::{Error, Graph, Value, ValueId, shown};
use crate::ops::{activation, convert};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use selvedge_kernels::axes::{Extents, MAX_RANK};
use selvedge_kernels::init::Gain;
use selvedge_kernels::{self as kernels, DType, Element};

/// Calls `$body` with the element type of `$dtype` as `$t`.
macro_rules! by_dtype {
    ($dtype:expr, $t:ident => $body:expr) => {
        $crate::network::builder::by_dtype!(@ $dtype, $t => $body; I8 i8, U8 u8, I16 i16, U16 u16, I32 i32, U32 u32,
            I64 i64, U64 u64, F16 selvedge_kernels::f16, Bf16 selvedge_kernels::bf16, F32 f32, F64 f64)
    };
    (@ $dtype:expr, $t:ident => $body:expr; $($variant:ident $type:ty),*) => {
        match $dtype {
            $(selvedge_kernels::DType::$variant => {
                type $t = $type;
                $body
            })*
        }
    };
}
pub(crate) use by_dtype;

/// Exponent of inputs, which stand for fractions.
pub(super) fn pixel_exponent(dtype: DType) -> i16 {
    by_dtype!(dtype, T => T::PIXEL_EXPONENT as i16)
}

/// Type of the last output.
pub(super) fn head(dtype: DType) -> DType {
    by_dtype!(dtype, T => <T as Element>::Head::DTYPE)
}

/// What a layer is built with.
pub(crate) struct Builder<'g> {
    pub(super) graph: &'g mut Graph,
    pub(super) options: &'g Options,
    pub(super) dtype: DType,
    /// Names of the layers around the one that is built, and its own.
    path: Vec<String>,
    /// Numbers that layers have taken.
    numbers: u32,
    /// Conversions between layers.
    conversions: u32,
    /// Type of the last layer.
    pub(super) last: DType,
    /// The parameters of layers, by their paths.
    parameters: BTreeMap<String, Vec<ValueId>>,
    /// The input that says how many positions of each sample are real, where a layer has asked for it.
    lengths: Option<ValueId>,
    /// Containers around it that are one layer of the row.
    depth: u32,
    /// Whether the network's input are tokens.
    pub(super) has_tokens: bool,
    /// Whether it is the last of the network.
    pub(super) is_last: bool,
    /// Whether its parameters are trained.
    pub(super) trains: bool,
    /// Whether it, or a container around it, is frozen.
    is_frozen: bool,
    /// What the layers cost that have been built.
    pub(super) summaries: Vec<LayerSummary>,
    /// Outputs beside the last one.
    pub(super) heads: Vec<Output>,
}

/// An output of the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub(super) value: ValueId,
    /// Type of its last layer.
    pub(super) dtype: DType,
    /// What training makes small of it, if anything.
    pub(super) loss: Option<Loss>,
    /// The power of two that the loss counts.
    pub(super) weight: i32,
    /// Addresses the random words of the loss; 0 for the network's last.
    pub(super) number: u32,
}

impl<'g> Builder<'g> {
    pub(super) fn new(graph: &'g mut Graph, options: &'g Options, dtype: DType) -> Self {
        Self {
            graph,
            options,
            dtype,
            path: Vec::new(),
            numbers: 0,
            conversions: 0,
            last: dtype,
            parameters: BTreeMap::new(),
            depth: 0,
            has_tokens: false,
            lengths: None,
            is_last: true,
            trains: options.train,
            is_frozen: false,
            summaries: Vec::new(),
            heads: Vec::new(),
        }
    }

    /// Layers in order.
    pub(super) fn sequence(&mut self, layers: &[Layer], mut x: ValueId) -> Result<ValueId, Error> {
        let names: Vec<&str> = layers.iter().map(|layer| &*layer.name).collect();
        self.check_names(&names)?;
        let (is_last, trains, is_frozen) = (self.is_last, self.trains, self.is_frozen);
        for (i, layer) in layers.iter().enumerate() {
            if layer.disabled {
                self.pass_over(layer, x)?;
                continue;
            }
            self.is_last = is_last && layers.iter().skip(i + 1).all(|layer| layer.disabled);
            self.trains = trains && !layer.frozen;
            self.is_frozen = is_frozen || layer.frozen;
            x = self.named(&layer.name, |builder| builder.layer(layer, x))?;
        }
        (self.is_last, self.trains, self.is_frozen) = (is_last, trains, is_frozen);
        // What follows inside the same container has its type; the last output stays as it is.
        Ok(if is_last {
            x
        } else {
            self.converted(x, self.dtype)
        })
    }

    /// Layers whose output is one of the network: in the type that outputs of the last layer's have, which comes with it.
    pub(super) fn output(
        &mut self,
        layers: &[Layer],
        x: ValueId,
    ) -> Result<(ValueId, DType), Error> {
        let is_last = core::mem::replace(&mut self.is_last, true);
        let last = core::mem::replace(&mut self.last, self.dtype);
        let x = match self.path.is_empty() {
            true => x,
            false => self.converted(x, self.dtype),
        };
        let y = self.sequence(layers, x)?;
        let dtype = core::mem::replace(&mut self.last, last);
        self.is_last = is_last;
        self.named("output", |to| {
            let head = head(dtype);
            let y = to.converted(y, head);
            match to.graph.dtype_of(y) {
                found if found == head => Ok((y, dtype)),
                found => Err(to.attribute_error("a layer that takes tokens", found)),
            }
        })
    }

    /// Value `x` in elements of type `dtype`; tokens stay what they are. Conversions are numbered from the last number
    /// down, so that layers keep theirs.
    pub(super) fn converted(&mut self, x: ValueId, dtype: DType) -> ValueId {
        if self.graph.dtype_of(x) == dtype || self.is_tokens(x) {
            return x;
        }
        let number = u32::from(u16::MAX).saturating_sub(self.conversions);
        self.conversions += 1;
        self.graph.paths.insert(number, self.path());
        convert::describe::append(self.graph, x, dtype, number)
    }

    /// Whether `x` is the network's input, and that has tokens.
    fn is_tokens(&self, x: ValueId) -> bool {
        self.has_tokens && self.graph.inputs.contains(&self.graph.root(x))
    }

    /// Takes the numbers of a layer that is left out. Those of layers that a program defines are as many as they take when
    /// they are built, aside.
    fn pass_over(&mut self, layer: &Layer, x: ValueId) -> Result<(), Error> {
        if custom::find(core::slice::from_ref(layer)).is_none() {
            self.numbers += layer.layer.numbers();
            return Ok(());
        }
        let mut graph = self.graph.clone();
        let mut aside = Builder {
            path: self.path.clone(),
            numbers: self.numbers,
            parameters: self.parameters.clone(),
            has_tokens: self.has_tokens,
            lengths: self.lengths,
            ..Builder::new(&mut graph, self.options, self.dtype)
        };
        aside.inside(|to| to.named(&layer.name, |to| to.layer(layer, x)))?;
        self.numbers = aside.numbers;
        Ok(())
    }

    /// One layer, whose parameters are those of another if it shares them.
    fn layer(&mut self, layer: &Layer, x: ValueId) -> Result<ValueId, Error> {
        let [first, node] = [self.graph.parameters.len(), self.graph.nodes.len()];
        let mut shared_around = None;
        if let Some(path) = &layer.shares {
            let Some(parameters) = self.parameters_of(path) else {
                let expected = "`shares` with the path of a layer before it that has parameters";
                return Err(self.attribute_error(expected, path));
            };
            let shared = parameters.iter().copied().collect();
            shared_around = Some(core::mem::replace(&mut self.graph.shared, shared));
        }
        let offered = self.graph.shared.clone();
        if self.is_tokens(x) && !layer.layer.takes_tokens() {
            return Err(self.attribute_error("an embedding between tokens and this layer", "none"));
        }
        let around = self.dtype;
        self.dtype = layer.dtype.unwrap_or(around);
        if self.is_last {
            self.last = self.dtype;
        }
        // A head passes its input on as it is.
        let x = match layer.layer {
            Type::Head(_) => x,
            _ => self.converted(x, self.dtype),
        };
        if self.options.sequence && !layer.layer.takes_each_alone() {
            let what = "what lies in a sample, which is one position";
            self.check_samples(&alloc::format!("`{}`, over {what}", layer.layer.name()))?;
        }
        let is_row = matches!(layer.layer, Type::Sequential(_));
        self.depth += u32::from(!is_row);
        let y = layer.layer.build(self, x)?;
        self.depth -= u32::from(!is_row);
        if self.depth == 0 && !is_row {
            self.graph.end_layer(y);
        }
        let taken = offered.len().saturating_sub(self.graph.shared.len());
        if let (Some(path), Some(shared)) = (&layer.shares, shared_around)
            && !core::mem::replace(&mut self.graph.shared, shared).is_empty()
        {
            let expected = alloc::format!("parameters of the extents that `{path}` has");
            return Err(self.attribute_error(expected, "others"));
        }
        let own = self.graph.parameters.iter().skip(first);
        let own = own
            .filter(|parameter| parameter.kind == 0)
            .map(|parameter| parameter.value);
        let own: Vec<ValueId> = own.collect();
        if !layer.layer.is_container() {
            self.summarise(layer, [x, y], (&own, first), node);
        }
        let parameters = offered.into_iter().take(taken).chain(own).collect();
        self.parameters.insert(self.path(), parameters);
        self.dtype = around;
        Ok(y)
    }

    /// The parameters of the layer that the one being built calls `path`: of its neighbours first, then of those around them.
    fn parameters_of(&self, path: &str) -> Option<&Vec<ValueId>> {
        let around = (0..self.path.len()).rev();
        let mut paths = around.map(|n| {
            let names = self.path.iter().take(n).map(|name| &**name);
            names.chain([path]).collect::<Vec<_>>().join(".")
        });
        let parameters = paths.find_map(|path| self.parameters.get(&path));
        parameters.filter(|parameters| !parameters.is_empty())
    }

    /// Notes what `layer` costs, from `x` to `y`: its `own` parameters, which with other states are those of the graph from
    /// `first` on, and its operators, those from `node` on.
    fn summarise(
        &mut self,
        layer: &Layer,
        [x, y]: [ValueId; 2],
        (own, first): (&[ValueId], usize),
        node: usize,
    ) {
        let (graph, path) = (&*self.graph, self.path());
        let size = |id: ValueId| graph.value(id).map_or(0, Value::len);
        let bytes = |id: ValueId| size(id) * graph.dtype_of(id).bytes();
        let stored = graph.parameters.iter().skip(first);
        let nodes = graph.nodes.iter().skip(node);
        let parameters = own.iter().map(|&id| size(id)).sum();
        let summary = LayerSummary {
            path,
            kind: layer.layer.name(),
            dtype: self.dtype,
            input: graph.shape_of(x),
            output: graph.shape_of(y),
            parameters,
            macs: nodes.map(|node| node.operator.macs(graph, node)).sum(),
            bytes: stored.map(|parameter| bytes(parameter.value)).sum(),
            trainable: parameters > 0 && !self.is_frozen,
        };
        self.summaries.push(summary);
    }

    /// Builds what lies in `name`.
    pub(super) fn named<R>(
        &mut self,
        name: &str,
        build: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.path.push(name.to_string());
        let built = build(self)?;
        self.path.pop();
        Ok(built)
    }

    /// The number of the layer that is built: they are counted in pre-order.
    pub(super) fn number(&mut self) -> u32 {
        let number = self.numbers;
        self.numbers += 1;
        self.graph.paths.insert(number, self.path.join("."));
        number
    }

    /// How many positions of each sample are real: an input behind that of the network, the same for all layers.
    pub(super) fn lengths(&mut self) -> ValueId {
        let graph = &mut *self.graph;
        *(self.lengths).get_or_insert_with(|| graph.input(DType::U32, &[1], 0))
    }

    /// The number of the next layer.
    pub(super) const fn next_number(&self) -> u32 {
        self.numbers
    }

    /// What a layer with weights and the activation `code` computes with and stores, and how its weights begin. The last of
    /// a network, without an activation, has an output of at least 16 bits.
    pub(super) fn output_of(&self, code: u32) -> ([DType; 2], Gain) {
        if self.is_last && code == 0 {
            ([self.dtype, head(self.dtype)], Gain::He)
        } else {
            ([self.dtype; 2], activation::gain(code))
        }
    }

    /// The names of the layers around, and of this one.
    pub(super) fn path(&self) -> String {
        self.path.join(".")
    }

    /// Builds what lies inside a container, none of which is the last of the network.
    pub(super) fn inside<R>(
        &mut self,
        build: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let is_last = core::mem::replace(&mut self.is_last, false);
        let built = build(self)?;
        self.is_last = is_last;
        Ok(built)
    }

    /// Refuses two neighbours of one name, and names that paths cannot have.
    pub(super) fn check_names(&self, names: &[&str]) -> Result<(), Error> {
        for (i, name) in names.iter().enumerate() {
            let found = if names.iter().take(i).any(|other| other == name) {
                "two of this name".to_string()
            } else if name.is_empty() || name.contains('.') {
                alloc::format!("`{name}`")
            } else {
                continue;
            };
            let mut path = self.path.clone();
            path.push((*name).to_string());
            return Err(Error::Attribute {
                path: path.join("."),
                expected: "a name of its own, without dots".to_string(),
                found,
            });
        }
        Ok(())
    }

    /// Adds the layer's path to what a kernel refused.
    pub(super) fn kernel(&self) -> impl Fn(kernels::Error) -> Error + use<> {
        let path = self.path();
        move |source| Error::Kernel {
            path: path.clone(),
            source,
        }
    }

    pub(super) fn shape_error(&self, expected: &str, found: &[usize]) -> Error {
        Error::Shape {
            path: self.path(),
            expected: expected.to_string(),
            found: shown(found),
        }
    }

    pub(super) fn attribute_error(&self, expected: impl ToString, found: impl ToString) -> Error {
        Error::Attribute {
            path: self.path(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// Refuses an attribute that is none of `1..=most`.
    pub(super) fn check_range(&self, name: &str, value: usize, most: usize) -> Result<(), Error> {
        if (1..=most).contains(&value) {
            return Ok(());
        }
        Err(self.attribute_error(alloc::format!("{name} of 1 to {most}"), value))
    }

    /// The extents of a sample as kernels have them, which count the batch as an axis more.
    pub(super) fn extents(&self, shape: &[usize]) -> Result<Extents, Error> {
        if shape.len() >= MAX_RANK {
            return Err(self.shape_error("up to five axes", shape));
        }
        Extents::new(shape).map_err(self.kernel())
    }

    /// Refuses an axis that `shape` does not have; returns its extent.
    pub(super) fn check_axis(&self, axis: usize, shape: &[usize]) -> Result<usize, Error> {
        let extent = shape.get(axis).copied();
        extent.ok_or_else(|| {
            self.attribute_error(alloc::format!("an axis below {}", shape.len()), axis)
        })
    }

    /// Refuses a tensor that an image has no room for: more than 2^31 bytes.
    pub(super) fn check_size(&self, shape: &[usize], samples: usize) -> Result<(), Error> {
        const LARGEST: usize = 8; // bytes of an element
        let mut extents = shape.iter().chain([&samples, &LARGEST]).copied();
        let bytes = extents.try_fold(1usize, usize::checked_mul);
        match bytes {
            Some(0) => Err(self.shape_error("extents of at least one", shape)),
            Some(bytes) if bytes <= 1 << 31 => Ok(()),
            _ => Err(Error::Size),
        }
    }

    /// Refuses a value that an image has no room for.
    pub(super) fn check_value(&self, shape: &[usize]) -> Result<(), Error> {
        self.check_size(shape, self.options.samples)
    }

    /// Refuses sums in training that no accumulator holds: of a gradient over `terms` products of each sample, of the
    /// error of `x` over `outputs` products.
    pub(super) fn check_sums(&self, x: ValueId, terms: usize, outputs: usize) -> Result<(), Error> {
        if !self.options.train {
            return Ok(());
        }
        let [most, most_of_gradient] = by_dtype!(self.dtype, T => {
            [<T as Element>::MAX_PRODUCTS, <T as Element>::MAX_GRADIENT_PRODUCTS]
        });
        let terms = if self.trains { terms } else { 0 };
        let gradient = (terms.saturating_mul(self.options.samples), most_of_gradient);
        let error = (if self.graph.learns(x) { outputs } else { 0 }, most);
        for (terms, limit) in [gradient, error] {
            if terms > limit {
                return Err(self.kernel()(kernels::Error::Accumulator { terms, limit }));
            }
        }
        Ok(())
    }

    /// Sequences of a run.
    pub(super) const fn sequences(&self) -> usize {
        if self.options.sequence {
            1
        } else {
            self.options.samples
        }
    }

    /// Refuses a layer that has `what` in a network whose samples are the positions of one sequence.
    pub(super) fn check_samples(&self, what: &str) -> Result<(), Error> {
        if self.options.sequence {
            let expected =
                "a layer that takes the samples of a run as the positions of one sequence";
            return Err(self.attribute_error(expected, what));
        }
        Ok(())
    }

    /// Refuses samples of several positions where all of them are the positions of one sequence.
    pub(super) fn check_one(&self, shape: &[usize]) -> Result<(), Error> {
        match shape {
            [1, _] => Ok(()),
            _ => Err(self.shape_error("`[1, F]`: the samples of a run are the positions", shape)),
        }
    }

    /// Refuses an input that has no tokens.
    pub(super) fn check_tokens(&self, x: ValueId) -> Result<(), Error> {
        match self.graph.dtype_of(x) {
            DType::U8 | DType::U16 | DType::U32 if self.graph.inputs.contains(&x) => Ok(()),
            found => Err(self.attribute_error("tokens: an input of u8, u16 or u32", found)),
        }
    }

    pub(super) fn shape_of(&self, x: ValueId) -> Vec<usize> {
        self.graph.shape_of(x)
    }
}
