//! How a model is loaded and a session runs.

use crate::ThreadPool;
use std::sync::Arc;

/// How a model is loaded.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    pub(crate) target: Option<String>,
    pub(crate) device: Option<String>,
    pub(crate) exit_on_truncation: bool,
}

impl LoadOptions {
    /// The best target for this machine.
    pub fn new() -> LoadOptions {
        LoadOptions::default()
    }

    /// Uses the target `name` and no other.
    pub fn target(mut self, name: &str) -> LoadOptions {
        self.target = Some(name.into());
        self
    }

    /// Runs on the device `name`: `cpu`, `cuda`, `emulated-cuda` or `ascend`; `cuda:1` is the second GPU. Without it, on
    /// the CPU.
    ///
    /// GPUs need the feature `cuda` and NVIDIA's driver, which is loaded when a model is. Weights are copied to the GPU
    /// then, once for all sessions. The emulated GPU needs the library of the crate `ic-cuda-emulator`: its path in the
    /// environment variable `IC_EMULATED_CUDA`, or `libcuda.so` beside the program or in a folder `deps` there. A
    /// process uses one of the two.
    pub fn device(mut self, name: &str) -> LoadOptions {
        self.device = Some(name.into());
        self
    }

    /// If another process cuts the mapped file short while it is in use, ends this process with exit code 1 and a
    /// message that names the file, rather than by a signal. Installs a SIGBUS handler; meant for programs that have
    /// none. See [`TruncationGuard`](crate::TruncationGuard).
    pub fn exit_on_truncation(mut self) -> LoadOptions {
        self.exit_on_truncation = true;
        self
    }
}

/// How a session runs.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) threads: Option<usize>,
    pub(crate) pool: Option<Arc<ThreadPool>>,
    pub(crate) kernels: Option<String>,
    pub(crate) cached_shapes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { threads: None, pool: None, kernels: None, cached_shapes: 64 }
    }
}

impl Options {
    /// One thread per core, the fastest kernels of this machine, 64 cached shapes.
    pub fn new() -> Options {
        Options::default()
    }

    /// Runs on `threads` threads, the caller included. Results do not depend on it.
    pub fn threads(mut self, threads: usize) -> Options {
        self.threads = Some(threads);
        self
    }

    /// Runs on the threads of `pool`, which sessions may share; [`threads`](Self::threads) has no effect then.
    pub fn pool(mut self, pool: &Arc<ThreadPool>) -> Options {
        self.pool = Some(pool.clone());
        self
    }

    /// Uses the kernels of one instruction set: `portable`, `avx2`, `avx512`, `amx` or `neon`. All give the same bits but
    /// `amx`, whose f32 products of many rows are nearer to the exact ones. Without it the environment variable `IC_KERNELS`
    /// decides, and without that the machine; a model that was compiled with `--fp strict` then gets none that give other bits.
    pub fn kernels(mut self, isa: &str) -> Options {
        self.kernels = Some(isa.into());
        self
    }

    /// Keeps what was prepared for the `shapes` most recently used tuples of input shapes.
    pub fn cached_shapes(mut self, shapes: usize) -> Options {
        self.cached_shapes = shapes;
        self
    }
}
