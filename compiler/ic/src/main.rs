//! The `ic` command: parses the command line, runs it, and turns the outcome into an exit code.
//!
//! Exit codes: 0 ok, 1 user error, 2 internal bug, 130 interrupted.
#![expect(clippy::print_stderr, reason = "the command line reports errors on standard error")]

mod cli;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::interrupt::install();
    std::panic::set_hook(Box::new(|info| {
        eprintln!("internal error: {info}\nthis is a bug in ic; please report it with the model and the command line");
    }));
    let command = cli::args::Cli::parse().command;
    match std::panic::catch_unwind(|| cli::execute(&command)) {
        Err(_) => ExitCode::from(2),
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            cli::report(&error);
            ExitCode::from(1)
        }
    }
}
