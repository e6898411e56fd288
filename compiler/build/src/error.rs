//! Why a model was not compiled.

use std::fmt;
use std::path::PathBuf;

/// Why a model was not compiled. Its `Debug` form is the message, because that is what Cargo shows when `main` of a
/// build script returns it.
#[derive(thiserror::Error)]
pub enum Error {
    /// A variable that Cargo sets for build scripts is missing.
    #[error("{0} is not set: ic-build runs in a build script")]
    Variable(&'static str),
    /// The target has no name in `ic`.
    #[error(
        "ic compiles for x86_64 and aarch64 with the System V calling convention; this build is for {triple}. Where \
         that runs one of ic's targets all the same, name it by `.target(…)`"
    )]
    Target {
        /// Cargo's `TARGET`.
        triple: String,
    },
    /// The model's path cannot be used.
    #[error("{}: {problem}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file cannot be read, written or run.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// There is no `ic` to run.
    #[error(
        "{problem}. Install ic {}, name it in the variable IC, or turn on the feature `compiler` of ic-build",
        env!("CARGO_PKG_VERSION")
    )]
    NoCompiler {
        /// What was found.
        problem: String,
    },
    /// The compiler refused the model.
    #[error("{message}")]
    Compile {
        /// What it says.
        message: String,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
