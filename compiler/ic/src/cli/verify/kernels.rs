//! `--per-kernel`: what each kernel gets wrong.

use super::super::args::{Cli, Command, VerifyArgs};
use super::super::{compile, diagnostics};
use super::in_order;
use anyhow::{Result, bail};
use clap::Parser;
use ic::import::{ImportOptions, import};
use ic::watch::{Watched, kernel_errors};
use ic_artifact::KernelError;
use ic_runtime::Model;
use ic_types::Tensor;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// Compiles the model in `file` with the options in the artifact's certificate, and measures its kernels on `fed`.
pub(super) fn watch(model: &Model, file: &Path, fed: &[(String, Tensor)], args: &VerifyArgs) -> Result<Watched> {
    let flags = &model.manifest().certificate.options;
    if flags.iter().any(|flag| flag == "--calibration-method") {
        bail!("not supported: `--per-kernel` of artifacts that were quantized by calibration");
    }
    let command = ["ic", "compile", "MODEL"].into_iter().chain(flags.iter().map(String::as_str));
    let Command::Compile(compile) = Cli::try_parse_from(command)?.command else { bail!("the certificate is damaged") };
    let options = compile::options(&compile)?;
    let import_options = ImportOptions { dims_of_others: true, ..options.import.clone() };
    let imported = import(file, &import_options).map_err(diagnostics)?;
    let inputs = in_order(&imported.graph, fed)?;
    Ok(kernel_errors(&imported, &options, &inputs, args.session.kernels.as_deref())?)
}

/// One line for each kernel.
pub(super) fn table(watched: &Watched) -> String {
    let mut text = format!("{:<6} {:>9} {:>9} {:>6}  {:<24} nodes\n", "kernel", "abs", "rel", "ulps", "what");
    for KernelError { kernel, what, nodes, absolute, relative, ulps, .. } in &watched.kernels {
        let _ = writeln!(text, "{kernel:<6} {absolute:>9.2e} {relative:>9.2e} {ulps:>6}  {what:<24} {nodes}");
    }
    if watched.n_left > 0 {
        let _ = writeln!(
            text,
            "not measured: {} kernels in branches and loops, or of values that are no numbers",
            watched.n_left
        );
    }
    text
}

/// The same for programs.
pub(super) fn json(watched: &Watched) -> Value {
    let kernels = watched.kernels.iter().map(|kernel| {
        json!({
            "kernel": kernel.kernel,
            "what": kernel.what,
            "nodes": kernel.nodes,
            "elements": kernel.elements,
            "max_abs": kernel.absolute,
            "max_rel": kernel.relative,
            "max_ulps": kernel.ulps,
        })
    });
    json!({ "measured": kernels.collect::<Vec<_>>(), "not_measured": watched.n_left })
}
