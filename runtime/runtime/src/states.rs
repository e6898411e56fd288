//! State buffers: memory that outlives a run and that the entries of one session family update in place.

use crate::Error;
use crate::memory::Memory;
use ic_artifact::State;
use ic_types::DType;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The buffers of all states, zeroed at first. A run that uses any holds them all.
#[derive(Debug)]
pub(crate) struct States {
    memories: Mutex<Vec<Memory>>,
    bytes: Vec<usize>,
}

impl States {
    pub(crate) fn new(states: &[State]) -> Result<States, Error> {
        let mut memories = Vec::new();
        let mut bytes = Vec::new();
        for state in states {
            let element = DType::from_code(state.dtype).and_then(DType::size).unwrap_or(1);
            let size =
                state.capacity.iter().try_fold(element, |size, &extent| size.checked_mul(extent.try_into().ok()?));
            let what = format!("state `{}`", state.name);
            let size = size.ok_or_else(|| Error::memory(&what, usize::MAX))?;
            let mut memory = Memory::default();
            memory.reserve(size, &what)?;
            memories.push(memory);
            bytes.push(size);
        }
        Ok(States { memories: Mutex::new(memories), bytes })
    }

    /// Number of bytes of state `index`.
    pub(crate) fn bytes(&self, index: u32) -> usize {
        self.bytes[index as usize]
    }

    /// The buffers, once no other run uses them.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<Memory>> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets all states to zero.
    pub(crate) fn clear(&self) {
        self.lock().iter_mut().for_each(Memory::clear);
    }
}
