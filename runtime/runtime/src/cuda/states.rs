//! States in the memory of a GPU.

use super::gpu::Gpu;
use super::memory::DeviceMemory;
use crate::Error;
use crate::memory::Memory;

/// A state's memory, and that of what replaces it.
#[derive(Debug)]
pub(crate) struct StateMemory {
    memory: DeviceMemory,
    /// Empty for a state that no entry replaces.
    next: DeviceMemory,
}

impl StateMemory {
    /// Memory of `bytes` zeros, and `next_bytes` for what replaces it.
    ///
    /// # Errors
    /// If the GPU has not as many.
    pub(crate) fn new(gpu: &Gpu, bytes: usize, next_bytes: usize, what: &str) -> Result<StateMemory, Error> {
        gpu.device.enter()?;
        let memory = DeviceMemory::new(&gpu.device, bytes, what)?;
        let next = DeviceMemory::new(&gpu.device, next_bytes, what)?;
        for memory in [&memory, &next].into_iter().filter(|memory| memory.len() > 0) {
            memory.clear()?;
        }
        Ok(StateMemory { memory, next })
    }

    /// Where both begin.
    pub(crate) fn addresses(&self) -> [u64; 2] {
        [self.memory.address(), self.next.address()]
    }

    /// A copy of the memory on the host.
    pub(crate) fn read(&self) -> Result<Memory, Error> {
        self.memory.enter()?;
        let mut contents = Memory::default();
        contents.reserve(self.memory.len(), "a state's copy")?;
        self.memory.read(&mut contents.as_mut_slice()[..self.memory.len()])?;
        Ok(contents)
    }

    /// Replaces the memory from its start on.
    pub(crate) fn write(&self, contents: &[u8]) -> Result<(), Error> {
        self.memory.enter()?;
        self.memory.write(0, &contents[..self.memory.len()])
    }

    /// Sets the memory to zero.
    pub(crate) fn clear(&self) {
        if self.memory.len() > 0 && self.memory.enter().is_ok() {
            // An error stays with the driver's context: the next run tells it.
            let _ = self.memory.clear();
        }
    }

    /// A state of its own that holds the same.
    pub(crate) fn duplicate(&self, what: &str) -> Result<StateMemory, Error> {
        Ok(StateMemory { memory: self.memory.duplicate(what)?, next: self.next.duplicate(what)? })
    }
}
