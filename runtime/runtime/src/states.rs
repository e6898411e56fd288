//! State buffers: memory that outlives a run and that the entries of one session family update in place.

use crate::memory::Memory;
use crate::{Error, cuda};
use ic_artifact::{Place, Plan, State};
use ic_types::{DType, Tensor, TensorView};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The buffers of all states, empty at first. A run that uses any holds them all.
#[derive(Debug)]
pub(crate) struct States {
    buffers: Mutex<Vec<StateBuffer>>,
    descriptions: Vec<State>,
    bytes: Vec<usize>,
}

/// A state's memory and what it holds.
#[derive(Debug, Default)]
pub(crate) struct StateBuffer {
    /// Zeros until something is written; empty if a GPU has it.
    memory: Memory,
    /// What a run writes that replaces the whole; empty for states that no entry replaces, and if a GPU has it.
    next: Memory,
    /// The same on a GPU.
    on_gpu: Option<cuda::StateMemory>,
    /// The extents of what it holds; all 0 if that is nothing.
    pub(crate) extents: Vec<i64>,
    /// Whether anything has been written.
    pub(crate) is_written: bool,
}

impl States {
    /// Empty states, in the memory of the GPU if there is one. Those that a plan replaces as a whole have two memories.
    pub(crate) fn new(states: &[State], plans: &[Plan], gpu: Option<&cuda::Gpu>) -> Result<States, Error> {
        let mut bytes = Vec::new();
        for state in states {
            let element = DType::from_code(state.dtype).and_then(DType::size).unwrap_or(1);
            let size =
                state.capacity.iter().try_fold(element, |size, &extent| size.checked_mul(extent.try_into().ok()?));
            bytes.push(size.ok_or_else(|| Error::memory(&format!("state `{}`", state.name), usize::MAX))?);
        }
        let is_replaced = |state: usize| {
            plans
                .iter()
                .flat_map(|plan| &plan.buffers)
                .any(|b| matches!(b.place, Place::NextState(i) if i as usize == state))
        };
        let mut buffers = Vec::new();
        for (index, state) in states.iter().enumerate() {
            let what = format!("state `{}`", state.name);
            let mut buffer = StateBuffer { extents: vec![0; state.capacity.len()], ..StateBuffer::default() };
            let next_bytes = if is_replaced(index) { bytes[index] } else { 0 };
            match gpu {
                Some(gpu) => buffer.on_gpu = Some(cuda::StateMemory::new(gpu, bytes[index], next_bytes, &what)?),
                None => {
                    buffer.memory.reserve(bytes[index], &what)?;
                    buffer.next.reserve(next_bytes, &what)?;
                }
            }
            buffers.push(buffer);
        }
        Ok(States { buffers: Mutex::new(buffers), descriptions: states.to_vec(), bytes })
    }

    /// Number of bytes of state `index`.
    pub(crate) fn bytes(&self, index: u32) -> usize {
        self.bytes[index as usize]
    }

    /// Name, type and capacity of state `index`.
    pub(crate) fn description(&self, index: u32) -> &State {
        &self.descriptions[index as usize]
    }

    /// The buffers, once no other run uses them.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<StateBuffer>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes all states empty.
    pub(crate) fn clear(&self) {
        for (buffer, description) in self.lock().iter_mut().zip(&self.descriptions) {
            buffer.extents.fill(0);
            buffer.is_written = false;
            // Of a state that grows, nothing is read beyond its length.
            if description.append_axis.is_none() {
                match &buffer.on_gpu {
                    Some(on_gpu) => on_gpu.clear(),
                    None => buffer.memory.clear(),
                }
            }
        }
    }

    /// States of their own that hold the same.
    pub(crate) fn fork(&self) -> Result<States, Error> {
        let mut copies = Vec::new();
        for (index, buffer) in self.lock().iter().enumerate() {
            let state = &self.descriptions[index];
            let what = format!("state `{}`", state.name);
            let mut copy = StateBuffer {
                extents: buffer.extents.clone(),
                is_written: buffer.is_written,
                ..StateBuffer::default()
            };
            if let Some(on_gpu) = &buffer.on_gpu {
                copy.on_gpu = Some(on_gpu.duplicate(&what)?);
                copies.push(copy);
                continue;
            }
            copy.memory.reserve(self.bytes[index], &what)?;
            copy.next.reserve(buffer.next.len(), &what)?;
            let element = element_bytes(state);
            let (from, to) = (buffer.memory.as_slice(), copy.memory.as_mut_slice());
            runs(&buffer.extents, &strides(state, &buffer.extents), &mut |at, len| {
                let range = at * element..(at + len) * element;
                to[range.clone()].copy_from_slice(&from[range]);
            });
            copies.push(copy);
        }
        Ok(States { buffers: Mutex::new(copies), descriptions: self.descriptions.clone(), bytes: self.bytes.clone() })
    }

    /// The index of the state `name`.
    pub(crate) fn index(&self, name: &str) -> Result<usize, Error> {
        let found = self.descriptions.iter().position(|state| state.name == name);
        found.ok_or_else(|| {
            let known =
                self.descriptions.iter().map(|state| format!("`{}`", state.name)).collect::<Vec<_>>().join(", ");
            Error::State { state: name.into(), problem: format!("there is none; the states are: {known}") }
        })
    }

    /// A copy of what a state holds.
    pub(crate) fn read(&self, index: usize) -> Result<Tensor, Error> {
        let (buffers, state) = (self.lock(), &self.descriptions[index]);
        let buffer = &buffers[index];
        let shape: Vec<usize> = buffer.extents.iter().map(|&extent| extent as usize).collect();
        let mut tensor = Tensor::zeros(DType::from_code(state.dtype).unwrap_or(DType::U8), vec![0]);
        tensor.try_resize(&shape).map_err(|_| Error::memory(&format!("state `{}`", state.name), self.bytes[index]))?;
        let (element, downloaded) = (element_bytes(state), buffer.on_gpu.as_ref().map(|gpu| gpu.read()).transpose()?);
        let from = downloaded.as_ref().unwrap_or(&buffer.memory).as_slice();
        let mut to = tensor.data_mut().as_mut_ptr();
        runs(&buffer.extents, &strides(state, &buffer.extents), &mut |at, len| {
            let run = &from[at * element..(at + len) * element];
            // SAFETY: runs cover the tensor's elements once, in their order; bytes of a state are valid elements.
            unsafe {
                to.copy_from_nonoverlapping(run.as_ptr(), run.len());
                to = to.add(run.len());
            }
        });
        Ok(tensor)
    }

    /// Replaces what a state holds.
    pub(crate) fn write(&self, index: usize, value: &TensorView) -> Result<(), Error> {
        let state = &self.descriptions[index];
        let refuse = |problem: String| Err(Error::State { state: state.name.clone(), problem });
        let fits = value.shape().len() == state.capacity.len()
            && value.shape().iter().zip(&state.capacity).all(|(&extent, &most)| extent as i64 <= most);
        if value.dtype() as u8 != state.dtype || !fits {
            let dtype = DType::from_code(state.dtype).map_or("?", DType::name);
            let (found, shape) = (value.dtype(), value.shape());
            return refuse(format!("it holds up to {dtype}{:?}, found {found}{shape:?}", state.capacity));
        }
        let mut buffers = self.lock();
        let buffer = &mut buffers[index];
        buffer.extents.clear();
        buffer.extents.extend(value.shape().iter().map(|&extent| extent as i64));
        buffer.is_written = true;
        let mut downloaded = buffer.on_gpu.as_ref().map(|gpu| gpu.read()).transpose()?;
        let (element, to) = (element_bytes(state), downloaded.as_mut().unwrap_or(&mut buffer.memory).as_mut_slice());
        let mut from = value.data().as_ptr();
        runs(&buffer.extents, &strides(state, &buffer.extents), &mut |at, len| {
            let run = &mut to[at * element..(at + len) * element];
            // SAFETY: runs cover the view's elements once, in their order.
            unsafe {
                run.as_mut_ptr().copy_from_nonoverlapping(from, run.len());
                from = from.add(run.len());
            }
        });
        match (&buffer.on_gpu, &downloaded) {
            (Some(gpu), Some(contents)) => gpu.write(contents.as_slice()),
            _ => Ok(()),
        }
    }

    /// The extent of what state `index` holds on `axis`.
    ///
    /// # Errors
    /// If nothing has been written that has one.
    pub(crate) fn extent(&self, buffers: &[StateBuffer], index: u32, axis: u32) -> Result<i64, Error> {
        let (buffer, state) = (&buffers[index as usize], self.description(index));
        if buffer.is_written || state.append_axis == Some(axis) {
            return Ok(buffer.extents[axis as usize]);
        }
        Err(unwritten(state))
    }

    /// Whether states hold what a plan with these slots reads.
    ///
    /// # Errors
    /// If the first does not.
    pub(crate) fn check(&self, plan: &Plan, buffers: &[StateBuffer], slots: &[i64]) -> Result<(), Error> {
        for used in &plan.states {
            let (buffer, state) = (&buffers[used.state as usize], self.description(used.state));
            let Some(before) = &used.before else { continue };
            let holds_nothing = !buffer.is_written || is_empty(state, &buffer.extents);
            let wanted = before.iter().map(|&slot| slots[slot as usize]);
            if holds_nothing {
                let length = state.append_axis.map(|axis| slots[before[axis as usize] as usize]);
                match (length, used.after.is_some()) {
                    (Some(0), _) | (None, true) => continue,
                    (None, false) => return Err(unwritten(state)),
                    (Some(_), _) => {}
                }
            }
            if !wanted.clone().eq(buffer.extents.iter().copied()) {
                let (found, wanted) = (&buffer.extents, wanted.collect::<Vec<_>>());
                let problem = format!("it holds {found:?}, this run takes {wanted:?}; clear the states to begin anew");
                return Err(Error::State { state: state.name.clone(), problem });
            }
        }
        Ok(())
    }

    /// Records what a run of a plan with these slots has written.
    pub(crate) fn finish(plan: &Plan, buffers: &mut [StateBuffer], slots: &[i64]) {
        for used in &plan.states {
            let Some(after) = &used.after else { continue };
            let buffer = &mut buffers[used.state as usize];
            for (extent, &slot) in buffer.extents.iter_mut().zip(after) {
                *extent = slots[slot as usize];
            }
            buffer.is_written = true;
        }
        for buffer in &plan.buffers {
            if let Place::NextState(state) = buffer.place {
                // On a GPU, the run itself has copied what replaces the state.
                let buffer = &mut buffers[state as usize];
                std::mem::swap(&mut buffer.memory, &mut buffer.next);
            }
        }
    }
}

impl StateBuffer {
    /// The addresses of the memory and of what replaces it, on the device that runs.
    pub(crate) fn addresses(&mut self) -> [*mut u8; 2] {
        match &self.on_gpu {
            Some(on_gpu) => on_gpu.addresses().map(|address| std::ptr::without_provenance_mut(address as usize)),
            None => [self.memory.as_mut_ptr(), self.next.as_mut_ptr()],
        }
    }
}

fn unwritten(state: &State) -> Error {
    let problem = "nothing has been written to it; run the entry that does so first".into();
    Error::State { state: state.name.clone(), problem }
}

/// Whether nothing has been appended to a state that grows.
fn is_empty(state: &State, extents: &[i64]) -> bool {
    state.append_axis.is_some_and(|axis| extents[axis as usize] == 0)
}

fn element_bytes(state: &State) -> usize {
    DType::from_code(state.dtype).and_then(DType::size).unwrap_or(1)
}

/// Distance between neighbours in elements: those of the capacity for a state that grows.
fn strides(state: &State, extents: &[i64]) -> Vec<usize> {
    let whole = if state.append_axis.is_some() { &state.capacity } else { extents };
    let mut strides = vec![1; whole.len()];
    for axis in (1..whole.len()).rev() {
        strides[axis - 1] = strides[axis] * whole[axis] as usize;
    }
    strides
}

/// Calls `body` with the first element and the length of each contiguous run of elements, in row-major order.
fn runs(extents: &[i64], strides: &[usize], body: &mut dyn FnMut(usize, usize)) {
    fn walk(extents: &[i64], strides: &[usize], first: usize, body: &mut dyn FnMut(usize, usize)) {
        let len: i64 = extents.iter().product();
        let is_dense = extents.iter().skip(1).zip(strides).rev().try_fold(1, |dense: usize, (&extent, &stride)| {
            let dense = dense * extent as usize;
            (stride == dense).then_some(dense)
        });
        if is_dense.is_some() {
            if len > 0 {
                body(first, len as usize);
            }
            return;
        }
        for i in 0..extents[0] as usize {
            walk(&extents[1..], &strides[1..], first + i * strides[0], body);
        }
    }
    walk(extents, strides, 0, body);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(extents: &[i64], strides: &[usize]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        runs(extents, strides, &mut |at, len| found.push((at, len)));
        found
    }

    #[test]
    fn runs_are_as_long_as_they_are_contiguous() {
        assert_eq!(collected(&[2, 3, 4], &[12, 4, 1]), [(0, 24)]);
        assert_eq!(collected(&[2, 2, 4], &[12, 4, 1]), [(0, 8), (12, 8)]);
        assert_eq!(collected(&[2, 2, 3], &[12, 4, 1]), [(0, 3), (4, 3), (12, 3), (16, 3)]);
        assert_eq!(collected(&[2, 0, 4], &[12, 4, 1]), []);
        assert_eq!(collected(&[], &[]), [(0, 1)]);
    }
}
