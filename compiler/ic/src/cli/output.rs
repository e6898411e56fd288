//! What the command line prints: results on standard output, progress and diagnostics on standard error.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Prints results and progress.
pub(crate) struct Say {
    out: Box<dyn Write>,
    progress: Option<ProgressBar>,
}

impl Say {
    /// Results to standard output, progress to standard error if it is a terminal.
    pub(crate) fn new() -> Say {
        let progress = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::new_spinner().with_style(style)
        });
        Say { out: Box::new(std::io::stdout()), progress }
    }

    /// Prints a line of results.
    pub(crate) fn line(&mut self, text: &str) -> Result<()> {
        self.quiet();
        writeln!(self.out, "{text}")?;
        Ok(())
    }

    /// Prints text that ends its own lines.
    pub(crate) fn text(&mut self, text: &str) -> Result<()> {
        self.quiet();
        self.out.write_all(text.as_bytes())?;
        Ok(())
    }

    /// Prints a JSON object on one line.
    pub(crate) fn json(&mut self, value: &serde_json::Value) -> Result<()> {
        self.line(&value.to_string())
    }

    /// Shows what is going on, on a terminal.
    pub(crate) fn phase(&self, what: &str) {
        if let Some(progress) = &self.progress {
            progress.set_message(what.to_string());
            progress.enable_steady_tick(Duration::from_millis(100));
        }
    }

    /// Takes the progress line away.
    pub(crate) fn quiet(&self) {
        if let Some(progress) = &self.progress {
            progress.finish_and_clear();
        }
    }
}
