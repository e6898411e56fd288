//! Opens an artifact and a session on it.

use super::args::SessionArgs;
use anyhow::Result;
use ic_runtime::{LoadOptions, Model, Options, Session};

/// Maps the artifact.
#[expect(unsafe_code, reason = "loading machine code is the point of this command")]
pub(crate) fn open(args: &SessionArgs) -> Result<Model> {
    let mut options = LoadOptions::new().exit_on_truncation();
    if let Some(target) = &args.target {
        options = options.target(target);
    }
    if let Some(device) = &args.device {
        options = options.device(device);
    }
    // SAFETY: the user asks for this artifact to be run and thereby trusts its author, as with any executable.
    Ok(unsafe { Model::load_with(&args.artifact, &options) }?)
}

/// A session on the entry that the arguments name.
pub(crate) fn session(model: &Model, args: &SessionArgs) -> Result<Session> {
    let mut options = Options::new();
    if let Some(threads) = args.threads {
        options = options.threads(threads.max(1));
    }
    if let Some(kernels) = &args.kernels {
        options = options.kernels(kernels);
    }
    Ok(match &args.entry {
        Some(entry) => model.session_entry(entry, &options)?,
        None => model.session(&options)?,
    })
}

/// What runs a session, in words.
pub(crate) fn place(model: &Model, session: &Session) -> String {
    match model.device() {
        "cpu" => format!("{} threads ({}, {} kernels)", session.threads(), model.target(), session.kernels()),
        gpu => format!("{gpu} ({})", model.target()),
    }
}
