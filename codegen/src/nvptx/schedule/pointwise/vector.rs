//! Sixteen bytes per thread: neighbours on the last axis that are neighbours in memory.

use super::Schedule;
use crate::shared::form::{Form, Node};
use crate::nvptx::emit::{is_vector, is_vector_load};
use ic_types::Dim;

pub(super) const SCHEDULE: Schedule = Schedule { name: "vector", lanes };

/// As many lanes as make 16 bytes of the widest element that is stored, at most 8, if they divide the last axis and every store, and at least one
/// load or none, is of neighbours.
fn lanes(form: &Form, aligned: &[bool]) -> Option<usize> {
    let last = form.outer.len().checked_sub(1)?;
    let stored = form.passes.iter().flat_map(|pass| &pass.stores).filter_map(|put| form.params[put.param].size());
    let n = 16 / stored.max()?.clamp(2, 16);
    form.outer[last].exact_div(&Dim::constant(n as i64)).filter(|_| n > 1)?;
    let stores = form.passes.iter().flat_map(|pass| &pass.stores);
    let mut all = stores.map(|put| aligned[put.param] && put.bounds.is_empty() && is_vector(&put.at, last, n));
    let nodes = form.passes.iter().flat_map(|pass| &pass.nodes);
    let loads: Vec<bool> = nodes
        .filter_map(|node| match node {
            Node::Load(get) => Some(aligned[get.param] && is_vector_load(get, last, n)),
            _ => None,
        })
        .collect();
    (all.all(|vector| vector) && (loads.is_empty() || loads.contains(&true))).then_some(n)
}
