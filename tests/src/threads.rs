//! An executor on operating-system threads that visits tasks from the last to the first, so that a
//! kernel which relied on order or on one thread would be seen.

#![allow(unsafe_code)] // `Executor` is a promise about calls: see below

use selvedge_kernels::exec::Executor;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs tasks on this many threads.
#[derive(Clone, Copy, Debug)]
pub struct Threads(pub usize);

// SAFETY: the counter hands each index to one thread once, and `scope` joins all threads before
// `run` returns.
unsafe impl Executor for Threads {
    fn parallelism(&self) -> usize {
        self.0
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.0.min(tasks) {
                scope.spawn(|| {
                    loop {
                        let taken = next.fetch_add(1, Ordering::Relaxed);
                        if taken >= tasks {
                            break;
                        }
                        task(tasks - 1 - taken);
                    }
                });
            }
        });
    }
}
