//! The manifest: what an artifact holds, in terms its user knows.

use serde::{Deserialize, Serialize};

/// What an artifact holds.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// `ic` version that wrote it.
    pub producer: String,
    /// Runtime features without which it cannot run. A runtime that lacks one refuses the artifact.
    pub features: Vec<String>,
    /// Entries, see [`callable`](Self::callable); a single model has one that callers see, `main`.
    pub entries: Vec<Entry>,
    /// State buffers that entries share and update in place.
    pub states: Vec<State>,
    /// Targets it holds code for, in order of preference.
    pub targets: Vec<Target>,
    /// This artifact's rank among `world` that run together; 0 of 1 for a whole model.
    pub rank: u32,
    /// Number of artifacts that run together.
    pub world: u32,
    /// The model's `metadata_props`, in their order.
    pub metadata: Vec<(String, String)>,
    /// How the models became what is here.
    pub certificate: Certificate,
    /// Contractions that the model quantizes and that run on floats all the same: their nodes, and why.
    pub float_contractions: Vec<(String, String)>,
}

impl Manifest {
    /// The entries that callers see. Behind them are those that only steps call, whose names begin with `#`.
    pub fn callable(&self) -> &[Entry] {
        let end = self.entries.iter().position(|entry| entry.name.starts_with('#'));
        &self.entries[..end.unwrap_or(self.entries.len())]
    }

    /// Whether the model was compiled with `--fp strict`, so that its results have the same bits on every machine.
    pub fn is_strict(&self) -> bool {
        self.certificate.options.windows(2).any(|option| option == ["--fp", "strict"])
    }
}

/// How models became kernels: with which options, by which rewrite rules, and what each kernel gets wrong.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Certificate {
    /// The options of `ic compile` that decide about kernels, as on its command line.
    pub options: Vec<String>,
    /// How often each rewrite rule changed something, by name.
    pub rules: Vec<(String, u64)>,
    /// The errors of each entry's kernels on seeded random inputs, by the portable kernels, if they were asked for.
    pub kernels: Vec<(String, Vec<KernelError>)>,
}

/// The largest differences between what a kernel computes and its reference evaluation.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct KernelError {
    /// Its number, in the order of steps.
    pub kernel: String,
    /// What it does.
    pub what: String,
    /// Names of the model's nodes that it computes.
    pub nodes: String,
    /// Elements that were compared.
    pub elements: u64,
    /// The largest difference of two elements.
    pub absolute: f64,
    /// The same over the largest magnitude of the reference.
    pub relative: f64,
    /// In numbers that the element type can tell apart; 0 for what are no floats.
    pub ulps: u64,
}

/// One callable entry.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Inputs in declaration order.
    pub inputs: Vec<Port>,
    /// Outputs in declaration order.
    pub outputs: Vec<Port>,
    /// Known ranges of its symbolic dims.
    pub symbols: Vec<SymbolRange>,
    /// The state buffers that it reads or writes.
    pub states: Vec<EntryState>,
}

/// A state buffer as an entry sees it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct EntryState {
    /// Index into [`Manifest::states`].
    pub state: u32,
    /// The model's input that it is; `None` if the entry does not read it.
    pub reads: Option<Port>,
    /// The model's output that it holds then; `None` if the entry does not write it.
    pub writes: Option<Port>,
}

/// An input or output.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Port {
    /// The model's name for it.
    pub name: String,
    /// ONNX element type number.
    pub dtype: u8,
    /// One dimension expression per axis, in text form.
    pub shape: Vec<String>,
}

/// The values that a symbolic dim may take, ends included.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SymbolRange {
    /// The symbol.
    pub name: String,
    /// Smallest extent.
    pub min: i64,
    /// Largest extent.
    pub max: i64,
}

/// A named buffer that outlives a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct State {
    /// Its name.
    pub name: String,
    /// ONNX element type number.
    pub dtype: u8,
    /// Capacity on each axis.
    pub capacity: Vec<i64>,
    /// The axis along which runs append; elements then have the strides of the capacity. Without one, runs replace what
    /// the state holds, and elements are dense.
    pub append_axis: Option<u32>,
}

/// A target that the artifact has code for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Target {
    /// As `--target` spells it: `x86-64-v3`, `aarch64`, `nvptx:sm_80` ….
    pub name: String,
    /// Index of the section with its code.
    pub code_section: u32,
    /// Index of the section with one plan per entry. Targets of one class share it.
    pub plan_section: u32,
    /// CPU features that the code uses, by Rust's `target_feature` names.
    pub cpu_features: Vec<String>,
}
