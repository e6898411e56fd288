//! Pointwise kernels: one thread per point, or per few neighbours.
//!
//! Schedules are a table; the first that applies is taken. One more is a file beside these and a line in the table.

use super::{Scheduled, ceil_div};
use crate::nvptx::emit::{Emitter, Point};
use crate::nvptx::ptx::{Compare, Instruction, Operand, Special, Ty};
use crate::shared::form::Form;
use ic_types::Dim;
use std::collections::HashMap;

/// A way to walk the points.
pub(crate) struct Schedule {
    /// Its name in functions.
    pub(crate) name: &'static str,
    /// How many neighbours on the last axis a thread computes, if the schedule suits the kernel.
    pub(crate) lanes: fn(&Form, &[bool]) -> Option<usize>,
}

macro_rules! schedules {
    ($($module:ident,)*) => {
        $(mod $module;)*

        /// Every schedule, in order of preference.
        const SCHEDULES: &[Schedule] = &[$($module::SCHEDULE,)*];
    };
}

schedules! {
    vector,
    scalar,
}

/// Threads of a block.
const THREADS: u32 = 256;

/// Generates a kernel without inner axes.
pub(super) fn generate(form: &Form, aligned: &[bool]) -> Result<Scheduled, String> {
    let chosen = SCHEDULES.iter().find_map(|s| Some((s, (s.lanes)(form, aligned)?)));
    let (schedule, lanes) = chosen.ok_or("no pointwise schedule applies")?;
    let mut e = Emitter::new(&form.params, aligned);
    let last = form.outer.len().saturating_sub(1);
    let mut extents = form.outer.clone();
    if let Some(extent) = extents.last_mut() {
        *extent = extent.exact_div(&Dim::constant(lanes as i64)).ok_or("lanes do not divide the last axis")?;
    }
    let total: Dim = extents.iter().cloned().product();
    let (block, thread) = (e.b.special(Special::Block), e.b.special(Special::Thread));
    let number = e.b.fma(Ty::S32, block, i64::from(THREADS), thread);
    let limit = e.dim(&total);
    let end = e.b.label();
    let outside = e.b.compare(Compare::Ge, Ty::U32, number, limit);
    e.b.push(Instruction::Branch { to: end, guard: Some((outside, true)) });
    let mut axes = e.unflatten(number.into(), &extents);
    if let Some(axis) = axes.last_mut() {
        *axis = e.b.mul(*axis, Operand::Int(lanes as i64));
    }
    let point = Point { axes, lane_axis: last, n_lanes: lanes, guards: Vec::new(), stores: None, from: None };
    for pass in &form.passes {
        let values = e.evaluate(pass, &point, &HashMap::new())?;
        e.put_all(pass, &point, &values)?;
    }
    e.b.place(end);
    Ok(Scheduled::new(e, THREADS, ceil_div(&total, THREADS.into()), schedule.name))
}
