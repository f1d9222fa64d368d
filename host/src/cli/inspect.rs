//! `selvedge inspect`.

use super::compile::{self, Compile, refused};
use super::unit;
use crate::error::{Error, Result};
use crate::report::map;
use crate::{DType, files};
use selvedge_core::graph::MemoryMap;
use selvedge_core::image::{Image, Role};
use selvedge_core::network::{Description, LayerSummary, Network, Options};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Show the layers of a description or an image, what they cost, and where values lie.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge inspect net.json                                     layers, products, bytes
  selvedge inspect net.json --samples 8 --train --map map.svg   the arena of a training, drawn
  selvedge inspect model.svi --json                             what an image was compiled from

An image has its own type and options; those of the command are for descriptions.")]
pub(super) struct Inspect {
    /// A description (JSON), or an image.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    compile: Compile,
    /// Draw the arena: an SVG file.
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// Show where each value lies.
    #[arg(long)]
    values: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What a network costs.
struct Costs {
    dtype: DType,
    layers: Vec<LayerSummary>,
    maps: Vec<MemoryMap>,
    arena: usize,
}

#[derive(Serialize)]
struct Outcome<'a> {
    layers: Vec<Row<'a>>,
    parameters: usize,
    macs: u64,
    arena_bytes: usize,
}

#[derive(Serialize)]
struct Row<'a> {
    path: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    dtype: &'a str,
    input_shape: &'a [usize],
    output_shape: &'a [usize],
    parameters: usize,
    macs: u64,
    bytes: usize,
    trainable: bool,
}

impl Inspect {
    pub(super) fn run(&self) -> Result<()> {
        let bytes = files::read(&self.file)?;
        if bytes.starts_with(b"SLVG") {
            return self.image(&bytes);
        }
        let is_text = bytes.trim_ascii_start().starts_with(b"{");
        if !is_text {
            let path = self.file.clone();
            return Err(Error::NeitherModel { path });
        }
        let network = compile::read(&self.file)?;
        let (dtype, options) = (self.compile.dtype, self.compile.options());
        self.show(&costs(&self.file, &network, dtype, &options)?, "")
    }

    /// Shows an image by its description, or else by its operators.
    fn image(&self, bytes: &[u8]) -> Result<()> {
        let (text, description) = files::with_image(bytes, &self.file, |image, bytes| {
            (operators(image, bytes), described(bytes))
        })?;
        if let Some((
            Description {
                network, options, ..
            },
            dtype,
        )) = description
        {
            return self.show(&costs(&self.file, &network, dtype, &options)?, &text);
        }
        if self.map.is_some() || self.values {
            let path = self.file.clone();
            return Err(Error::NoDescription { path });
        }
        if self.json {
            let arena_bytes = files::with_image(bytes, &self.file, |image, _| image.arena_bytes())?;
            let outcome = serde_json::json!({
                "layers": null, "parameters": null, "macs": null, "arena_bytes": arena_bytes,
            });
            println!("{outcome}");
        } else {
            print!("{text}");
        }
        Ok(())
    }

    fn show(&self, costs: &Costs, of_image: &str) -> Result<()> {
        if let Some(path) = &self.map {
            files::write(path, map::svg(&costs.maps)?.as_bytes())?;
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&costs.outcome())?);
            return Ok(());
        }
        print!("{}", costs.text());
        if !of_image.is_empty() {
            print!("\n{of_image}");
        }
        if self.values {
            for of_program in &costs.maps {
                print!("\n{}", map::text(of_program));
            }
        }
        if let Some(path) = &self.map {
            println!("\nMap: {}", path.display());
        }
        Ok(())
    }
}

fn costs(path: &Path, network: &Network, dtype: DType, options: &Options) -> Result<Costs> {
    let refused = refused(path);
    let layers = network.summary(dtype, options).map_err(&refused)?;
    let graph = network.graph(dtype, options).map_err(&refused)?;
    let maps = graph.roles().into_iter().map(|role| {
        let map = graph.memory_map(role, options.samples);
        map.map_err(&refused)
    });
    let maps = maps.collect::<Result<Vec<_>>>()?;
    let bytes = graph.compile(options.samples).map_err(&refused)?;
    let arena = files::with_image(&bytes, path, |image, _| image.arena_bytes())?;
    Ok(Costs {
        dtype,
        layers,
        maps,
        arena,
    })
}

/// The description in an image, if this build can read it.
fn described(bytes: &[u8]) -> Option<(Description, DType)> {
    let description = Description::from_json(Image::description(bytes).ok()??).ok()?;
    let dtype = description.dtype()?;
    Some((description, dtype))
}

impl Costs {
    fn parameters(&self) -> usize {
        self.layers.iter().map(|layer| layer.parameters).sum()
    }

    fn macs(&self) -> u64 {
        self.layers.iter().map(|layer| layer.macs).sum()
    }

    fn outcome(&self) -> Outcome<'_> {
        let rows = self.layers.iter().map(|layer| Row {
            path: &layer.path,
            kind: &layer.kind,
            dtype: layer.dtype.name(),
            input_shape: &layer.input,
            output_shape: &layer.output,
            parameters: layer.parameters,
            macs: layer.macs,
            bytes: layer.bytes,
            trainable: layer.trainable,
        });
        Outcome {
            layers: rows.collect(),
            parameters: self.parameters(),
            macs: self.macs(),
            arena_bytes: self.arena,
        }
    }

    /// A tree of layers, and sums.
    fn text(&self) -> String {
        let mut out = format!(
            "{:<32} {:<18} {:>14} {:>14} {:>10} {:>12} {:>9}\n",
            "layer", "type", "input", "output", "parameters", "MACs", "bytes"
        );
        let mut before: Vec<&str> = Vec::new();
        for layer in &self.layers {
            let names: Vec<&str> = layer.path.split('.').collect();
            let (name, around) = names.split_last().unwrap_or((&"", &[]));
            for (depth, container) in around.iter().enumerate() {
                let is_same = before.get(..=depth) == around.get(..=depth);
                if !is_same {
                    let _ = writeln!(out, "{:1$}{container}", "", 2 * depth);
                }
            }
            before = around.to_vec();
            let [input, output] = [&layer.input, &layer.output].map(|shape| extents(shape));
            let _ = writeln!(
                out,
                "{:<32} {:<18} {input:>14} {output:>14} {:>10} {:>12} {:>9}{}",
                format!("{:1$}{name}", "", 2 * around.len()),
                layer.kind,
                layer.parameters,
                layer.macs,
                layer.bytes,
                if layer.parameters > 0 && !layer.trainable {
                    "  frozen"
                } else {
                    ""
                },
            );
        }
        let bytes: usize = self.layers.iter().map(|layer| layer.bytes).sum();
        let _ = writeln!(
            out,
            "\n{}: {} parameters in {}, {} multiplications a sample; a session needs {} of RAM",
            self.dtype,
            self.parameters(),
            unit(bytes),
            self.macs(),
            unit(self.arena)
        );
        for map in &self.maps {
            let _ = writeln!(
                out,
                "{}: {} operators, {} while it runs (at least {}), {} that stay",
                map.role.name(),
                map.operators.len(),
                unit(map.peak),
                unit(map.lower_bound),
                unit(map.persistent)
            );
        }
        out
    }
}

fn extents(shape: &[usize]) -> String {
    let extents: Vec<String> = shape.iter().map(ToString::to_string).collect();
    extents.join("x")
}

/// Sections, programs and operators of an image.
fn operators(image: &Image<'_>, bytes: &[u8]) -> String {
    let mut out = format!(
        "image of {}; a session needs {} of RAM\n",
        unit(bytes.len()),
        unit(image.arena_bytes())
    );
    for (name, body) in Image::sections(bytes).into_iter().flatten().flatten() {
        let _ = writeln!(out, "  section {name}: {} bytes", body.len());
    }
    for role in Role::ALL {
        let Some([samples, arena]) = image.extent(role) else {
            continue;
        };
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for kind in image.kinds(role) {
            *counts
                .entry(kind.map_or("unknown", |kind| kind.name()))
                .or_default() += 1;
        }
        let _ = writeln!(
            out,
            "{}: {} operators, up to {samples} samples, {arena} bytes while it runs, {} that stay",
            role.name(),
            counts.values().sum::<usize>(),
            image.persistent_bytes()
        );
        for (name, count) in counts {
            let _ = writeln!(out, "  {count:>4} {name}");
        }
    }
    out
}
