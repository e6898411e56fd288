//! What was prepared for the shapes used last.

use crate::bind::Binding;
use std::sync::Arc;

/// The most recently used bindings, the newest first.
#[derive(Debug)]
pub(crate) struct BindingCache {
    entries: Vec<(u32, Box<[i64]>, Arc<Binding>)>,
    capacity: usize,
}

impl BindingCache {
    pub(crate) fn new(capacity: usize) -> BindingCache {
        BindingCache { entries: Vec::new(), capacity }
    }

    /// The binding of `segment` for the extents and data-dependent values `key`. Allocates nothing.
    pub(crate) fn get(&mut self, segment: u32, key: &[i64]) -> Option<Arc<Binding>> {
        let at = self.entries.iter().position(|(s, k, _)| *s == segment && **k == *key)?;
        self.entries[..=at].rotate_right(1);
        Some(self.entries[0].2.clone())
    }

    /// The binding of `segment` that was used last.
    pub(crate) fn latest(&self, segment: u32) -> Option<Arc<Binding>> {
        self.entries.iter().find(|(s, ..)| *s == segment).map(|(.., binding)| binding.clone())
    }

    /// Adds a binding; the one that was not used for longest goes.
    pub(crate) fn insert(&mut self, segment: u32, key: &[i64], binding: Arc<Binding>) {
        self.entries.truncate(self.capacity.saturating_sub(1));
        self.entries.insert(0, (segment, key.into(), binding));
    }
}
