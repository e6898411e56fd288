//! Takes a caller's inputs: names, element types and ranks on every run, extents when shapes are new.

use crate::Error;
use crate::context::Context;
use ic_artifact::{Entry, Plan, Port};
use ic_kernels::host::Host;
use ic_types::{DType, TensorView};

/// Puts the inputs into the entry's order: their extents into `context.key`, their memory into `context.inputs`.
/// Allocates nothing once the context has seen the entry.
pub(crate) fn take(
    entry: &Entry,
    inputs: &[(&str, TensorView)],
    host: &Host,
    context: &mut Context,
) -> Result<(), Error> {
    context.key.clear();
    context.inputs.clear();
    context.input_handles.clear();
    if inputs.len() != entry.inputs.len() {
        return Err(refuse(entry, problems(entry, inputs)));
    }
    for (index, port) in entry.inputs.iter().enumerate() {
        // Usually the caller keeps the order.
        let same_place = inputs.get(index).filter(|(name, _)| *name == port.name);
        let Some((_, view)) = same_place.or_else(|| inputs.iter().find(|(name, _)| *name == port.name)) else {
            return Err(refuse(entry, problems(entry, inputs)));
        };
        if view.dtype() as u8 != port.dtype || view.shape().len() != port.shape.len() {
            return Err(refuse(entry, problems(entry, inputs)));
        }
        // An extent of a slice in memory fits.
        context.key.extend(view.shape().iter().map(|&extent| extent as i64));
        let memory = if view.dtype().is_handle() { handles(view, host, context) } else { view.data().as_ptr() };
        context.inputs.push(memory);
    }
    Ok(())
}

/// Makes the elements of an input handles of what the run holds, and gives their address.
fn handles(view: &TensorView, host: &Host, context: &mut Context) -> *const u8 {
    let handles = host.handles_of(&view.data().to_owned()).unwrap_or_default();
    let address = handles.as_ptr().cast();
    context.input_handles.push(handles);
    address
}

/// Everything that can be wrong with inputs before extents are looked at. Equal numbers of inputs and ports, each port
/// found, mean that there are neither unknown nor repeated ones.
fn problems(entry: &Entry, inputs: &[(&str, TensorView)]) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, (name, _)) in inputs.iter().enumerate() {
        if !entry.inputs.iter().any(|port| port.name == *name) {
            let known: Vec<&str> = entry.inputs.iter().map(|port| port.name.as_str()).collect();
            problems.push(format!("there is no input `{name}`; the inputs are: {}", known.join(", ")));
        }
        if inputs[..index].iter().any(|(earlier, _)| earlier == name) {
            problems.push(format!("input `{name}` is given twice"));
        }
    }
    for port in &entry.inputs {
        match inputs.iter().find(|(name, _)| *name == port.name) {
            None => problems.push(format!("input `{}` is missing; expected {}", port.name, expected(port))),
            Some((_, view)) => {
                let found = found(view.dtype(), view.shape().iter().map(|&extent| extent as i64));
                if view.dtype() as u8 != port.dtype {
                    problems.push(format!(
                        "input `{}` has the wrong element type: expected {}, found {found}",
                        port.name,
                        expected(port)
                    ));
                } else if view.shape().len() != port.shape.len() {
                    problems.push(format!(
                        "input `{}` has the wrong rank: expected {}, found {found}",
                        port.name,
                        expected(port)
                    ));
                }
            }
        }
    }
    problems
}

/// Checks the extents of all inputs in `key` against the plan's slots, as far as those were evaluated, and the ranges
/// of the entry's symbols.
pub(crate) fn check_extents(entry: &Entry, plan: &Plan, key: &[i64], slots: &[i64]) -> Result<(), Error> {
    let mut problems = Vec::new();
    let mut rest = key;
    for (port, shape) in entry.inputs.iter().zip(&plan.inputs) {
        let (extents, tail) = rest.split_at(shape.len());
        rest = tail;
        let found = found(DType::from_code(port.dtype).unwrap_or(DType::U8), extents.iter().copied());
        for (axis, ((&slot, &extent), text)) in shape.iter().zip(extents).zip(&port.shape).enumerate() {
            let name = &port.name;
            if let Some(&wanted) = slots.get(slot as usize).filter(|&&wanted| wanted != extent) {
                let symbolic = if *text == wanted.to_string() { String::new() } else { format!(" (`{text}`)") };
                problems.push(format!(
                    "input `{name}` has the wrong extent on axis {axis}: expected {wanted}{symbolic}, found {found}"
                ));
            } else if let Some(range) =
                entry.symbols.iter().find(|s| s.name == *text && !(s.min..=s.max).contains(&extent))
            {
                let (min, max) = (range.min, range.max);
                problems.push(format!(
                    "input `{name}` is out of range on axis {axis}: expected `{text}` from {min} to {max}, found {found}"
                ));
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(refuse(entry, problems)) }
}

fn refuse(entry: &Entry, problems: Vec<String>) -> Error {
    Error::Inputs { entry: entry.name.clone(), problems }
}

/// As types are written: `f32[N, 64]`.
fn expected(port: &Port) -> String {
    let dtype = DType::from_code(port.dtype).map_or("unknown", DType::name);
    format!("{dtype}[{}]", port.shape.join(", "))
}

fn found(dtype: DType, extents: impl Iterator<Item = i64>) -> String {
    let extents: Vec<String> = extents.map(|extent| extent.to_string()).collect();
    format!("{dtype}[{}]", extents.join(", "))
}
