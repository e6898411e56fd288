//! What a model has: its target, and name, element type and shape of the inputs and outputs of each entry.
//!
//! Invariant: pointers go into what [`Described`] holds, which never moves or changes while the model lives.

use ic_runtime::Manifest;
use std::ffi::{CString, c_char};

/// An input or output.
#[derive(Debug)]
#[repr(C)]
pub struct Port {
    /// Its name.
    pub name: *const c_char,
    /// Element type: IC_F32 and so on.
    pub dtype: u8,
    /// Number of axes.
    pub rank: usize,
    /// Extent of each axis; -1 where it depends on the inputs.
    pub shape: *const i64,
    /// Each extent as text, such as `4 * N`.
    pub dims: *const *const c_char,
}

/// A callable entry.
#[derive(Debug)]
#[repr(C)]
pub struct Entry {
    /// Its name.
    pub name: *const c_char,
    /// Number of inputs.
    pub n_inputs: usize,
    /// The inputs.
    pub inputs: *const Port,
    /// Number of outputs.
    pub n_outputs: usize,
    /// The outputs.
    pub outputs: *const Port,
}

/// A model.
#[derive(Debug)]
#[repr(C)]
pub struct Description {
    /// The target whose code runs.
    pub target: *const c_char,
    /// Number of entries.
    pub n_entries: usize,
    /// The entries.
    pub entries: *const Entry,
}

/// A description and all that it points to.
#[derive(Debug, Default)]
pub(crate) struct Described {
    texts: Vec<CString>,
    shapes: Vec<Vec<i64>>,
    dims: Vec<Vec<*const c_char>>,
    ports: Vec<Vec<Port>>,
    entries: Vec<Entry>,
    description: Option<Box<Description>>,
}

impl Described {
    pub(crate) fn new(manifest: &Manifest, target: &str) -> Described {
        let mut all = Described::default();
        for entry in manifest.callable() {
            let [inputs, outputs] = [&entry.inputs, &entry.outputs].map(|ports| all.add_ports(ports));
            let name = all.add_text(&entry.name);
            let (n_inputs, n_outputs) = (entry.inputs.len(), entry.outputs.len());
            all.entries.push(Entry { name, n_inputs, inputs, n_outputs, outputs });
        }
        let (target, entries) = (all.add_text(target), all.entries.as_ptr());
        all.description = Some(Box::new(Description { target, n_entries: all.entries.len(), entries }));
        all
    }

    /// The description; it lives as long as this.
    pub(crate) fn get(&self) -> *const Description {
        self.description.as_deref().map_or(std::ptr::null(), std::ptr::from_ref)
    }

    fn add_text(&mut self, text: &str) -> *const c_char {
        // The text is on the heap: it stays where it is when the list grows.
        let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
        let pointer = text.as_ptr();
        self.texts.push(text);
        pointer
    }

    fn add_ports(&mut self, ports: &[ic_runtime::Port]) -> *const Port {
        let mut list = Vec::with_capacity(ports.len());
        for port in ports {
            let dims: Vec<*const c_char> = port.shape.iter().map(|dim| self.add_text(dim)).collect();
            let shape: Vec<i64> = port.shape.iter().map(|dim| dim.parse().unwrap_or(-1)).collect();
            let name = self.add_text(&port.name);
            let (rank, dtype) = (shape.len(), port.dtype);
            list.push(Port { name, dtype, rank, shape: shape.as_ptr(), dims: dims.as_ptr() });
            self.shapes.push(shape);
            self.dims.push(dims);
        }
        let pointer = list.as_ptr();
        self.ports.push(list);
        pointer
    }
}
