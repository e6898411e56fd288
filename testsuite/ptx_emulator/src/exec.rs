//! Launches: blocks in parallel on the host's cores, each with its warps.

mod access;
mod alu;
mod block;
mod collective;
mod convert;
mod mma;
mod warpgroup;

use crate::counts::Counts;
use crate::fault::{Fault, FaultKind};
use crate::memory::{Memory, Touched};
use crate::parse::Function;
use block::Block;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How a kernel is launched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launch {
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y and z.
    pub block: [u32; 3],
    /// The block of parameters; see [`Function::pack`].
    pub params: Vec<u8>,
    /// Bytes of shared memory beyond the static ones.
    pub dynamic_shared: u32,
    /// Most host threads that run blocks; 0 for as many as there are cores.
    pub host_threads: usize,
}

/// Most threads of a block.
const MAX_THREADS: u64 = 1024;
/// Most shared memory of a block.
const MAX_SHARED: usize = 227 << 10;

/// Runs a kernel to its end.
///
/// # Errors
/// The first fault, by block.
pub fn launch(function: &Function, memory: &Memory, launch: &Launch) -> Result<Counts, Fault> {
    check(function, launch).map_err(|message| refused(function, message))?;
    let n_blocks = launch.grid.iter().map(|&n| u64::from(n)).product::<u64>();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let limit = if launch.host_threads == 0 { cores } else { launch.host_threads };
    let workers = limit.min(usize::try_from(n_blocks).unwrap_or(limit)).max(1);
    let next = AtomicU64::new(0);
    let first_fault = AtomicU64::new(u64::MAX);
    let merged = Mutex::new(Merged::default());
    let work = || {
        let mut block = Block::new(function, memory, launch);
        loop {
            let index = next.fetch_add(1, Relaxed);
            // Blocks before the first fault are run in any case, so that it is the first.
            if index >= n_blocks || index > first_fault.load(Relaxed) {
                return;
            }
            let result = block.run(index).map(|(counts, touched)| (counts, Box::new(touched)));
            let Ok(mut merged) = merged.lock() else { return };
            if merged.add(function, index, result) {
                first_fault.fetch_min(merged.fault.as_ref().map_or(u64::MAX, |fault| fault.block), Relaxed);
            }
        }
    };
    if workers == 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            (0..workers).for_each(|_| {
                scope.spawn(work);
            });
        });
    }
    let merged = merged.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    match merged.fault {
        Some(fault) => Err(fault),
        None => {
            let mut counts = merged.counts;
            (counts.sectors_read, counts.sectors_written) = merged.touched.sectors();
            Ok(counts)
        }
    }
}

type BlockResult = Result<(Counts, Box<Touched>), Fault>;

/// Results of blocks, merged in their order.
#[derive(Default)]
struct Merged {
    next: u64,
    /// Those whose turn has not come.
    early: BTreeMap<u64, BlockResult>,
    counts: Counts,
    touched: Touched,
    fault: Option<Fault>,
}

impl Merged {
    /// Adds a block's result; whether there is a fault.
    fn add(&mut self, function: &Function, index: u64, result: BlockResult) -> bool {
        self.early.insert(index, result);
        while self.fault.is_none()
            && let Some(result) = self.early.remove(&self.next)
        {
            match result {
                Ok((counts, touched)) => {
                    self.counts += &counts;
                    if let Some(address) = self.touched.merge(*touched) {
                        let message = format!("writes the byte at {address:#x}, or reads it, as another block does");
                        let fault = Fault { kind: FaultKind::Race, block: self.next, ..refused(function, message) };
                        self.fault = Some(fault);
                    }
                }
                Err(fault) => self.fault = Some(fault),
            }
            self.next += 1;
        }
        // A fault further on bounds what is worth running, even before its turn.
        self.fault.is_some()
    }
}

fn refused(function: &Function, message: String) -> Fault {
    Fault {
        kind: FaultKind::Launch,
        kernel: function.name.clone(),
        block: 0,
        thread: 0,
        line: 0,
        instruction: String::new(),
        message,
    }
}

fn check(function: &Function, launch: &Launch) -> Result<(), String> {
    let threads: u64 = launch.block.iter().map(|&n| u64::from(n)).product();
    if threads == 0 || threads > MAX_THREADS {
        return Err(format!("{threads} threads a block; there can be 1 to {MAX_THREADS}"));
    }
    if let Some(max) = function.max_threads {
        let max_threads: u64 = max.iter().map(|&n| u64::from(n)).product();
        if threads > max_threads {
            return Err(format!("{threads} threads a block, but `.maxntid` allows {max_threads}"));
        }
    }
    let shared = shared_bytes(function, launch);
    if shared > MAX_SHARED {
        return Err(format!("{shared} bytes of shared memory; there are at most {MAX_SHARED}"));
    }
    let expected = function.param_bytes();
    if launch.params.len() != expected {
        return Err(format!("{expected} bytes of parameters, found {}", launch.params.len()));
    }
    Ok(())
}

/// Bytes of a block's shared memory.
fn shared_bytes(function: &Function, launch: &Launch) -> usize {
    function.dynamic_shared.unwrap_or(function.shared_bytes) + launch.dynamic_shared as usize
}
