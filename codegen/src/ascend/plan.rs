//! A program of known extents and its launches as a plan.

use super::program::AscendLaunch;
use crate::cpu::Weight;
use crate::cpu::dims::DimBuilder;
use ic_artifact::{Buffer, BufferId, Place, Plan, Segment, Step};
use ic_ir::kernel::{BufferKind, Program};
use ic_types::Dim;

/// A plan, and which of its buffers are which weights. Those have no offset yet.
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    pub(crate) weights: Weights,
}

/// Weights with their buffers.
type Weights = Vec<(BufferId, Weight)>;

/// Makes the plan; `names` are those of all functions.
///
/// # Errors
/// An extent that is not known.
pub(crate) fn plan(program: &Program, launches: &[AscendLaunch], names: &[String]) -> Result<Planned, String> {
    let mut dims = DimBuilder::default();
    let ids = buffer_ids(program);
    let steps = steps(launches, names, &ids, &mut dims);
    let (buffers, weights) = buffers(program, &ids, &steps.list, &mut dims)?;
    let inputs = ports(program, &mut dims, |kind| matches!(kind, BufferKind::Input(_)))?;
    let outputs = ports(program, &mut dims, |kind| matches!(kind, BufferKind::Output(_)))?;
    let dims = dims.finish();
    let segment =
        Segment { dims_end: dims.len() as u32, buffers_end: buffers.len() as u32, steps_end: steps.list.len() as u32 };
    let plan = Plan {
        dims,
        inputs,
        outputs,
        buffers,
        steps: steps.list,
        segments: vec![segment],
        functions: steps.functions,
        ..Plan::default()
    };
    Ok(Planned { plan, weights })
}

/// The plan's number of each buffer of the program: views come after what they are views of.
fn buffer_ids(program: &Program) -> Vec<BufferId> {
    let is_view = |i: &usize| matches!(program.buffers[*i].kind, BufferKind::View { .. });
    let all = 0..program.buffers.len();
    let order = all.clone().filter(|i| !is_view(i)).chain(all.filter(is_view));
    let mut ids = vec![0; program.buffers.len()];
    order.enumerate().for_each(|(id, i)| ids[i] = id as BufferId);
    ids
}

struct Steps {
    list: Vec<Step>,
    functions: Vec<String>,
}

fn steps(launches: &[AscendLaunch], names: &[String], ids: &[BufferId], dims: &mut DimBuilder) -> Steps {
    let mut steps = Steps { list: Vec::new(), functions: Vec::new() };
    for launch in launches {
        let name = &names[launch.function];
        let function = steps.functions.iter().position(|f| f == name).unwrap_or_else(|| {
            steps.functions.push(name.clone());
            steps.functions.len() - 1
        });
        steps.list.push(Step::Code {
            name: launch.location.to_string(),
            function: function as u32,
            buffers: launch.buffers.iter().map(|&b| ids[b as usize]).collect(),
            outer: [dims.constant(1), dims.constant(1)],
            cost_ns: dims.constant(0),
            scratch_bytes: dims.constant(0),
        });
    }
    steps
}

fn buffers(
    program: &Program,
    ids: &[BufferId],
    steps: &[Step],
    dims: &mut DimBuilder,
) -> Result<(Vec<Buffer>, Weights), String> {
    let live = live_ranges(program, ids, steps);
    let (mut list, mut weights) = (vec![None; ids.len()], Vec::new());
    for (buffer, &id) in program.buffers.iter().zip(ids) {
        let size = buffer.ty.dtype.size().unwrap_or(0) as i64;
        let bytes = slot(dims, &(buffer.ty.elements() * Dim::constant(size)))?;
        let place = match &buffer.kind {
            BufferKind::Input(i) => Place::Input(*i),
            BufferKind::Output(i) => Place::Output(*i),
            BufferKind::Constant(value) => {
                weights.push((id, Weight { value: *value, packing: None }));
                Place::Weight { offset: 0 }
            }
            BufferKind::State(_) | BufferKind::NextState(_) => {
                return Err("not supported on Ascend: state buffers".into());
            }
            BufferKind::Temporary => {
                let (first, last) = live[id as usize].unwrap_or((0, 0));
                Place::Arena { first, last }
            }
            BufferKind::View { of, offset } => {
                let offset = slot(dims, &(offset.clone() * Dim::constant(size)))?;
                Place::View { of: ids[*of as usize], offset }
            }
        };
        list[id as usize] = Some(Buffer { bytes, place });
    }
    Ok((list.into_iter().flatten().collect(), weights))
}

fn slot(dims: &mut DimBuilder, dim: &Dim) -> Result<u32, String> {
    dims.slot(dim).map_err(|_| format!("extent `{dim}` is symbolic"))
}

/// First and last step that touches each buffer, directly or through a view.
fn live_ranges(program: &Program, ids: &[BufferId], steps: &[Step]) -> Vec<Option<(u32, u32)>> {
    let mut whole: Vec<BufferId> = (0..ids.len() as u32).collect();
    for (buffer, &id) in program.buffers.iter().zip(ids) {
        if let BufferKind::View { of, .. } = &buffer.kind {
            whole[id as usize] = ids[*of as usize];
        }
    }
    let mut live: Vec<Option<(u32, u32)>> = vec![None; ids.len()];
    for (index, step) in steps.iter().enumerate() {
        let Step::Code { buffers, .. } = step else { continue };
        for &buffer in buffers {
            let range = &mut live[whole[buffer as usize] as usize];
            let first = range.map_or(index as u32, |(first, _)| first);
            *range = Some((first, index as u32));
        }
    }
    live
}

/// Shapes of the buffers of a kind, in the order of their ports.
fn ports(
    program: &Program,
    dims: &mut DimBuilder,
    is_port: impl Fn(&BufferKind) -> bool,
) -> Result<Vec<Vec<u32>>, String> {
    let index = |kind: &BufferKind| match kind {
        BufferKind::Input(i) | BufferKind::Output(i) => *i,
        _ => 0,
    };
    let mut found: Vec<_> = program.buffers.iter().filter(|buffer| is_port(&buffer.kind)).collect();
    found.sort_by_key(|buffer| index(&buffer.kind));
    found.into_iter().map(|buffer| buffer.ty.shape.iter().map(|dim| slot(dims, dim)).collect()).collect()
}
