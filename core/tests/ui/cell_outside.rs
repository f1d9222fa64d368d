//~ scatter: a cell is outside the grid
use selvedge_core::net::{Dense, Grid, Layer, Parallel, Scatter};
use selvedge_core::tensor::D1;

struct Beside;

impl Grid for Beside {
    const EXTENTS: [usize; 3] = [2, 2, 1];
    // The row is 2, which would be the number of another cell in a row of one column.
    const CELLS: &'static [[usize; 3]] = &[[2, 0, 0], [0, 1, 0]];
}

static LAYER: Parallel<[Dense<i8, 4, 2>; 2], Scatter<Beside, D1<4>>> = Layer::BLANK;

fn main() {
    let _ = &LAYER;
}
