//! Diagnostics as data: what is wrong, where in the model, what to do. Rendering belongs to the command line.

use std::fmt;
use std::sync::Arc;

/// A place in a model.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Location {
    /// The model file.
    pub file: Arc<str>,
    /// The model's name for the node; empty for the model as a whole.
    pub node: Arc<str>,
}

/// One thing that is wrong with a user's input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// Where.
    pub location: Location,
    /// Facts that explain it.
    pub notes: Vec<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without notes.
    pub fn new(location: Location, message: impl Into<String>) -> Diagnostic {
        Diagnostic { message: message.into(), location, notes: Vec::new(), help: None }
    }

    /// The diagnostic with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}\n  --> {}", self.message, self.location.file)?;
        if !self.location.node.is_empty() {
            write!(f, ":{}", self.location.node)?;
        }
        for note in &self.notes {
            write!(f, "\n   = note: {note}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n   = help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}
