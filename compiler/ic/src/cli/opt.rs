//! `ic opt`: passes over a graph in text form.

use super::args::OptArgs;
use super::output::Say;
use anyhow::{Context, Result, anyhow};
use ic_ir::text;

pub(crate) fn opt(args: &OptArgs, say: &mut Say) -> Result<()> {
    let path = args.file.display();
    let source = std::fs::read_to_string(&args.file).with_context(|| format!("cannot read {path}"))?;
    let mut graph = text::parse(&source).map_err(|e| anyhow!("{path}: {e}"))?;
    for name in &args.passes {
        let pass = ic_passes::PASSES.iter().find(|pass| pass.name == name);
        let known = || ic_passes::PASSES.iter().map(|pass| pass.name).collect::<Vec<_>>().join(", ");
        let pass = pass.with_context(|| format!("no pass `{name}`; there are: {}", known()))?;
        graph = (pass.run)(&graph, &ic_passes::Options::default()).map_err(|e| anyhow!("{path}: {name}: {e}"))?;
    }
    say.text(&text::print(&graph))
}
