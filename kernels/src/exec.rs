//! Who runs the tasks that a kernel is split into: this thread, or a pool of the host's.
//!
//! Work is split over rows of the output, never over a reduction, so results do not depend on the
//! number of tasks.

#![allow(unsafe_code)]

use core::marker::PhantomData;

/// Runs tasks, at once or one after the other.
///
/// # Safety
/// [`Executor::run`] calls `task` once for each index, and no call outlives it: kernels hand each
/// index an exclusive part of their output.
pub unsafe trait Executor: Sync {
    /// How many tasks it pays to split work into; 1 for a single thread.
    fn parallelism(&self) -> usize;

    /// Calls `task(i)` once for each `i` in `0..tasks`, on any thread, and returns when all are done.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));
}

/// Runs everything on the calling thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

// SAFETY: the loop calls each index once, on this thread.
unsafe impl Executor for Serial {
    #[inline(always)]
    fn parallelism(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        for i in 0..tasks {
            task(i);
        }
    }
}

/// The most tasks that [`rows`] splits into: the size of a table on the stack.
const MAX_TASKS: usize = 64;

/// A slice that tasks take disjoint parts of.
struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: parts are taken through `part`, whose caller promises that no two overlap; each is then
// an exclusive slice of `T: Send`.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            owner: PhantomData,
        }
    }

    /// Elements `from..to`, cut off at the end of the slice.
    ///
    /// # Safety
    /// No other part that overlaps this one is in use.
    #[allow(clippy::mut_from_ref)] // disjointness is the caller's promise
    unsafe fn part(&self, from: usize, to: usize) -> &mut [T] {
        let to = to.min(self.len);
        let from = from.min(to);
        // SAFETY: `from <= to <= len`, so the range lies in the slice that `owner` borrows
        // exclusively; the caller promises that no other part overlaps it.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(from), to - from) }
    }
}

/// Work on several slices that have a part for each row of a batch.
pub(crate) trait Split: Sized + Send {
    /// Takes the first `rows` rows off.
    fn split_off(&mut self, rows: usize) -> Self;
}

/// Splits work on `rows` rows among tasks, and joins what they return.
pub(crate) fn split<C: Split, R: Copy + Default + Send>(
    exec: &impl Executor,
    rows: usize,
    work: C,
    task: impl Fn(C) -> R + Sync,
    join: impl Fn(R, R) -> R,
) -> R {
    let tasks = exec.parallelism().min(MAX_TASKS);
    if tasks <= 1 || rows <= 1 {
        return task(work);
    }
    let mut work = work;
    let rows_per_task = rows.div_ceil(tasks).max(1);
    let tasks = rows.div_ceil(rows_per_task);
    let mut parts = [const { None }; MAX_TASKS];
    for part in parts.iter_mut().take(tasks) {
        *part = Some(work.split_off(rows_per_task));
    }
    let mut results = [R::default(); MAX_TASKS];
    {
        let parts = Disjoint::new(&mut parts);
        let results = Disjoint::new(&mut results);
        exec.run(tasks, &|i| {
            // SAFETY: an executor calls each `i` once, and task `i` alone takes part and result `i`.
            let (part, result) = unsafe { (parts.part(i, i + 1), results.part(i, i + 1)) };
            let part = part.first_mut().and_then(Option::take);
            if let (Some(part), Some(result)) = (part, result.first_mut()) {
                *result = task(part);
            }
        });
    }
    results.into_iter().fold(R::default(), join)
}

/// Splits `out` into blocks of whole rows of `row_len` elements, calls `task` with the number of a
/// block's first row and the block, and returns the largest result.
pub(crate) fn rows<T: Send>(
    exec: &impl Executor,
    out: &mut [T],
    row_len: usize,
    task: impl Fn(usize, &mut [T]) -> u32 + Sync,
) -> u32 {
    rows_with::<T, ()>(exec, out, row_len, &mut [], |first, out, _| {
        task(first, out)
    })
}

/// The same with a second slice that is as long and split alike, or empty.
pub(crate) fn rows_with<T: Send, U: Send>(
    exec: &impl Executor,
    out: &mut [T],
    row_len: usize,
    second: &mut [U],
    task: impl Fn(usize, &mut [T], &mut [U]) -> u32 + Sync,
) -> u32 {
    let tasks = exec.parallelism().min(MAX_TASKS);
    let rows = out.len().checked_div(row_len).unwrap_or(0);
    if tasks <= 1 || rows <= 1 {
        return task(0, out, second);
    }
    let rows_per_task = rows.div_ceil(tasks).max(1);
    let tasks = rows.div_ceil(rows_per_task);
    let mut results = [0u32; MAX_TASKS];
    {
        let out = Disjoint::new(out);
        let second = Disjoint::new(second);
        let results = Disjoint::new(&mut results);
        exec.run(tasks, &|i| {
            let first = i.saturating_mul(rows_per_task);
            let last = first.saturating_add(rows_per_task);
            let (from, to) = (first.saturating_mul(row_len), last.saturating_mul(row_len));
            // SAFETY: an executor calls each `i` once, and task `i` alone takes rows `first..last`
            // of both slices and result `i`.
            let (out, second, result) = unsafe {
                (
                    out.part(from, to),
                    second.part(from, to),
                    results.part(i, i + 1),
                )
            };
            if let Some(result) = result.first_mut() {
                *result = task(first, out, second);
            }
        });
    }
    results.into_iter().max().unwrap_or(0)
}

/// A slice of which each task takes the same number of elements for each of its rows, or for itself.
pub(crate) type Part<'a, T> = (&'a mut [T], usize);

/// Splits `rows` rows, to each of which belong as many elements of each slice of `outs` as its number tells, and
/// gives every task as much of the two scratch slices as theirs tell: at most as many tasks as scratch
/// is there for, at least one. Calls `task` with the number of its first row and its parts, and returns the largest
/// of each result.
pub(crate) fn parts<T: Send, S: Send, U: Send, const N: usize, const M: usize>(
    exec: &impl Executor,
    rows: usize,
    outs: [Part<'_, T>; N],
    scratch: Part<'_, S>,
    second: Part<'_, U>,
    task: impl Fn(usize, [&mut [T]; N], &mut [S], &mut [U]) -> [u32; M] + Sync,
) -> [u32; M] {
    let room = |len: usize, part: usize| len.checked_div(part).unwrap_or(usize::MAX);
    let tasks = exec
        .parallelism()
        .min(MAX_TASKS)
        .min(room(scratch.0.len(), scratch.1))
        .min(room(second.0.len(), second.1));
    if tasks <= 1 || rows <= 1 {
        return task(0, outs.map(|(out, _)| out), scratch.0, second.0);
    }
    let rows_per_task = rows.div_ceil(tasks).max(1);
    let tasks = rows.div_ceil(rows_per_task);
    let mut results = [[0u32; M]; MAX_TASKS];
    {
        let outs = outs.map(|(out, row_len)| (Disjoint::new(out), row_len));
        let scratch = (Disjoint::new(scratch.0), scratch.1);
        let second = (Disjoint::new(second.0), second.1);
        let results = Disjoint::new(&mut results);
        exec.run(tasks, &|i| {
            let first = i.saturating_mul(rows_per_task);
            let last = first.saturating_add(rows_per_task).min(rows);
            let next = i.saturating_add(1);
            // SAFETY: an executor calls each `i` once, and task `i` alone takes rows `first..last` of
            // each output, part `i` of each scratch slice and result `i`.
            let (outs, scratch, second, result) = unsafe {
                (
                    outs.each_ref().map(|(out, row_len)| {
                        out.part(
                            first.saturating_mul(*row_len),
                            last.saturating_mul(*row_len),
                        )
                    }),
                    scratch
                        .0
                        .part(i.saturating_mul(scratch.1), next.saturating_mul(scratch.1)),
                    second
                        .0
                        .part(i.saturating_mul(second.1), next.saturating_mul(second.1)),
                    results.part(i, next),
                )
            };
            if let Some(result) = result.first_mut() {
                *result = task(first, outs, scratch, second);
            }
        });
    }
    let mut largest = [0; M];
    for result in results {
        for (largest, bits) in largest.iter_mut().zip(result) {
            *largest = bits.max(*largest);
        }
    }
    largest
}
