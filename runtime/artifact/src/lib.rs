//! The `ic` artifact: one file with a manifest, plans, machine code per target and packed weights.
//!
//! What is read from a file is data until it has been checked: lengths are bounded by the file, indices by
//! [`Plan::check`], hashes before use.

#![warn(missing_docs)]

mod ascend;
mod check;
mod check_loops;
mod code;
mod error;
mod format;
mod manifest;
mod plan;
mod read;
#[cfg(feature = "signed")]
mod sign;
mod temporary;
mod write;

pub use ascend::{AscendForm, AscendFunction, AscendSection};
pub use check::{PlanContext, PlanError};
pub use code::{CodeSection, CodeView};
pub use error::ArtifactError;
pub use format::{FORMAT_VERSION, Section, SectionKind, read_identity};
pub use manifest::{Certificate, Entry, EntryState, KernelError, Manifest, Port, State, SymbolRange, Target};
pub use plan::{
    Buffer, BufferId, CallInput, Callback, DimCheck, DimOp, DimSlot, Epilogue, KernelRef, Operand, Place, Plan,
    PlanWork, Segment, StateUse, Step, StepWork, SymbolSource,
};
pub use read::{ArtifactReader, MAX_MANIFEST_BYTES, MAX_PLAN_BYTES};
#[cfg(feature = "signed")]
pub use sign::{PublicKey, SecretKey, sign};
pub use temporary::{TemporaryFile, remove_temporaries};
pub use write::{ArtifactWriter, WeightsWriter};
