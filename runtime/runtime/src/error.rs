//! Why a model does not load or run.

use ic_artifact::ArtifactError;

/// Why a model does not load or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or mapped.
    #[error("cannot open `{path}`: {source}")]
    Open {
        /// The file.
        path: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The artifact is damaged or of another version.
    #[error("`{origin}`: {source}")]
    Artifact {
        /// Where the artifact came from.
        origin: String,
        /// What is wrong with it.
        source: ArtifactError,
    },
    /// The artifact needs what this runtime does not have.
    #[error("`{origin}` needs {needs}, which runtime {} does not have; it was written by ic {producer}", env!("CARGO_PKG_VERSION"))]
    Unsupported {
        /// Where the artifact came from.
        origin: String,
        /// A feature, kernel or element type.
        needs: String,
        /// Version that wrote it.
        producer: String,
    },
    /// No target in the artifact runs on the device.
    #[error("`{origin}` has no code for this device, {device}: {}", reasons.join("; "))]
    NoTarget {
        /// Where the artifact came from.
        origin: String,
        /// The device.
        device: String,
        /// Each target and why it cannot be used.
        reasons: Vec<String>,
    },
    /// A device or its driver fails.
    #[error("device {device}: {problem}")]
    Device {
        /// The device, as the options name it.
        device: String,
        /// What goes wrong.
        problem: String,
    },
    /// An option cannot be met.
    #[error("{0}")]
    Option(String),
    /// There is no such entry.
    #[error("no entry `{name}`; there are: {}", known.join(", "))]
    Entry {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Inputs do not fit the entry.
    #[error("inputs of entry `{entry}` do not fit:{}", lines(problems))]
    Inputs {
        /// The entry.
        entry: String,
        /// Everything that is wrong.
        problems: Vec<String>,
    },
    /// These shapes cannot be run.
    #[error("entry `{entry}` cannot run on these inputs: {problem}")]
    Shapes {
        /// The entry.
        entry: String,
        /// What goes wrong.
        problem: String,
    },
    /// A state does not hold what a run takes.
    #[error("state `{state}`: {problem}")]
    State {
        /// The state.
        state: String,
        /// What is wrong.
        problem: String,
    },
    /// A state cannot hold what a run would leave in it.
    #[error("state `{state}` is full: it holds up to {capacity} on axis {axis}, this run would leave {needed}")]
    Capacity {
        /// The state.
        state: String,
        /// The axis.
        axis: usize,
        /// The most that it holds.
        capacity: i64,
        /// What the run would leave in it.
        needed: i64,
    },
    /// There is not enough memory.
    #[error("not enough memory for {bytes} bytes of {what}")]
    Memory {
        /// What it is for.
        what: String,
        /// How many.
        bytes: u64,
    },
    /// A kernel refused its data.
    #[error("`{node}` ({kernel}): {problem}")]
    Kernel {
        /// The graph node.
        node: String,
        /// The kernel.
        kernel: String,
        /// Why.
        problem: String,
    },
    /// A tensor's shape does not fit its elements.
    #[error("a tensor of shape {shape:?} does not have {found} elements")]
    Elements {
        /// The shape.
        shape: Vec<usize>,
        /// Number of elements.
        found: usize,
    },
    /// Generated code does not belong to the artifact.
    #[error("the program and its artifact disagree: {0}")]
    Typed(String),
    /// A worker thread cannot be started.
    #[error("cannot start a worker thread: {0}")]
    Thread(std::io::Error),
}

impl Error {
    pub(crate) fn memory(what: &str, bytes: usize) -> Error {
        Error::Memory { what: what.into(), bytes: bytes as u64 }
    }
}

fn lines(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}
