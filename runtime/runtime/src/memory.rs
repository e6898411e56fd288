//! Page-aligned anonymous memory: arenas, scratch, states and executable code.

use crate::Error;
use memmap2::{Mmap, MmapMut};

/// From this size on, memory asks for huge pages.
#[cfg(target_os = "linux")]
const HUGE_PAGES_FROM: usize = 4 << 20;

/// Zeroed memory that grows on demand and never shrinks. Its address changes when it grows.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    map: Option<MmapMut>,
}

impl Memory {
    /// Makes room for `bytes` bytes of `what`. Contents are lost if it grows.
    pub(crate) fn reserve(&mut self, bytes: usize, what: &str) -> Result<(), Error> {
        if bytes <= self.len() {
            return Ok(());
        }
        // The old memory goes first, so that both need not fit.
        self.map = None;
        if isize::try_from(bytes).is_err() {
            return Err(Error::memory(what, bytes));
        }
        let map = MmapMut::map_anon(bytes).map_err(|_| Error::memory(what, bytes))?;
        #[cfg(target_os = "linux")]
        if bytes >= HUGE_PAGES_FROM {
            // Refusal only costs speed.
            drop(map.advise(memmap2::Advice::HugePage));
        }
        self.map = Some(map);
        Ok(())
    }

    /// Number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.map.as_ref().map_or(0, |map| map.len())
    }

    /// The first byte; a dangling aligned pointer if there is none.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.map.as_mut().map_or(std::ptr::without_provenance_mut(64), |map| map.as_mut_ptr())
    }

    /// Sets all bytes to zero.
    pub(crate) fn clear(&mut self) {
        if let Some(map) = &mut self.map {
            map.fill(0);
        }
    }

    /// The bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// Memory with the contents of a file.
    #[cfg(feature = "signed")]
    pub(crate) fn copy_of_file(path: &std::path::Path) -> Result<Memory, Error> {
        use std::io::Read;
        let failed = |source| Error::Open { path: path.display().to_string(), source };
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut memory = Memory::default();
        memory.reserve(usize::try_from(length).unwrap_or(usize::MAX), "the artifact")?;
        if let Some(map) = &mut memory.map {
            file.read_exact(map).map_err(failed)?;
        }
        Ok(memory)
    }

    /// The bytes, for writing.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().unwrap_or_default()
    }

    /// Memory with a copy of `bytes`.
    pub(crate) fn copy_of(bytes: &[u8], what: &str) -> Result<Memory, Error> {
        let mut memory = Memory::default();
        memory.reserve(bytes.len(), what)?;
        if let Some(map) = &mut memory.map {
            map[..bytes.len()].copy_from_slice(bytes);
        }
        Ok(memory)
    }
}

/// Executable code, at a 4 KiB boundary.
#[derive(Debug)]
pub(crate) struct Code {
    map: Option<Mmap>,
}

impl Code {
    /// A copy of `code` in pages that can be run and no longer written. A copy rather than the file's pages: what was
    /// checked stays what runs, whatever happens to the file.
    pub(crate) fn copy_of(code: &[u8]) -> Result<Code, Error> {
        if code.is_empty() {
            return Ok(Code { map: None });
        }
        let failed = |_| Error::memory("executable code", code.len());
        let mut map = MmapMut::map_anon(code.len()).map_err(failed)?;
        map.copy_from_slice(code);
        let map = map.make_exec().map_err(failed)?;
        flush_instruction_cache(&map);
        Ok(Code { map: Some(map) })
    }

    /// Address of the byte at `offset`, which the caller has checked.
    pub(crate) fn at(&self, offset: u32) -> *const u8 {
        let code = self.map.as_deref().unwrap_or_default();
        code[offset as usize..].as_ptr()
    }
}

/// Makes `code` visible to instruction fetch. x86-64 does so by itself.
#[cfg(not(target_arch = "aarch64"))]
fn flush_instruction_cache(_code: &[u8]) {}

/// Makes `code` visible to instruction fetch (Arm ARM, B2.4.4).
#[cfg(target_arch = "aarch64")]
fn flush_instruction_cache(code: &[u8]) {
    // The smallest cache line that the architecture allows.
    const LINE: usize = 16;
    for line in code.chunks(LINE) {
        // SAFETY: cleans a data cache line that holds `line`; changes no memory.
        unsafe { std::arch::asm!("dc cvau, {}", in(reg) line.as_ptr(), options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier.
    unsafe { std::arch::asm!("dsb ish", options(nostack, preserves_flags)) };
    for line in code.chunks(LINE) {
        // SAFETY: invalidates an instruction cache line that holds `line`; changes no memory.
        unsafe { std::arch::asm!("ic ivau, {}", in(reg) line.as_ptr(), options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers.
    unsafe { std::arch::asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}
