//! Which shapes a run's memory has seen, and their launches as graphs.

use super::stream::Graph;
use crate::bind::Binding;
use std::sync::Arc;

/// How many shapes are kept.
const CAPACITY: usize = 64;

/// The shapes seen last, the newest first.
#[derive(Debug, Default)]
pub(super) struct Replays {
    list: Vec<(Arc<Binding>, Option<Graph>)>,
}

/// What is known of a shape.
pub(super) enum Seen<'a> {
    /// Nothing.
    Never,
    /// It has been run.
    Once,
    /// It has been recorded.
    Recorded(&'a Graph),
}

impl Replays {
    /// What is known of a shape, which is the newest from now on.
    pub(super) fn see(&mut self, binding: &Arc<Binding>) -> Seen<'_> {
        let Some(at) = self.list.iter().position(|(known, _)| Arc::ptr_eq(known, binding)) else {
            self.list.truncate(CAPACITY - 1);
            self.list.insert(0, (binding.clone(), None));
            return Seen::Never;
        };
        self.list[..=at].rotate_right(1);
        self.list[0].1.as_ref().map_or(Seen::Once, Seen::Recorded)
    }

    /// The newest shape's launches.
    pub(super) fn record(&mut self, graph: Graph) {
        if let Some((_, recorded)) = self.list.first_mut() {
            *recorded = Some(graph);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.list.clear();
    }
}
