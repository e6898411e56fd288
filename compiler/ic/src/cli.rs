//! The subcommands, one file each.

pub(crate) mod args;
mod bench;
mod compile;
mod feed;
mod inspect;
pub(crate) mod interrupt;
mod open;
mod opt;
mod output;
mod run;
mod verify;

use anyhow::Result;
use args::{Cli, Command};
use clap::CommandFactory;
use output::Say;

/// Runs a subcommand.
pub(crate) fn execute(command: &Command) -> Result<()> {
    let mut say = Say::new();
    let outcome = match command {
        Command::Compile(args) => compile::compile(args, &mut say),
        Command::Run(args) => run::run(args, &mut say),
        Command::Bench(args) => bench::bench(args, &mut say),
        Command::Verify(args) => verify::verify(args, &mut say),
        Command::Inspect(args) => inspect::inspect(args, &mut say),
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
pub(crate) fn report(error: &anyhow::Error) {
    let text = format!("{error:#}");
    if text.starts_with("error") { eprintln!("{text}") } else { eprintln!("error: {text}") }
}
