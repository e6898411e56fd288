//! The Ascend plan of an artifact, run launch by launch on this CPU from the texts that the artifact holds.

use super::{Call, Tools};
use anyhow::{Context, Result, bail, ensure};
use ic_artifact::{AscendSection, Place, Plan, Step, SymbolSource};
use ic_codegen::ascend::Spelling;
use ic_types::Tensor;

/// What a run gave.
#[derive(Debug)]
pub struct Ran {
    /// The bytes of each output.
    pub outputs: Vec<Vec<u8>>,
    /// How many kernels were launched.
    pub n_launches: usize,
}

/// Runs a plan. `weights` is the artifact's weight section.
///
/// # Errors
/// If the plan has steps that are no launches, or a kernel does not run.
pub fn run_plan(tools: &Tools, plan: &Plan, section: &AscendSection, weights: &[u8], inputs: &[Tensor]) -> Result<Ran> {
    let slots = slots(plan, inputs)?;
    let mut memory = Memory::new(plan, &slots, weights, inputs)?;
    for (index, step) in plan.steps.iter().enumerate() {
        let Step::Launch { name, function, buffers, dims, grid, .. } = step else { bail!("not a launch: {step:?}") };
        let function = &plan.functions[*function as usize];
        let found = section.functions.iter().find(|f| f.name == *function);
        let text = &found.with_context(|| format!("no function `{function}`"))?.text;
        let (ids, mut parts) = memory.take(buffers);
        let value = |slot: &u32| slots[*slot as usize];
        let dims = dims.iter().map(value).collect();
        let call = Call { name: function, text, buffers: ids, dims, grid: grid.each_ref().map(value) };
        tools.run(&call, Spelling::Vendor, &mut parts).with_context(|| format!("step {index}, `{name}`"))?;
        memory.give_back(buffers, &call.buffers, &parts);
    }
    Ok(Ran { outputs: memory.outputs(plan), n_launches: plan.steps.len() })
}

/// The values of the dim program.
fn slots(plan: &Plan, inputs: &[Tensor]) -> Result<Vec<i64>> {
    let symbol = |index: u32| match plan.symbols.get(index as usize)? {
        SymbolSource::Input { input, axis } => Some(inputs[*input as usize].shape()[*axis as usize] as i64),
        _ => None,
    };
    let mut slots: Vec<i64> = Vec::new();
    for op in &plan.dims {
        let value = op.apply(&|slot| slots.get(slot as usize).copied(), &symbol);
        slots.push(value.context("an extent has no value")?);
    }
    Ok(slots)
}

/// The buffers of a plan.
struct Memory {
    /// Each buffer's own bytes; empty for views.
    whole: Vec<Vec<u8>>,
    /// Whose bytes each buffer's are, where they begin and how many there are.
    parts: Vec<(usize, usize, usize)>,
}

impl Memory {
    fn new(plan: &Plan, slots: &[i64], weights: &[u8], inputs: &[Tensor]) -> Result<Memory> {
        let mut memory = Memory { whole: Vec::new(), parts: Vec::new() };
        for (id, buffer) in plan.buffers.iter().enumerate() {
            let bytes = slots[buffer.bytes as usize] as usize;
            let (contents, part) = match buffer.place {
                Place::Input(i) => (inputs[i as usize].data().to_le_bytes(), (id, 0)),
                Place::Weight { offset } => (weights[offset as usize..][..bytes].to_vec(), (id, 0)),
                Place::View { of, offset } => {
                    let (of, first, _) = memory.parts[of as usize];
                    (Vec::new(), (of, first + slots[offset as usize] as usize))
                }
                // What nothing has written must not look right.
                Place::Arena { .. } | Place::Output(_) => (vec![0x5a; bytes], (id, 0)),
                Place::State(_) | Place::NextState(_) => bail!("a state buffer"),
            };
            memory.whole.push(contents);
            let (of, first) = part;
            ensure!(first + bytes <= memory.whole[of].len(), "buffer {id} ends after its memory");
            memory.parts.push((of, first, bytes));
        }
        Ok(memory)
    }

    /// Copies of the buffers that are given, each once, and which of them each is.
    fn take(&self, buffers: &[u32]) -> (Vec<usize>, Vec<Vec<u8>>) {
        let mut distinct: Vec<u32> = Vec::new();
        let ids = buffers.iter().map(|buffer| {
            distinct.iter().position(|known| known == buffer).unwrap_or_else(|| {
                distinct.push(*buffer);
                distinct.len() - 1
            })
        });
        let ids = ids.collect();
        let copy = |buffer: &u32| {
            let (of, first, bytes) = self.parts[*buffer as usize];
            self.whole[of][first..first + bytes].to_vec()
        };
        (ids, distinct.iter().map(copy).collect())
    }

    /// Puts back what a launch has changed.
    fn give_back(&mut self, buffers: &[u32], ids: &[usize], parts: &[Vec<u8>]) {
        for (&buffer, &id) in buffers.iter().zip(ids) {
            let (of, first, bytes) = self.parts[buffer as usize];
            let place = &mut self.whole[of][first..first + bytes];
            if place != parts[id] {
                place.copy_from_slice(&parts[id]);
            }
        }
    }

    fn outputs(&self, plan: &Plan) -> Vec<Vec<u8>> {
        let output = |index: usize| {
            let is_it = |place: Place| matches!(place, Place::Output(i) if i as usize == index);
            let id = plan.buffers.iter().position(|buffer| is_it(buffer.place));
            id.map(|id| self.whole[id].clone()).unwrap_or_default()
        };
        (0..plan.outputs.len()).map(output).collect()
    }
}
