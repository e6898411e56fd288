//! What can be wrong with an artifact, or go wrong while one is written.

use crate::PlanError;
use std::path::PathBuf;

/// Why an artifact could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The file system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    File {
        /// What was tried: `create`, `write`, `rename` ….
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A write to something that is not a named file failed.
    #[error("cannot write the artifact: {0}")]
    Write(#[from] std::io::Error),
    /// What was given to the writer cannot be stored.
    #[error("cannot write the artifact: {0}")]
    Invalid(String),
    /// The bytes do not start as an artifact does.
    #[error("not an ic artifact: it does not start with the artifact magic")]
    Magic,
    /// The format is newer or older than this reader.
    #[error("artifact format version {found} is not supported; this version of ic reads version {supported}")]
    Version {
        /// Version in the file.
        found: u32,
        /// Version that is read.
        supported: u32,
    },
    /// The file does not have the length that it states.
    #[error("artifact is truncated or has a tail: its header states {stated} bytes, the file has {found}")]
    Length {
        /// Length in the header.
        stated: u64,
        /// Length of the file.
        found: u64,
    },
    /// A section is damaged.
    #[error("artifact section `{section}` is damaged: {problem}")]
    Damaged {
        /// The section's name, `header` included.
        section: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The artifact does not have the signature that it should have.
    #[error("{0}")]
    Signature(&'static str),
    /// A key cannot be read.
    #[error("{0}")]
    Key(String),
    /// The plan of an entry contradicts itself.
    #[error("plan of entry `{entry}`: {problem}")]
    Plan {
        /// The entry.
        entry: String,
        /// What is wrong.
        problem: PlanError,
    },
}

impl ArtifactError {
    pub(crate) fn damaged(section: impl Into<String>, problem: impl Into<String>) -> ArtifactError {
        ArtifactError::Damaged { section: section.into(), problem: problem.into() }
    }
}
