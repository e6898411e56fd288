//! Ctrl-C: exit code 130, and no half-written file left behind.

/// Removes unfinished files and exits with 130 on an interrupt or a request to terminate.
pub(crate) fn install() {
    // Without a handler an interrupt ends the process all the same; only clean-up would be missing.
    drop(ctrlc::set_handler(|| {
        ic_artifact::remove_temporaries();
        std::process::exit(130);
    }));
}
