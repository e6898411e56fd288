//! Results of a run, as C sees them.

use crate::Tensor;
use std::ffi::CString;

/// Results of a run, in the entry's order.
#[derive(Debug)]
#[repr(C)]
pub struct Outputs {
    /// What `ic_free` goes by.
    pub kind: u64,
    /// Number of results.
    pub len: usize,
    /// The results.
    pub tensors: *const Tensor,
}

/// `Outputs::kind` of results.
pub(crate) const KIND: u64 = u64::from_le_bytes(*b"ic outpt");

/// Results with their memory. The part that C sees comes first, so that their addresses are equal.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Results {
    public: Outputs,
    pub(crate) outputs: ic_runtime::Outputs,
    names: Vec<CString>,
    shapes: Vec<Vec<i64>>,
    tensors: Vec<Tensor>,
}

impl Results {
    pub(crate) fn new() -> Results {
        let public = Outputs { kind: KIND, len: 0, tensors: std::ptr::null() };
        let outputs = ic_runtime::Outputs::new();
        Results { public, outputs, names: Vec::new(), shapes: Vec::new(), tensors: Vec::new() }
    }

    /// Describes `outputs`, which have changed.
    pub(crate) fn describe(&mut self) {
        let Results { public, outputs, names, shapes, tensors } = self;
        names.clear();
        shapes.clear();
        tensors.clear();
        for (name, result) in outputs.iter() {
            let name = CString::new(name.replace('\0', " ")).unwrap_or_default();
            let shape: Vec<i64> = result.shape().iter().map(|&extent| extent as i64).collect();
            // Strings and objects have no form in C.
            let bytes = if result.dtype().is_handle() { None } else { result.dtype().size() };
            tensors.push(Tensor {
                name: name.as_ptr(),
                dtype: result.dtype() as u8,
                rank: shape.len(),
                shape: shape.as_ptr(),
                data: bytes.map_or(std::ptr::null(), |_| result.data().as_ref().as_ptr().cast()),
                bytes: bytes.map_or(0, |size| result.len() * size),
            });
            // Names and extents are on the heap: they stay where they are.
            names.push(name);
            shapes.push(shape);
        }
        (public.len, public.tensors) = (tensors.len(), tensors.as_ptr());
    }

    /// Forgets what the last run gave; its memory is kept.
    pub(crate) fn clear(&mut self) {
        self.tensors.clear();
        (self.public.len, self.public.tensors) = (0, std::ptr::null());
    }
}
