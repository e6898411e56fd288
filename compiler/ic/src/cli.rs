//! The command line: parses it, runs a subcommand, and turns the outcome into an exit code. One file per subcommand.
//!
//! Exit codes: 0 ok, 1 user error, 2 internal bug, 130 interrupted.
#![expect(clippy::print_stderr, reason = "the command line reports errors on standard error")]

mod args;
mod bench;
mod compile;
mod feed;
mod inspect;
mod interrupt;
mod open;
mod opt;
mod output;
mod report;
mod roofline;
mod run;
mod sign;
mod verify;

use anyhow::Result;
use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use output::Say;
use std::ffi::OsString;
use std::process::ExitCode;

/// The `ic` command.
pub fn main() -> ExitCode {
    interrupt::install();
    std::panic::set_hook(Box::new(|info| {
        eprintln!("internal error: {info}\nthis is a bug in ic; please report it with the model and the command line");
    }));
    let command = Cli::parse().command;
    match std::panic::catch_unwind(|| execute(&command)) {
        Err(_) => ExitCode::from(2),
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            report(&error);
            ExitCode::from(1)
        }
    }
}

/// Runs the command line `args` in this process; `args` start with the program's name.
///
/// # Errors
/// If the arguments are not understood, or the command fails.
pub fn run(args: &[OsString]) -> Result<()> {
    execute(&Cli::try_parse_from(args)?.command)
}

/// Runs a subcommand.
fn execute(command: &Command) -> Result<()> {
    let mut say = Say::new();
    let outcome = match command {
        Command::Compile(args) => compile::compile(args, &mut say),
        Command::Run(args) => run::run(args, &mut say),
        Command::Bench(args) => bench::bench(args, &mut say),
        Command::Verify(args) => verify::verify(args, &mut say),
        Command::Inspect(args) => inspect::inspect(args, &mut say),
        Command::Sign(args) => sign::sign(args, &mut say),
        Command::Opt(args) => opt::opt(args, &mut say),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "ic", &mut std::io::stdout());
            Ok(())
        }
        Command::Man => Ok(clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?),
    };
    say.quiet();
    outcome
}

/// Several diagnostics as one error.
fn diagnostics(list: Vec<ic_ir::Diagnostic>) -> anyhow::Error {
    let texts: Vec<String> = list.iter().map(ToString::to_string).collect();
    anyhow::anyhow!(texts.join("\n"))
}

/// Prints an error with its causes.
fn report(error: &anyhow::Error) {
    let text = format!("{error:#}");
    if text.starts_with("error") { eprintln!("{text}") } else { eprintln!("error: {text}") }
}
