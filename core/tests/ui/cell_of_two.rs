//~ scatter: two branches are in one cell
use selvedge_core::net::{Dense, Grid, Layer, Parallel, Scatter};
use selvedge_core::tensor::D1;

struct Crowded;

impl Grid for Crowded {
    const EXTENTS: [usize; 3] = [2, 2, 1];
    const CELLS: &'static [[usize; 3]] = &[[1, 0, 0], [0, 1, 0], [1, 0, 0]];
}

static LAYER: Parallel<[Dense<i8, 4, 2>; 3], Scatter<Crowded, D1<6>>> = Layer::BLANK;

fn main() {
    let _ = &LAYER;
}
