//! Branches of a file, and how their outputs come together.

use super::Reader;
use super::chain::{Chain, Flow};
use super::keys::{Keys, within};
use super::softmax;
use crate::graph::{Error, shown};
use crate::network::{Branch, Combine, Layer, Mixture, Pad, Parallel};
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

impl Reader {
    pub(super) fn parallel(&mut self, keys: &mut Keys<'_>, chain: &mut Chain) -> Result<(), Error> {
        let values = keys.list("branches")?;
        let values = keys.need("branches", values.filter(|values| !values.is_empty()))?;
        let path = keys.path("branches");
        let mut branches = Vec::new();
        for (i, value) in values.iter().enumerate() {
            let (path, flow) = (within(&path, i), chain.flow.clone());
            let (layer, after) = self.layer(value, &path, "layer".into(), flow)?;
            let mut branch = Chain::new(chain.flow.clone());
            branch.nest(layer, after);
            branches.push(branch);
        }
        let mode = keys.text("combine_mode")?.unwrap_or_default();
        let pads = keys.flag("pad")?.unwrap_or(false);
        let cells = cells(keys, branches.len())?;
        let gate = keys.value("filter_gate");
        let softmax = keys.text("filter_softmax")?.filter(|name| !name.is_empty());
        let temperature = keys.real("filter_temperature")?;
        let temperature = match temperature {
            Some(number) if number > 0.0 => keys.thousandths("filter_temperature")?,
            _ => None,
        };
        let temperature = temperature.unwrap_or(1000);
        let combine = match mode {
            "" | "concat" => Combine::Concat,
            "grid_scatter" => Combine::Scatter(keys.need("grid_positions", cells)?),
            "add" => Combine::Add,
            "avg" | "average" | "filter" => Combine::Average,
            _ => {
                let known = "concat, add, avg, average, grid_scatter or filter";
                return Err(keys.error("combine_mode", known, alloc::format!("`{mode}`")));
            }
        };
        let flow = match combine {
            Combine::Concat | Combine::Scatter(_) => side_by_side(&mut branches),
            _ => alike(keys, &mut branches, pads)?,
        };
        let count = branches.len();
        let branch = |(i, chain): (usize, Chain)| {
            let mut branch = Branch::new(i.to_string());
            branch.layers = chain.layers;
            branch
        };
        let branches: Vec<Branch> = branches.into_iter().enumerate().map(branch).collect();
        match gate.filter(|_| mode == "filter") {
            None => chain.add_layer("parallel", Parallel { branches, combine }, flow),
            Some(gate) => {
                let path = keys.path("filter_gate");
                let (layer, after) = self.layer(gate, &path, "gate".into(), chain.flow.clone())?;
                let mut gate = Chain::new(chain.flow.clone());
                gate.nest(layer, after);
                gate.flatten_in_order();
                keys.check("filter_gate", count, Some(gate.flow.len()))?;
                let variant = softmax.unwrap_or("standard");
                let softmax = softmax::plain(keys, "filter_softmax", variant, temperature)?;
                gate.push("softmax", softmax, vec![count]);
                let gate = gate.layers;
                chain.add_layer("mixture", Mixture { gate, branches }, flow);
            }
        }
        Ok(())
    }
}

impl Chain {
    fn add_layer(&mut self, name: &str, layer: impl Into<crate::network::Type>, after: Flow) {
        self.nest(Layer::new(name, layer), after);
    }
}

/// Vectors, one behind the other.
fn side_by_side(branches: &mut [Chain]) -> Flow {
    branches.iter_mut().for_each(Chain::flatten_in_order);
    let lens = branches.iter().map(|branch| branch.flow.len());
    let len = lens.fold(0, usize::saturating_add);
    Flow {
        shape: vec![len],
        is_image: false,
        is_input: false,
    }
}

/// Outputs of one shape: that of all, or vectors, which are filled with zeros if that is asked for.
fn alike(keys: &Keys<'_>, branches: &mut [Chain], pads: bool) -> Result<Flow, Error> {
    let flow = |branch: &Chain| Flow {
        is_input: false,
        ..branch.flow.clone()
    };
    let Some(first) = branches.first().map(flow) else {
        return Err(keys.error("branches", "at least one", "none"));
    };
    if branches.iter().all(|branch| flow(branch) == first) {
        return Ok(first);
    }
    branches.iter_mut().for_each(Chain::flatten_in_order);
    let longest = branches.iter().map(|branch| branch.flow.len()).max();
    let longest = longest.unwrap_or(0);
    for (i, branch) in branches.iter_mut().enumerate() {
        let len = branch.flow.len();
        if len == longest {
            continue;
        }
        if !pads {
            let path = within("branches", i);
            let expected = alloc::format!("{longest} outputs, as another branch has, or `pad`");
            return Err(keys.error(&path, expected, len));
        }
        branch.push("pad", Pad::new([[0, longest - len]]), vec![longest]);
    }
    Ok(Flow {
        shape: vec![longest],
        is_image: false,
        is_input: false,
    })
}

/// The cell of each branch: row, column, layer.
fn cells(keys: &mut Keys<'_>, branches: usize) -> Result<Option<Vec<[usize; 3]>>, Error> {
    let limits = [
        keys.size("grid_output_rows")?,
        keys.size("grid_output_cols")?,
        keys.size("grid_output_layers")?,
    ];
    let Some(positions) = keys.list("grid_positions")? else {
        return Ok(None);
    };
    let path = keys.path("grid_positions");
    let mut cells = vec![None; branches];
    for (i, position) in positions.iter().enumerate() {
        let mut keys = Keys::of(position, &within(&path, i))?;
        let index = keys.index("branch_index")?.unwrap_or(0);
        let mut cell = [0; 3];
        let names = ["target_row", "target_col", "target_layer"];
        for ((place, key), limit) in cell.iter_mut().zip(names).zip(limits) {
            *place = keys.index(key)?.unwrap_or(0);
            if let Some(limit) = limit.filter(|limit| *place >= *limit) {
                return Err(keys.error(key, alloc::format!("less than {limit}"), *place));
            }
        }
        keys.finish()?;
        match cells.get_mut(index) {
            Some(free @ None) => *free = Some(cell),
            Some(_) => return Err(keys.error("branch_index", "each branch once", index)),
            None => {
                let expected = alloc::format!("a branch below {branches}");
                return Err(keys.error("branch_index", expected, index));
            }
        }
    }
    let placed: Option<Vec<[usize; 3]>> = cells.iter().copied().collect();
    let placed = placed.ok_or_else(|| {
        let expected = alloc::format!("a cell for each of {branches} branches");
        keys.error("grid_positions", expected, positions.len())
    })?;
    for (i, cell) in placed.iter().enumerate() {
        if placed.iter().take(i).any(|other| other == cell) {
            let expected = "a cell of its own for each branch";
            return Err(keys.error("grid_positions", expected, shown(cell)));
        }
    }
    Ok(Some(placed))
}
