//! Properties: every kernel gives what its definition says, and gradients are transposes.

use proptest::prelude::*;
use selvedge_kernels::axes::Operand;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::layout::{self, Padding, PaddingMode, Range, inverse};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Element, Error, select};
use selvedge_tests::noise::Noise;
use selvedge_tests::tensors::{
    assert_stores, assert_transposed, elements, extents, index, number, offset,
};
use selvedge_tests::threads::Threads;
use selvedge_tests::{for_floats, for_integers};

fn product(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Two to six axes of one to four elements.
fn shape() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1usize..5, 1..=6)
}

fn permutation(rank: usize, noise: &mut Noise) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rank).collect();
    for i in (1..rank).rev() {
        order.swap(i, noise.below(i + 1));
    }
    order
}

fn permute_is_the_definition<T: Element>(shape: &[usize], seed: u32) {
    let mut noise = Noise::new(seed);
    let order = permutation(shape.len(), &mut noise);
    let x = elements::<T>(&mut noise, product(shape));
    let mut y = vec![T::ZERO; x.len()];
    let ordered = layout::permute(&Threads(3), extents(shape), &order, &x, &mut y).unwrap();
    let to: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
    assert_eq!(ordered, extents(&to));
    for (i, y) in y.iter().enumerate() {
        let mut at = vec![0; shape.len()];
        for (&axis, i) in order.iter().zip(index(&to, i)) {
            at[axis] = i;
        }
        assert_eq!(
            *y,
            x[offset(shape, &at)],
            "{shape:?} in the order {order:?}"
        );
    }
    let mut back = vec![T::ZERO; x.len()];
    let undo = &inverse(&order).unwrap()[..order.len()];
    let same = layout::permute(&Serial, ordered, undo, &y, &mut back).unwrap();
    assert_eq!((same, back), (extents(shape), x), "there and back");
}

/// Cuts an axis into parts of random extents.
fn cuts(extent: usize, noise: &mut Noise) -> Vec<usize> {
    let mut left = extent;
    let mut cuts = Vec::new();
    while left > 0 {
        let cut = 1 + noise.below(left);
        cuts.push(cut);
        left -= cut;
    }
    cuts
}

fn concat_and_split_are_inverse<T: Element>(shape: &[usize], seed: u32) {
    let mut noise = Noise::new(seed);
    let axis = noise.below(shape.len());
    let x = elements::<T>(&mut noise, product(shape));
    let parts = cuts(shape[axis], &mut noise);
    let shapes: Vec<Vec<usize>> = parts
        .iter()
        .map(|&part| {
            let mut shape = shape.to_vec();
            shape[axis] = part;
            shape
        })
        .collect();
    let mut taken: Vec<Vec<T>> = shapes.iter().map(|s| vec![T::ZERO; product(s)]).collect();
    let mut slices: Vec<&mut [T]> = taken.iter_mut().map(|part| &mut part[..]).collect();
    layout::split(extents(shape), axis, &x, &mut slices).unwrap();
    // Each part is a slice.
    let mut start = 0;
    for (part, shape_of_part) in taken.iter().zip(&shapes) {
        let mut ranges = vec![Range::ALL; shape.len()];
        let stop = start + shape_of_part[axis] as isize;
        ranges[axis] = Range {
            start: Some(start),
            stop: Some(stop),
            step: 1,
        };
        let mut sliced = vec![T::ZERO; part.len()];
        layout::slice(&Serial, extents(shape), &ranges, &x, &mut sliced).unwrap();
        assert_eq!(&sliced, part);
        start = stop;
    }
    let operands: Vec<_> = taken
        .iter()
        .zip(&shapes)
        .map(|(values, shape)| Operand {
            values,
            extents: extents(shape),
            exponent: -3,
        })
        .collect();
    let mut back = vec![T::ZERO; x.len()];
    assert_eq!(layout::concat(axis, &operands, &mut back).unwrap(), -3);
    assert_eq!(back, x, "{shape:?} along {axis}");
}

fn pads_are_the_definition<T: Element>(shape: &[usize], seed: u32) {
    let mut noise = Noise::new(seed);
    let x = elements::<T>(&mut noise, product(shape));
    let fill = T::from_f64(3.0);
    for mode in [
        PaddingMode::Constant(fill),
        PaddingMode::Reflect,
        PaddingMode::Edge,
    ] {
        let sides: Vec<[usize; 2]> = shape
            .iter()
            .map(|&extent| {
                let most = if mode == PaddingMode::Reflect {
                    extent
                } else {
                    4
                };
                [noise.below(most), noise.below(most)]
            })
            .collect();
        let padding = Padding {
            sides: &sides,
            mode,
        };
        let padded: Vec<usize> = shape
            .iter()
            .zip(&sides)
            .map(|(e, [a, b])| e + a + b)
            .collect();
        assert_eq!(padding.outputs(extents(shape)).unwrap(), extents(&padded));
        let dy = elements::<T>(&mut noise, product(&padded));
        // Where each element of the output comes from.
        let sources: Vec<Option<usize>> = (0..dy.len())
            .map(|i| {
                let mut at = Vec::new();
                for ((i, [before, _]), &extent) in index(&padded, i).iter().zip(&sides).zip(shape) {
                    let (i, n) = (*i as isize - *before as isize, extent as isize);
                    at.push(match mode {
                        PaddingMode::Constant(_) if i < 0 || i >= n => return None,
                        PaddingMode::Constant(_) => i,
                        PaddingMode::Edge => i.clamp(0, n - 1),
                        PaddingMode::Reflect if i < 0 => -i,
                        PaddingMode::Reflect if i >= n => 2 * (n - 1) - i,
                        PaddingMode::Reflect => i,
                    } as usize);
                }
                Some(offset(shape, &at))
            })
            .collect();
        let mut y = vec![T::ZERO; dy.len()];
        layout::pad(&Threads(2), extents(shape), padding, &x, &mut y).unwrap();
        for (y, source) in y.iter().zip(&sources) {
            assert_eq!(
                *y,
                source.map_or(fill, |i| x[i]),
                "{shape:?}, {sides:?}, {mode:?}"
            );
        }
        if T::DTYPE.is_integer() {
            let mut sums = vec![0; x.len()];
            for (&d, source) in dy.iter().zip(sources) {
                if let Some(i) = source {
                    sums[i] += number(d);
                }
            }
            assert_stores::<T>(
                &format!("{shape:?}, {sides:?}, {mode:?}"),
                &sums,
                |store, dx| {
                    layout::pad_backward(&Threads(2), extents(shape), padding, &dy, store, dx)
                        .unwrap()
                },
            );
        }
    }
}

fn slices_are_the_definition<T: Element>(shape: &[usize], seed: u32) {
    let mut noise = Noise::new(seed);
    let x = elements::<T>(&mut noise, product(shape));
    // Positions as Python counts them, by a list of what remains.
    let mut taken: Vec<Vec<usize>> = Vec::new();
    let mut ranges = Vec::new();
    for &extent in shape {
        let (n, mut at) = (extent as isize, || match noise.below(3) {
            0 => None,
            _ => Some(noise.below(14) as isize - 7),
        });
        let (start, stop) = (at(), at());
        let step = [1, 2, 3, -1, -2, -3][noise.below(6)];
        let from_end = |at: isize| if at < 0 { at + n } else { at };
        let mut kept: Vec<usize> = Vec::new();
        let mut i = match (start.map(from_end), step > 0) {
            (None, true) => 0,
            (None, false) => n - 1,
            (Some(at), true) => at.max(0),
            (Some(at), false) => at.min(n - 1),
        };
        let stop_at = match (stop.map(from_end), step > 0) {
            (None, true) => n,
            (None, false) => -1,
            (Some(at), true) => at.min(n),
            (Some(at), false) => at.max(-1),
        };
        while (step > 0 && i < stop_at) || (step < 0 && i > stop_at) {
            kept.push(i as usize);
            i += step;
        }
        taken.push(kept);
        ranges.push(Range { start, stop, step });
    }
    let mut y = vec![T::ZERO; 5000];
    if let Some(axis) = taken.iter().position(Vec::is_empty) {
        let want = Err(Error::Range {
            axis,
            extent: shape[axis],
            range: ranges[axis],
        });
        assert_eq!(
            layout::slice(&Serial, extents(shape), &ranges, &x, &mut y),
            want
        );
        return;
    }
    let lens: Vec<usize> = taken.iter().map(Vec::len).collect();
    assert_eq!(
        layout::slice_extents(extents(shape), &ranges).unwrap(),
        extents(&lens)
    );
    y.truncate(product(&lens));
    layout::slice(&Threads(3), extents(shape), &ranges, &x, &mut y).unwrap();
    let mut back = vec![T::ZERO; x.len()];
    layout::slice_backward(extents(shape), &ranges, &y, &mut back).unwrap();
    let mut want = vec![T::ZERO; x.len()];
    for (i, y) in y.iter().enumerate() {
        let at: Vec<usize> = index(&lens, i)
            .iter()
            .zip(&taken)
            .map(|(&i, kept)| kept[i])
            .collect();
        assert_eq!(*y, x[offset(shape, &at)], "{shape:?}, {ranges:?}");
        want[offset(shape, &at)] = *y;
    }
    assert_eq!(back, want, "{shape:?}, {ranges:?}");
}

fn gathers_are_the_definition<T: Element>(shape: &[usize], seed: u32) {
    let mut noise = Noise::new(seed);
    let axis = noise.below(shape.len());
    let x = elements::<T>(&mut noise, product(shape));
    let indices: Vec<u32> = (0..1 + noise.below(7))
        .map(|_| noise.below(shape[axis]) as u32)
        .collect();
    let mut to = shape.to_vec();
    to[axis] = indices.len();
    let dy = elements::<T>(&mut noise, product(&to));
    let mut y = vec![T::ZERO; dy.len()];
    layout::gather(extents(shape), axis, &indices, &x, &mut y).unwrap();
    let mut sums = vec![0; x.len()];
    for (i, y) in y.iter().enumerate() {
        let mut at = index(&to, i);
        at[axis] = indices[at[axis]] as usize;
        assert_eq!(*y, x[offset(shape, &at)], "{shape:?}, {axis}, {indices:?}");
        sums[offset(shape, &at)] += number(dy[i]);
    }
    if T::DTYPE.is_integer() {
        assert_stores::<T>(
            &format!("{shape:?}, {axis}, {indices:?}"),
            &sums,
            |store, dx| {
                let exec = Threads(3);
                layout::gather_backward(&exec, extents(shape), axis, &indices, &dy, store, dx)
                    .unwrap()
            },
        );
    }
}

fn choices_are_the_definition<T: Element>(shape: &[usize], seed: u32) {
    let mut noise = Noise::new(seed);
    let axis = noise.below(shape.len());
    // Few different elements: ties.
    let x: Vec<T> = (0..product(shape))
        .map(|_| T::from_f64(noise.below(4) as f64 - 2.0))
        .collect();
    let k = 1 + noise.below(shape[axis]);
    let mut kept = shape.to_vec();
    kept[axis] = k;
    let (mut values_out, mut indices) = (vec![T::ZERO; product(&kept)], vec![99; product(&kept)]);
    select::top_k(extents(shape), axis, k, &x, &mut values_out, &mut indices).unwrap();
    let dy = elements::<T>(&mut noise, product(&kept));
    let mut dx = vec![T::ZERO; x.len()];
    select::top_k_backward(extents(shape), axis, k, &indices, &dy, &mut dx).unwrap();
    let mut one = shape.to_vec();
    one[axis] = 1;
    let (mut most, mut least) = (vec![99; product(&one)], vec![99; product(&one)]);
    select::argmax(&Threads(2), extents(shape), axis, &x, &mut most).unwrap();
    select::argmin(&Threads(2), extents(shape), axis, &x, &mut least).unwrap();
    let mut want = vec![T::ZERO; x.len()];
    for i in 0..product(&one) {
        let mut at = index(&one, i);
        let mut place = |j: usize, shape: &[usize]| {
            at[axis] = j;
            offset(shape, &at)
        };
        let mut order: Vec<usize> = (0..shape[axis]).collect();
        let key = |x: T| x.to_f64();
        // Stable: of equal ones the lower index stays first.
        let row: Vec<f64> = order.iter().map(|&j| key(x[place(j, shape)])).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        assert_eq!(most[i] as usize, order[0]);
        let smallest = (0..row.len())
            .min_by(|&a, &b| row[a].total_cmp(&row[b]))
            .unwrap();
        assert_eq!(least[i] as usize, smallest);
        for (rank, &j) in order.iter().take(k).enumerate() {
            let to = if k == 1 { i } else { place(rank, &kept) };
            assert_eq!(
                (indices[to] as usize, key(values_out[to])),
                (j, row[j]),
                "{shape:?}, {axis}, {k}"
            );
            want[place(j, shape)] = dy[to];
        }
    }
    assert_eq!(dx, want);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100,
        ..ProptestConfig::with_failure_persistence(
            proptest::test_runner::FileFailurePersistence::WithSource("regressions")
        )
    })]

    #[test]
    fn permutations_are_the_definition_and_have_inverses(shape in shape(), seed: u32) {
        for_integers!(permute_is_the_definition, &shape, seed);
        for_floats!(permute_is_the_definition, &shape, seed);
    }

    #[test]
    fn parts_side_by_side_are_the_whole(shape in shape(), seed: u32) {
        for_integers!(concat_and_split_are_inverse, &shape, seed);
        for_floats!(concat_and_split_are_inverse, &shape, seed);
    }

    #[test]
    fn padding_is_the_definition(shape in proptest::collection::vec(1usize..5, 1..=4), seed: u32) {
        for_integers!(pads_are_the_definition, &shape, seed);
        for_floats!(pads_are_the_definition, &shape, seed);
    }

    #[test]
    fn slices_are_those_of_python(shape in proptest::collection::vec(1usize..8, 1..=4), seed: u32) {
        for_integers!(slices_are_the_definition, &shape, seed);
        for_floats!(slices_are_the_definition, &shape, seed);
    }

    #[test]
    fn gathering_is_the_definition(shape in shape(), seed: u32) {
        for_integers!(gathers_are_the_definition, &shape, seed);
        for_floats!(gathers_are_the_definition, &shape, seed);
    }

    #[test]
    fn the_largest_are_the_definition(shape in shape(), seed: u32) {
        for_integers!(choices_are_the_definition, &shape, seed);
        for_floats!(choices_are_the_definition, &shape, seed);
    }

    #[test]
    fn gradients_are_transposes(shape in proptest::collection::vec(2usize..5, 1..=4), seed: u32) {
        let mut noise = Noise::new(seed);
        let all = extents(&shape);
        let n = all.elements();
        let order = permutation(shape.len(), &mut noise);
        assert_transposed(
            "permute",
            &mut noise,
            [n; 2],
            |x, y| { layout::permute(&Serial, all, &order, x, y).unwrap(); },
            |y, x| {
                let ordered: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
                let undo = inverse(&order).unwrap();
                layout::permute(&Serial, extents(&ordered), &undo[..order.len()], y, x).unwrap();
            },
        );
        for mode in [PaddingMode::Constant(0), PaddingMode::Reflect, PaddingMode::Edge] {
            let sides = vec![[1, 1]; shape.len()];
            let padding = Padding { sides: &sides, mode };
            let m = padding.outputs(all).unwrap().elements();
            assert_transposed(
                &format!("{mode:?}"),
                &mut noise,
                [n, m],
                |x, y| layout::pad(&Serial, all, padding, x, y).unwrap(),
                |y, x| { layout::pad_backward(&Serial, all, padding, y, Store::EXACT, x).unwrap(); },
            );
        }
        let ranges = vec![Range { start: None, stop: Some(-2), step: -1 }; shape.len()];
        assert_transposed(
            "slice",
            &mut noise,
            [n, 1],
            |x, y| layout::slice(&Serial, all, &ranges, x, y).unwrap(),
            |y, x| layout::slice_backward(all, &ranges, y, x).unwrap(),
        );
        let indices = [1, 0, 1, 1];
        let m = n / shape[0] * indices.len();
        assert_transposed(
            "gather",
            &mut noise,
            [n, m],
            |x, y| layout::gather(all, 0, &indices, x, y).unwrap(),
            |y, x| { layout::gather_backward(&Serial, all, 0, &indices, y, Store::EXACT, x).unwrap(); },
        );
    }
}
