//! An executor on operating-system threads that visits tasks from the last to the first, so that a
//! kernel which relied on order or on one thread would be seen.
//!
//! Threads stay for the next call: emulators lose memory with each that ends, and some tests make a hundred
//! thousand calls.

#![allow(unsafe_code)] // `Executor` is a promise about calls, and threads outlive what they borrow: see below

use selvedge_kernels::exec::Executor;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Runs tasks on this many threads, of a pool of eight and the caller.
#[derive(Clone, Copy, Debug)]
pub struct Threads(pub usize);

/// Threads of the process.
const POOL: usize = 8;

type Task<'a> = &'a (dyn Fn(usize) + Sync);

/// A call's tasks, as one thread sees them.
struct Job {
    task: Task<'static>,
    tasks: usize,
    taken: Arc<AtomicUsize>,
    /// Told once when nothing is left to take: how a panic went through, if one did.
    done: Sender<Result<(), Box<dyn Any + Send>>>,
}

impl Job {
    fn run(self) {
        let work = || {
            loop {
                let taken = self.taken.fetch_add(1, Ordering::Relaxed);
                if taken >= self.tasks {
                    break;
                }
                (self.task)(self.tasks - 1 - taken);
            }
        };
        let outcome = catch_unwind(AssertUnwindSafe(work));
        self.done.send(outcome).ok(); // the caller waits for it
    }
}

/// Where jobs are put for whichever thread is free.
fn queue() -> &'static Sender<Job> {
    static QUEUE: OnceLock<Sender<Job>> = OnceLock::new();
    QUEUE.get_or_init(|| {
        let (queue, jobs) = channel::<Job>();
        let jobs: Arc<Mutex<Receiver<Job>>> = Arc::new(Mutex::new(jobs));
        for _ in 0..POOL {
            let jobs = Arc::clone(&jobs);
            std::thread::spawn(move || {
                loop {
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    match job {
                        Ok(job) => job.run(),
                        Err(_) => break,
                    }
                }
            });
        }
        queue
    })
}

// SAFETY: the counter hands each index to one thread once, and `run` returns, or panics, only after each of its
// jobs has told that it is done.
unsafe impl Executor for Threads {
    fn parallelism(&self) -> usize {
        self.0
    }

    fn run(&self, tasks: usize, task: Task<'_>) {
        // SAFETY: no job uses it after it has told that it is done, and all are waited for below: nothing
        // between here and there returns or panics.
        let task = unsafe { std::mem::transmute::<Task<'_>, Task<'static>>(task) };
        let (done, outcomes) = channel();
        let taken = Arc::new(AtomicUsize::new(0));
        let job = || Job {
            task,
            tasks,
            taken: Arc::clone(&taken),
            done: done.clone(),
        };
        for _ in 1..self.0.min(tasks) {
            if let Err(back) = queue().send(job()) {
                back.0.run(); // no thread is left
            }
        }
        job().run(); // the caller is one of the threads
        drop(done);
        let mut panic = None;
        for outcome in outcomes {
            panic = panic.or(outcome.err());
        }
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_task_runs_once_and_panics_come_through() {
        for threads in [1, 2, 5, 20] {
            let seen = Mutex::new(Vec::new());
            Threads(threads).run(100, &|task| seen.lock().unwrap().push(task));
            let seen = seen.into_inner().unwrap();
            assert_eq!(seen.len(), 100);
            assert_eq!(seen.into_iter().collect::<BTreeSet<_>>().len(), 100);
        }
        Threads(4).run(0, &|_| panic!("there is no task"));
        let caught = catch_unwind(|| Threads(3).run(9, &|task| assert_ne!(task, 4)));
        assert!(caught.is_err());
        Threads(3).run(9, &|_| ()); // the threads are still there
    }

    #[test]
    fn calls_from_many_threads_do_not_wait_for_each_other() {
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    let sum = AtomicUsize::new(0);
                    Threads(8).run(50, &|task| {
                        sum.fetch_add(task, Ordering::Relaxed);
                    });
                    assert_eq!(sum.into_inner(), 49 * 50 / 2);
                });
            }
        });
    }
}
