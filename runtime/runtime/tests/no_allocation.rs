//! `run_into` allocates nothing on a shape already seen.
#![expect(unsafe_code, reason = "counts allocations, and loads an artifact that the test has made")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[path = "it/common.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod common;

use common::*;
use ic_runtime::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let bytes = artifact(vec![sum(), dense(), prefix()], vec![], &dense_weights());
    // SAFETY: the test has made the artifact.
    let model = unsafe { Model::from_bytes(&bytes, &LoadOptions::new()) }.unwrap();
    let session = model.session(&Options::new().threads(2)).unwrap();
    let (dense, prefix) = (session.sibling("dense").unwrap(), session.sibling("prefix").unwrap());
    let vectors = [10, 1000, 0, 300].map(|n| Tensor::from_elements(vec![n], vec![1.0f32; n]));
    let matrices = [1, 5].map(|n| Tensor::from_elements(vec![n, 3], vec![1.0f32; 3 * n]));
    let counts = [3i64, 9, 0].map(Tensor::scalar);
    let mut outputs = [Outputs::new(), Outputs::new(), Outputs::new()];
    let mut run_all = || {
        for vector in &vectors {
            session.run_into(&[("a", vector.view()), ("b", vector.view())], &mut outputs[0]).unwrap();
        }
        for matrix in &matrices {
            dense.run_into(&[("x", matrix.view())], &mut outputs[1]).unwrap();
        }
        for count in &counts {
            prefix.run_into(&[("x", vectors[0].view()), ("n", count.view())], &mut outputs[2]).unwrap();
        }
    };
    run_all();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..10 {
        run_all();
    }
    let n_allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(n_allocations, 0, "allocations on shapes already seen");
}
