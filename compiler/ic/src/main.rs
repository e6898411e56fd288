//! The `ic` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ic::cli::main()
}
