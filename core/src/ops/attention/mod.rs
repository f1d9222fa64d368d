//! Attention: what lies between the projections of queries, keys and values, which are dense layers, and the one behind.

pub(crate) mod heads;
pub(crate) mod kept;
pub mod rotary;
pub mod sequences;

use super::call::{Attributes, Call, Direction, read, write};
use super::{Fault, Kernel, Kind, Result};
use crate::net::copy;
use heads::Scales;
use kept::Cache;
use selvedge_kernels::Element;
use selvedge_kernels::attention::{self, Errors, Exponents, Inputs, Mask, Scratch, Shape};

super::groups! {
    /// Scaled dot-product attention of several heads.
    run, train: Attention forward, AttentionBackward backward;
}

/// What an attention is told.
#[derive(Clone, Copy)]
struct Told {
    /// With the keys of a run.
    shape: Shape,
    causal: bool,
    window: Option<usize>,
    /// Rows that are kept from run to run, those of the run among them; 0 if none are.
    capacity: usize,
}

impl Told {
    fn mask<'a>(&self, keys: usize, lengths: &'a [u32]) -> Mask<'a> {
        Mask {
            causal: self.causal,
            offset: keys.saturating_sub(self.shape.queries),
            window: self.window,
            lengths,
        }
    }

    /// Elements of a row of keys.
    fn width(&self) -> usize {
        self.shape.kv_heads.saturating_mul(self.shape.size)
    }

    /// Elements of what is kept of all keys of a batch.
    fn cached(&self) -> usize {
        let rows = self.shape.batch.saturating_mul(self.capacity);
        rows.saturating_mul(self.width())
    }
}

/// Attributes: queries, keys, heads, heads of keys and values, size of a head, whether positions see none behind their own,
/// how many they see or 0 for all, capacity, whether the samples of a run are the positions of one sequence.
fn told(batch: usize, attributes: &mut Attributes<'_>) -> Result<Told> {
    let [queries, keys, heads, kv_heads, size] = attributes.sizes()?;
    if kv_heads == 0 {
        return Err(Fault::Malformed);
    }
    let mut told = Told {
        shape: Shape {
            batch,
            queries,
            keys,
            heads,
            kv_heads,
            size,
        },
        causal: attributes.word()? != 0,
        window: Some(attributes.size()?).filter(|&window| window > 0),
        capacity: attributes.size()?,
    };
    if attributes.word()? != 0 {
        let shape = &mut told.shape;
        (shape.batch, shape.queries, shape.keys) = (1, batch, batch);
    }
    Ok(told)
}

/// Values: queries, keys, values; where they are kept from run to run, keys and values, and beside them three words: how
/// many of each sample, the position of the next run, and that of this run; how many keys of each sample are real, if not
/// all are; y, scratch, room for a sample of the cache.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    const CACHE: [usize; 2] = [3, 4];
    const Y: usize = 7;
    let told = told(call.batch, &mut call.attributes())?;
    let [of_q, of_k, of_v, k_before, v_before] = [0, 1, 2, 3, 4].map(|slot| call.exponent(slot));
    let slots = [0, 1, 2, 3, 4, 5, 6, Y, 8, 9];
    let exponent = call.with::<T, _, 10>(Direction::Forward, 0, slots, |context, views| {
        let [
            q,
            k,
            v,
            cached_k,
            cached_v,
            state,
            lengths,
            y,
            scratch,
            room,
        ] = views;
        let (exec, y, scratch) = (context.exec, write::<T>(y)?, write(scratch)?);
        let mut shape = told.shape;
        let mut inputs = Inputs {
            q: read::<T>(q)?,
            k: read::<T>(k)?,
            v: read::<T>(v)?,
            capacity: shape.keys,
            exponents: Exponents {
                q: of_q,
                k: of_k,
                v: of_v,
            },
        };
        if told.capacity > 0 {
            let cache = Cache {
                capacity: told.capacity,
                width: told.width(),
                rows: shape.keys,
                forgets: told.window.is_some(),
            };
            let len = told.cached();
            let keys = write(cached_k)?.get_mut(..len).ok_or(Fault::Malformed)?;
            let values = write(cached_v)?.get_mut(..len).ok_or(Fault::Malformed)?;
            let new = [(inputs.k, of_k), (inputs.v, of_v)];
            let before = [k_before, v_before];
            let [cached, next, first] = write::<u32>(state)? else {
                return Err(Fault::Malformed);
            };
            let (caches, room) = ([&mut *keys, &mut *values], write(room)?);
            let kept = cache.remember(exec, *cached as usize, caches, before, new, room)?;
            *cached = kept as u32; // at most the capacity
            *first = *next;
            *next = next.wrapping_add(shape.keys as u32);
            shape.keys = kept;
            inputs = Inputs {
                k: keys,
                v: values,
                capacity: told.capacity,
                ..inputs
            };
        }
        let mask = told.mask(shape.keys, read(lengths)?);
        Ok(context.rescale(inputs.exponents.out::<T>(), |store| {
            attention::forward(exec, shape, mask, inputs, store, y, scratch)
        })?)
    })?;
    for (slot, exponent) in CACHE.into_iter().zip([of_k, of_v]) {
        call.set_exponent(slot, exponent);
    }
    call.set_exponent(Y, exponent);
    Ok(())
}

/// Values: as of [`forward`] up to the lengths, dy; errors of queries, keys and values, scratch of three kinds, room for the
/// errors of keys and values of all runs.
fn backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    const ERRORS: [usize; 3] = [8, 9, 10];
    let told = told(call.batch, &mut call.attributes())?;
    let is_cached = told.capacity > 0;
    let [of_q, of_k, of_v, exponent] = if is_cached {
        [0, 3, 4, 7]
    } else {
        [0, 1, 2, 7]
    }
    .map(|slot| call.exponent(slot));
    let mut scores_scale: T::Scale = call.scale(0);
    let mut scales: [T::Scale; 3] = [1, 2, 3].map(|index| call.scale(index));
    let (pass, number) = (call.pass(), call.number());
    let slots = core::array::from_fn::<_, 16, _>(|slot| slot);
    let [
        q,
        k,
        v,
        cached_k,
        cached_v,
        state,
        lengths,
        dy,
        dq,
        dk,
        dv,
        scores,
        products,
        sums,
        of_keys,
        of_values,
    ] = call.views(slots)?;
    let mut shape = told.shape;
    let new = shape.keys;
    let (mut k, mut v, mut capacity) = (read::<T>(k)?, read::<T>(v)?, new);
    let (own_k, own_v) = (write::<T>(dk)?, write::<T>(dv)?);
    let (all_k, all_v) = (write(of_keys)?, write(of_values)?);
    let (mut dk, mut dv) = (&mut *own_k, &mut *own_v);
    if is_cached {
        let [cached, ..] = read::<u32>(state)? else {
            return Err(Fault::Malformed);
        };
        (shape.keys, capacity) = (*cached as usize, told.capacity);
        k = read(cached_k)?
            .get(..told.cached())
            .ok_or(Fault::Malformed)?;
        v = read(cached_v)?
            .get(..told.cached())
            .ok_or(Fault::Malformed)?;
        (dk, dv) = (&mut *all_k, &mut *all_v);
    }
    let inputs = Inputs {
        q: read(q)?,
        k,
        v,
        capacity,
        exponents: Exponents {
            q: of_q,
            k: of_k,
            v: of_v,
        },
    };
    let scales_of = Scales {
        scores: &mut scores_scale,
        parts: &mut scales,
    };
    let errors = Errors {
        dq: write(dq)?,
        dk,
        dv,
    };
    let scratch = Scratch {
        scores: write(scores)?,
        products: write(products)?,
        sums: write(sums)?,
    };
    let (extents, dy) = (
        (shape, told.mask(shape.keys, read(lengths)?)),
        (read(dy)?, exponent),
    );
    let exponents = heads::backward::<T, _>(
        &pass, number, scales_of, extents, new, inputs, dy, errors, scratch,
    )?;
    if is_cached {
        copy(all_k, own_k);
        copy(all_v, own_v);
    }
    call.set_scale(0, scores_scale);
    for (index, scale) in (1..).zip(scales) {
        call.set_scale(index, scale);
    }
    for (slot, exponent) in ERRORS.into_iter().zip(exponents) {
        call.set_exponent(slot, exponent);
    }
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use alloc::vec;
    use alloc::vec::Vec;
    use selvedge_kernels::attention::{self, Shape};
    use selvedge_kernels::{self as kernels, DType, Element};

    #[derive(Debug)]
    struct Attention;

    /// What positions see, and how many are kept from run to run, or 0.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Sight {
        pub(crate) causal: bool,
        /// 0 for all.
        pub(crate) window: usize,
        pub(crate) capacity: usize,
        /// Whether the samples of a run are the positions of one sequence.
        pub(crate) is_one: bool,
    }

    /// Words of the positions: those that are kept, the next one, the first one.
    pub(crate) const POSITIONS: usize = 3;

    /// Queries whose scores an image has room for: as many as the target with the largest tiles takes at a time, so that an
    /// image is the same wherever it is compiled, and runs everywhere.
    pub(crate) const ROWS: usize = 12;
    const _: () = assert!(ROWS.is_multiple_of(attention::ROWS), "room for whole tiles");

    /// As much of `scores`, those of this target's tiles.
    const fn of_rows(scores: usize) -> usize {
        (scores / attention::ROWS).saturating_mul(ROWS)
    }

    fn keys(shape: Shape, capacity: usize) -> Shape {
        let keys = if capacity == 0 { shape.keys } else { capacity };
        Shape { keys, ..shape }
    }

    fn bytes_of(dtype: DType) -> [usize; 2] {
        crate::network::builder::by_dtype!(dtype, T => {
            [
                size_of::<<T as attention::Kernels>::AttentionScore>(),
                size_of::<<T as attention::Kernels>::AttentionSum>(),
            ]
        })
    }

    /// Queries, keys and values to what the heads give, `[queries, heads · size]`; cached keys and values with the words of
    /// the positions, where there are some; how many keys of each sample are real, if not all are.
    pub(crate) fn append<T: Element>(
        graph: &mut Graph,
        inputs: [ValueId; 3],
        cache: Option<[ValueId; 3]>,
        lengths: Option<ValueId>,
        shape: Shape,
        sight: Sight,
        number: u32,
    ) -> kernels::Result<ValueId> {
        let all = keys(shape, sight.capacity);
        let len = of_rows(attention::forward_scratch_len::<T>(all, 1)?);
        let [score, _] = bytes_of(T::DTYPE);
        let mut scratch = vec![graph.raw(vec![len, score], false)];
        if cache.is_some() {
            let sample = vec![sight.capacity, shape.kv_heads, shape.size];
            scratch.push(graph.computed_once(T::DTYPE, sample));
        }
        let mut attributes: Vec<u32> = [
            shape.queries,
            shape.keys,
            shape.heads,
            shape.kv_heads,
            shape.size,
        ]
        .map(|extent| extent as u32)
        .to_vec();
        attributes.extend([
            sight.causal.into(),
            sight.window as u32,
            sight.capacity as u32,
            sight.is_one.into(),
        ]);
        let rows = if sight.is_one { 1 } else { shape.queries };
        let y = graph.computed(T::DTYPE, vec![rows, shape.heads * shape.size]);
        let cache = cache.map_or([None; 3], |cache| cache.map(Some));
        let node = Node::new(&Attention, Kind::Attention, T::DTYPE, number)
            .inputs(inputs.map(Some))
            .inputs(cache)
            .inputs([lengths])
            .outputs([Some(y)])
            .scratch(scratch)
            .attributes(attributes)
            .states(1);
        graph.node(node);
        Ok(y)
    }

    impl Describe for Attention {
        fn repeats(&self) -> bool {
            true
        }

        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[q, k, v, ..], &[Some(y)]) = (&*node.inputs, &*node.outputs)
                && let &[queries, keys, heads, kv_heads, size, _, _, capacity, is_one] =
                    &*node.attributes
                && let Some(dy) = walk.error(y, node.number)
            {
                let dtype = node.dtypes[0];
                let [score, sum] = bytes_of(dtype);
                let errors = [q, k, v].map(|x| walk.new_error(x));
                let shape = Shape {
                    batch: 1,
                    queries: queries as usize,
                    keys: if capacity == 0 { keys } else { capacity } as usize,
                    heads: heads as usize,
                    kv_heads: kv_heads as usize,
                    size: size as usize,
                };
                let room = crate::network::builder::by_dtype!(dtype, T => {
                    attention::backward_scratch_len::<T>(shape, 1)
                });
                let [scores, products, sums] = room.map_err(|_| Error::Size)?;
                let [scores, products] = [scores, products].map(of_rows);
                let mut scratch: Vec<ValueId> = [(scores, score), (products, sum), (sums, sum)]
                    .map(|(len, bytes)| walk.graph.raw(vec![len, bytes], false))
                    .to_vec();
                if capacity > 0 {
                    let all = vec![shape.keys, shape.kv_heads, shape.size];
                    let varies = is_one == 0;
                    scratch.push(walk.graph.room(dtype, all.clone(), varies));
                    scratch.push(walk.graph.room(dtype, all, varies));
                }
                let back = Node::new(self, Kind::AttentionBackward, dtype, node.number)
                    .inputs(node.inputs.iter().copied())
                    .inputs([Some(dy)])
                    .outputs(errors)
                    .scratch(scratch)
                    .attributes(node.attributes.clone())
                    .states(4);
                walk.graph.node(back);
            }
            Ok(())
        }
    }
}
