//! Threads that share work by static partition.
//!
//! A worker spins for a moment after its last task, because the next step of a model usually follows at once, and then
//! sleeps. Handing out work allocates nothing. One caller at a time has the workers; a caller that finds them busy does
//! its work alone, which changes no result.

use crate::Error;
use ic_kernels::abi::Parallel;
use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a thread waits awake.
const SPIN: Duration = Duration::from_micros(40);

/// A fixed number of threads, the caller included.
#[derive(Debug)]
pub struct ThreadPool {
    workers: Vec<Worker>,
    /// Whether a caller has the workers.
    busy: AtomicBool,
    /// Whether waiting awake pays: each thread has a core.
    spin: bool,
}

#[derive(Debug)]
struct Worker {
    mailbox: Arc<Mailbox>,
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

/// Where a worker finds its next job. Aligned so that no two share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Mailbox {
    /// Null, or a job that lives until the worker has counted itself done.
    job: AtomicPtr<Job>,
    stop: AtomicBool,
}

/// Work that is being done. Lives on the caller's stack.
struct Job {
    /// Erased lifetime: the caller waits for all workers before it returns.
    body: *const (dyn Fn(Range<usize>, usize) + Sync),
    tasks: usize,
    n_ranges: usize,
    /// Workers that have not finished.
    remaining: AtomicUsize,
    caller: Thread,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl ThreadPool {
    /// A pool of `threads` threads, the caller included; at least one.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn new(threads: usize) -> Result<ThreadPool, Error> {
        let spin = std::thread::available_parallelism().is_ok_and(|cores| threads <= cores.get());
        let mut pool = ThreadPool { workers: Vec::new(), busy: AtomicBool::new(false), spin };
        for index in 1..threads {
            let mailbox = Arc::new(Mailbox::default());
            let theirs = mailbox.clone();
            let handle = std::thread::Builder::new()
                .name(format!("ic-worker-{index}"))
                .spawn(move || work(&theirs, index, spin))
                .map_err(Error::Thread)?;
            pool.workers.push(Worker { mailbox, thread: handle.thread().clone(), handle: Some(handle) });
        }
        Ok(pool)
    }

    /// The pool behind the number of threads that sessions use by default: one per core.
    pub fn default_threads() -> usize {
        std::thread::available_parallelism().map_or(1, |cores| cores.get())
    }

    /// Shares `0..tasks` out to `n_ranges >= 2` threads that this caller has to itself.
    fn share(&self, tasks: usize, n_ranges: usize, body: &(dyn Fn(Range<usize>, usize) + Sync)) {
        // SAFETY: only the lifetime changes. `job` outlives every use: this function returns after all workers have
        // counted themselves done, and a panic of the body is held back until then.
        let body_ptr = unsafe {
            std::mem::transmute::<
                *const (dyn Fn(Range<usize>, usize) + Sync + '_),
                *const (dyn Fn(Range<usize>, usize) + Sync + 'static),
            >(body)
        };
        let job = Job {
            body: body_ptr,
            tasks,
            n_ranges,
            remaining: AtomicUsize::new(n_ranges - 1),
            caller: std::thread::current(),
            panic: Mutex::new(None),
        };
        for worker in &self.workers[..n_ranges - 1] {
            worker.mailbox.job.store(&raw const job as *mut Job, Ordering::Release);
            worker.thread.unpark();
        }
        let own = catch_unwind(AssertUnwindSafe(|| body(partition(tasks, n_ranges, 0), 0)));
        wait(self.spin, || job.remaining.load(Ordering::Acquire) == 0);
        let theirs = job.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = own.err().or(theirs) {
            self.busy.store(false, Ordering::Release);
            resume_unwind(panic);
        }
    }
}

impl Parallel for ThreadPool {
    fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    fn run(&self, tasks: usize, body: &(dyn Fn(Range<usize>, usize) + Sync)) {
        let n_ranges = self.threads().min(tasks);
        if tasks == 0 {
            return;
        }
        if n_ranges == 1 || self.busy.swap(true, Ordering::Acquire) {
            return body(0..tasks, 0);
        }
        self.share(tasks, n_ranges, body);
        self.busy.store(false, Ordering::Release);
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.mailbox.stop.store(true, Ordering::Release);
            worker.thread.unpark();
        }
        for worker in &mut self.workers {
            // A worker does not panic: it holds back those of the bodies that it runs.
            if let Some(handle) = worker.handle.take() {
                drop(handle.join());
            }
        }
    }
}

/// Range `index` of `n_ranges` nearly equal ones.
fn partition(tasks: usize, n_ranges: usize, index: usize) -> Range<usize> {
    let (each, more) = (tasks / n_ranges, tasks % n_ranges);
    let begin = each * index + index.min(more);
    begin..begin + each + usize::from(index < more)
}

/// What worker `index` does until the pool goes.
fn work(mailbox: &Mailbox, index: usize, spin: bool) {
    loop {
        let idle = || mailbox.job.load(Ordering::Relaxed).is_null() && !mailbox.stop.load(Ordering::Relaxed);
        wait(spin, || !idle());
        let job = mailbox.job.swap(std::ptr::null_mut(), Ordering::Acquire);
        if job.is_null() {
            return;
        }
        // SAFETY: the caller keeps the job until this worker has counted itself done, below.
        let job = unsafe { &*job };
        // SAFETY: as above.
        let body = unsafe { &*job.body };
        let range = partition(job.tasks, job.n_ranges, index);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(range, index))) {
            *job.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
        let caller = job.caller.clone();
        // The last use of the job.
        if job.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            caller.unpark();
        }
    }
}

/// Waits until `done`, which is followed by an unpark of this thread: awake for a moment, then asleep.
fn wait(spin: bool, done: impl Fn() -> bool) {
    if spin {
        let start = Instant::now();
        while start.elapsed() < SPIN {
            for _ in 0..16 {
                if done() {
                    return;
                }
                std::hint::spin_loop();
            }
        }
    }
    while !done() {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(counter: &AtomicUsize, n: usize) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    #[test]
    fn every_task_runs_once() {
        for threads in 1..5 {
            let pool = ThreadPool::new(threads).unwrap();
            assert_eq!(pool.threads(), threads);
            for tasks in [0, 1, 2, 3, 7, 64, 1000] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                let seen: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, &|range, thread| {
                    assert!(!range.is_empty());
                    seen[thread].fetch_add(1, Ordering::Relaxed);
                    range.for_each(|i| add(&counts[i], 1));
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
                assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) <= 1));
            }
        }
    }

    #[test]
    fn callers_share_a_pool() {
        let pool = ThreadPool::new(3).unwrap();
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        pool.run(10, &|range, _| {
                            // A body may hand out work itself.
                            pool.run(range.len(), &|inner, _| add(&total, inner.len()));
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 4 * 500 * 10);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = ThreadPool::new(2).unwrap();
        for failing in 0..2 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(2, &|_, thread| assert_ne!(thread, failing, "on purpose"));
            }));
            assert!(result.is_err());
        }
        let done = AtomicUsize::new(0);
        pool.run(2, &|range, _| add(&done, range.len()));
        assert_eq!(done.into_inner(), 2);
    }
}
