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

// SAFETY: it is whatever it refers to.
unsafe impl<E: Executor + ?Sized> Executor for &E {
    fn parallelism(&self) -> usize {
        (**self).parallelism()
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (**self).run(tasks, task);
    }
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
    split_into(exec, exec.parallelism(), rows, work, task, join)
}

/// The same among at most `most` tasks: as many as scratch memory is there for.
pub(crate) fn split_into<C: Split, R: Copy + Default + Send>(
    exec: &impl Executor,
    most: usize,
    rows: usize,
    work: C,
    task: impl Fn(C) -> R + Sync,
    join: impl Fn(R, R) -> R,
) -> R {
    let tasks = exec.parallelism().min(most).min(MAX_TASKS);
    if tasks <= 1 || rows <= 1 {
        return task(work);
    }
    let mut work = work;
    // Rounded up. A call of `div_ceil` would link its panic where the number of tasks is not known before.
    let rows_per_task = (rows - 1) / tasks + 1;
    let tasks = (rows - 1) / rows_per_task + 1;
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
    // Rounded up. A call of `div_ceil` would link its panic where the number of tasks is not known before.
    let rows_per_task = (rows - 1) / tasks + 1;
    let tasks = (rows - 1) / rows_per_task + 1;
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
