//! What the heads of a pass read, kept for their backward pass, and beyond it in a cache.

use super::kinds::{Recall, Sight};
use super::rotary::Turn;
use crate::net::{ActivatedTape, Context, Identity, Pass, SampleTape, Slopes, Tape};
use crate::ops::attention::kept::Cache;
use crate::ops::attention::rotary::{KEYS, QUERIES};
use crate::tensor::D3;
use selvedge_kernels::attention::{Exponents, Inputs};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::rope::{self, Rotation};
use selvedge_kernels::{Element, Result as KernelResult};

/// What a projection keeps: its output, `[L, HEADS, SIZE]`.
pub(super) type Projected<
    T,
    const L: usize,
    const HEADS: usize,
    const SIZE: usize,
    const B: usize,
> = ActivatedTape<T, Identity, D3<L, HEADS, SIZE>, B>;

/// Turned queries and keys.
type Turned<
    't,
    T,
    const L: usize,
    const M: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    P,
    const B: usize,
> = (
    &'t mut SampleTape<T, <P as Turn>::Rows<L, HEADS, SIZE>, B>,
    &'t mut SampleTape<T, <P as Turn>::Rows<M, KV_HEADS, SIZE>, B>,
);

/// `L` queries, and `M` keys and values with those of earlier passes.
pub(super) struct Kept<
    T: Element,
    const L: usize,
    const M: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    C: Recall,
    P: Turn,
    const B: usize,
> {
    pub(super) query: Projected<T, L, HEADS, SIZE, B>,
    pub(super) key: Projected<T, M, KV_HEADS, SIZE, B>,
    pub(super) value: Projected<T, M, KV_HEADS, SIZE, B>,
    /// Queries and keys turned by their positions. In the backward pass their errors, turned back.
    pub(super) turned_query: SampleTape<T, P::Rows<L, HEADS, SIZE>, B>,
    pub(super) turned_key: SampleTape<T, P::Rows<M, KV_HEADS, SIZE>, B>,
    /// Of queries, keys and values as the heads read them.
    exponents: [i32; 3],
    /// Keys and values of earlier passes and of this one, and how many of each sample.
    cache: [SampleTape<T, C::Rows<KV_HEADS, SIZE>, B>; 2],
    cached: usize,
    /// The position of the first query and key of the pass, and of the next pass.
    pub(super) position: [usize; 2],
}

impl<
    T: Element,
    const L: usize,
    const M: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    C: Recall,
    P: Turn,
    const B: usize,
> Tape for Kept<T, L, M, HEADS, KV_HEADS, SIZE, C, P, B>
{
    const BLANK: Self = Self {
        query: Tape::BLANK,
        key: Tape::BLANK,
        value: Tape::BLANK,
        turned_query: Tape::BLANK,
        turned_key: Tape::BLANK,
        exponents: [0; 3],
        cache: [Tape::BLANK; 2],
        cached: 0,
        position: [0; 2],
    };

    fn reset(&mut self) {
        (self.cached, self.position) = (0, [0; 2]);
    }
}

impl<
    T: Element,
    const L: usize,
    const M: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    C: Recall,
    P: Turn,
    const B: usize,
> Kept<T, L, M, HEADS, KV_HEADS, SIZE, C, P, B>
{
    /// How many keys of each sample the heads read.
    pub(super) const fn keys(&self) -> usize {
        if C::CAPACITY == 0 { M } else { self.cached }
    }

    /// What the heads read.
    pub(super) fn inputs(&self, batch: usize) -> Inputs<'_, T> {
        let (mut q, mut k) = (
            self.query.output.values(batch).data,
            self.key.output.values(batch).data,
        );
        let mut v = self.value.output.values(batch).data;
        if P::SETTING.is_some() {
            (q, k) = (
                self.turned_query.samples(batch),
                self.turned_key.samples(batch),
            );
        }
        let mut capacity = M;
        if C::CAPACITY > 0 {
            let [keys, values] = &self.cache;
            (k, v) = (keys.samples(batch), values.samples(batch));
            capacity = C::CAPACITY;
        }
        let [of_q, of_k, of_v] = self.exponents;
        Inputs {
            q,
            k,
            v,
            capacity,
            exponents: Exponents {
                q: of_q,
                k: of_k,
                v: of_v,
            },
        }
    }

    /// Takes what the projections of a pass have given: turns queries and keys by their positions, and adds keys
    /// and values to those of earlier passes. `scales` are the states of what is turned; `room` holds as much as the
    /// cache of all samples.
    pub(super) fn take<S: Sight, E: Executor>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        scales: &mut [T::Scale; 2],
        batch: usize,
        room: &mut [T],
    ) -> KernelResult<()> {
        let first = if C::CAPACITY == 0 {
            0
        } else {
            self.position[1]
        };
        let [query, key, value] = [
            self.query.output.values(batch).exponent,
            self.key.output.values(batch).exponent,
            self.value.output.values(batch).exponent,
        ];
        let mut exponents = [query, key, value];
        if let Some((_, _, pairs)) = P::SETTING {
            let rotation = Rotation {
                frequencies: Self::frequencies(),
                pairs,
                offset: first,
            };
            let [of_query, of_key] = scales;
            let places = rope::accumulator_places::<T>();
            let x = self.query.output.values(batch);
            let out = self.turned_query.samples_mut(batch);
            let context = Context::<T, E>::forward(pass, number, of_query);
            exponents[0] = context.rescale(query + places, |store| {
                let shape = Self::turned(batch, L, HEADS);
                rope::forward(pass.exec, shape, rotation, x.data, store, out)
            })?;
            let x = self.key.output.values(batch);
            let out = self.turned_key.samples_mut(batch);
            let context = Context::<T, E>::forward(pass, number, of_key);
            exponents[1] = context.rescale(key + places, |store| {
                let shape = Self::turned(batch, M, KV_HEADS);
                rope::forward(pass.exec, shape, rotation, x.data, store, out)
            })?;
        }
        if C::CAPACITY > 0 {
            self.remember::<S>(pass.exec, exponents, batch, room)?;
        }
        self.exponents = exponents;
        self.position = [first, first.saturating_add(M)];
        Ok(())
    }

    /// Turns the errors of queries and keys back where those were turned, into their place: the errors then, and their
    /// exponents.
    pub(super) fn turn_back<'t, E: Executor>(
        pass: &Pass<'_, E>,
        number: u32,
        scales: &mut [T::Scale; 2],
        batch: usize,
        first: usize,
        (turned_query, turned_key): Turned<'t, T, L, M, HEADS, KV_HEADS, SIZE, P, B>,
        errors: [(&'t mut [T], i32); 2],
    ) -> KernelResult<[(&'t mut [T], i32); 2]> {
        let Some((_, _, pairs)) = P::SETTING else {
            return Ok(errors);
        };
        let rotation = Rotation {
            frequencies: Self::frequencies(),
            pairs,
            offset: first,
        };
        let [(query, of_query), (key, of_key)] = errors;
        let [query_scale, key_scale] = scales;
        let places = rope::accumulator_places::<T>();
        let (dq, dk) = (
            turned_query.samples_mut(batch),
            turned_key.samples_mut(batch),
        );
        let context = Context::<T, E>::backward_part(pass, number, QUERIES, query_scale);
        let of_query = context.rescale(of_query + places, |store| {
            let shape = Self::turned(batch, L, HEADS);
            rope::backward(pass.exec, shape, rotation, query, store, dq)
        })?;
        let context = Context::<T, E>::backward_part(pass, number, KEYS, key_scale);
        let of_key = context.rescale(of_key + places, |store| {
            let shape = Self::turned(batch, M, KV_HEADS);
            rope::backward(pass.exec, shape, rotation, key, store, dk)
        })?;
        Ok([(dq, of_query), (dk, of_key)])
    }

    /// Turns a position of each pair of features.
    fn frequencies() -> &'static [u32] {
        let all: &'static [u32; SIZE] = const { &frequencies::<P, SIZE>() };
        all.get(..SIZE / 2).unwrap_or_default()
    }

    const fn turned(batch: usize, steps: usize, heads: usize) -> rope::Shape {
        rope::Shape {
            batch,
            steps,
            heads,
            size: SIZE,
        }
    }

    /// Adds the keys and values of a pass, with `exponents`, to those that are kept.
    fn remember<S: Sight>(
        &mut self,
        exec: &impl Executor,
        exponents: [i32; 3],
        batch: usize,
        room: &mut [T],
    ) -> KernelResult<()> {
        let key = match P::SETTING {
            Some(_) => self.turned_key.samples(batch),
            None => self.key.output.values(batch).data,
        };
        let value = self.value.output.values(batch).data;
        let [_, of_key, of_value] = exponents;
        let [_, key_before, value_before] = self.exponents;
        let kept = Cache {
            capacity: C::CAPACITY,
            width: KV_HEADS * SIZE,
            rows: M,
            forgets: S::WINDOW.is_some(),
        };
        let caches = (self.cache)
            .each_mut()
            .map(|cache| cache.samples_mut(batch));
        let (before, new) = (
            [key_before, value_before],
            [(key, of_key), (value, of_value)],
        );
        self.cached = kept.remember(exec, self.cached, caches, before, new, room)?;
        Ok(())
    }
}

/// The frequencies of `P`, of which a head of `SIZE` features uses the first half.
const fn frequencies<P: Turn, const SIZE: usize>() -> [u32; SIZE] {
    let mut all = [0; SIZE];
    let Some((base, scaling, _)) = P::SETTING else {
        return all;
    };
    assert!(
        SIZE.is_multiple_of(2),
        "rotary positions: SIZE must be even"
    );
    let mut pair = 0;
    while pair < SIZE / 2 {
        let turns = rope::frequency(base, scaling, pair, SIZE / 2);
        assert!(
            turns.is_ok(),
            "rotary positions: the base or a factor is out of its range"
        );
        if let Ok(turns) = turns {
            all[pair] = turns;
        }
        pair += 1;
    }
    all
}
