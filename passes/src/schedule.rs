//! What happens to a program before a target sees it.

mod share_buffers;

pub use share_buffers::share_buffers;
