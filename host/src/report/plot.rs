//! Plots as SVG texts.

use crate::error::{Error, Result};
use plotters::prelude::*;
use selvedge_core::graph::MemoryMap;
use std::fmt::Display;

/// Colours that can be told apart, one for each type of the demo and more.
const COLOURS: [RGBColor; 12] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(127, 127, 127),
    RGBColor(188, 189, 34),
    RGBColor(23, 190, 207),
    RGBColor(0, 0, 0),
    RGBColor(170, 200, 240),
];

fn failed(error: impl Display) -> Error {
    Error::Plot(error.to_string())
}

/// One line for each name, over the epochs.
pub(super) fn curves(title: &str, lines: &[(&str, Vec<f64>)]) -> Result<String> {
    let mut svg = String::new();
    {
        let values = || {
            lines
                .iter()
                .flat_map(|(_, values)| values.iter().copied())
                .filter(|v| v.is_finite())
        };
        let low = values().fold(f64::INFINITY, f64::min);
        let high = values().fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let margin = ((high - low) * 0.05).max(1e-3);
        let epochs = lines
            .iter()
            .map(|(_, values)| values.len())
            .max()
            .unwrap_or(1)
            .max(1) as f64;

        let root = SVGBackend::with_string(&mut svg, (860, 360)).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 18))
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d(0.5..epochs + 0.5, low - margin..high + margin)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc("epoch")
            .light_line_style(WHITE)
            .draw()
            .map_err(failed)?;
        for ((name, values), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let points = values
                .iter()
                .enumerate()
                .filter(|(_, value)| value.is_finite())
                .map(|(epoch, &value)| (epoch as f64 + 1.0, value));
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(2))
                .map_err(failed)?
                .label(*name)
                .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()
            .map_err(failed)?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

/// The arenas of programs, one below the other: operators from left to right, bytes upwards, values as rectangles whose
/// titles a viewer shows.
pub(super) fn maps(maps: &[MemoryMap]) -> Result<String> {
    let mut svg = String::new();
    let height = 420 * maps.len().max(1) as u32;
    {
        let root = SVGBackend::with_string(&mut svg, (1000, height)).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        for (map, area) in maps.iter().zip(root.split_evenly((maps.len().max(1), 1))) {
            let title = format!(
                "{}: {} bytes, at least {}",
                map.role.name(),
                map.peak,
                map.lower_bound
            );
            let mut chart = ChartBuilder::on(&area)
                .caption(title, ("sans-serif", 18))
                .margin(8)
                .x_label_area_size(36)
                .y_label_area_size(72)
                .build_cartesian_2d(0..map.operators.len().max(1), 0..map.peak.max(1))
                .map_err(failed)?;
            chart
                .configure_mesh()
                .x_desc("operator")
                .y_desc("bytes of the arena")
                .light_line_style(WHITE)
                .draw()
                .map_err(failed)?;
            for (value, colour) in map.values.iter().zip(COLOURS.iter().cycle()) {
                let corners = [
                    (value.first, value.offset),
                    (value.last + 1, value.offset + value.bytes),
                ];
                let inside = Rectangle::new(corners, colour.mix(0.6).filled());
                chart.draw_series([inside]).map_err(failed)?;
            }
        }
        root.present().map_err(failed)?;
    }
    Ok(titled(&svg, maps))
}

/// Gives rectangles of values their names: the backend has no titles. Values are the only ones that let light through.
fn titled(svg: &str, maps: &[MemoryMap]) -> String {
    let values = maps
        .iter()
        .flat_map(|map| map.values.iter().map(move |value| (map, value)));
    let mut names = values.map(|(map, value)| {
        format!(
            "{}, {} bytes at {}, operators {} to {}",
            map.name(value),
            value.bytes,
            value.offset,
            value.first,
            value.last
        )
    });
    let mut out = String::new();
    for line in svg.lines() {
        let is_value = line.starts_with("<rect") && line.contains("opacity=\"0.6\"");
        match line.strip_suffix("/>").filter(|_| is_value) {
            Some(open) => {
                let name = super::escape(&names.next().unwrap_or_default());
                out.extend([open, "><title>", &name, "</title></rect>"]);
            }
            None => out += line,
        }
        out += "\n";
    }
    out
}

/// A grey image; 255 is black, as ink.
pub(super) fn image(rows: usize, columns: usize, pixels: &[u8]) -> Result<String> {
    const SIZE: i32 = 56;
    let mut svg = String::new();
    {
        let root =
            SVGBackend::with_string(&mut svg, (SIZE as u32, SIZE as u32)).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let edge = |index: usize, of: usize| SIZE * index as i32 / of.max(1) as i32;
        for (index, &ink) in pixels.iter().enumerate().filter(|(_, ink)| **ink > 0) {
            let (row, column) = (index / columns.max(1), index % columns.max(1));
            let corners = [
                (edge(column, columns), edge(row, rows)),
                (edge(column + 1, columns), edge(row + 1, rows)),
            ];
            let grey = RGBColor(255 - ink, 255 - ink, 255 - ink);
            root.draw(&Rectangle::new(corners, grey.filled()))
                .map_err(failed)?;
        }
        root.present().map_err(failed)?;
    }
    Ok(svg)
}
