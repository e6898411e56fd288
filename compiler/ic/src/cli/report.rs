//! `--emit report`: what passes, rules and the search did, the ops that are left, and the bytes that kernels move.

use ic::pipeline::Lowered;
use ic_ir::Graph;
use ic_ir::kernel::{Anchor, BufferId, BufferKind, Kernel, Program, Step, Traffic, traffic};
use ic_passes::Search;
use ic_types::Dim;

/// The report on one model, a fact a line.
pub(super) fn report(lowered: &Lowered) -> String {
    let mut ops = std::collections::BTreeMap::new();
    count_ops(&lowered.graph, &mut ops);
    let passes = lowered.report.passes.iter().map(|(name, nodes)| format!("{name}: {nodes} nodes\n"));
    let rules = lowered.report.rules.iter().map(|(name, hits)| format!("rule {name}: {hits}\n"));
    let ops = ops.into_iter().map(|(name, count)| format!("op {name}: {count}\n"));
    passes.chain(rules).chain(search(&lowered.report)).chain(ops).chain(traffic_lines(&lowered.program)).collect()
}

/// What equality saturation did, and how often the rules that were found changed something.
fn search(report: &ic_passes::Report) -> Vec<String> {
    let Search { stretches, searched, rounds, e_nodes, matches } = &report.search;
    let summary = format!(
        "saturation: {stretches} stretches, {searched} searched, at most {rounds} rounds and {e_nodes} e-nodes\n"
    );
    let of_rule = |(rule, n): (&&str, &usize)| {
        let n_changes = report.rules.get(rule).unwrap_or(&0);
        format!("saturation {rule}: {n} matches, {n_changes} changes\n")
    };
    std::iter::once(summary).chain(matches.iter().map(of_rule)).collect()
}

/// The activations that each kernel reads and writes, and their sum.
fn traffic_lines(program: &Program) -> Vec<String> {
    let mut kernels = Vec::new();
    collect_kernels(&program.steps, &mut kernels);
    let (mut lines, mut total) = (Vec::new(), Dim::constant(0));
    for (kernel, args, location) in kernels {
        let is_activation =
            |param: u32| !matches!(program.buffers[args[param as usize] as usize].kind, BufferKind::Constant(_));
        let Traffic { read, written } = traffic(kernel, &is_activation);
        let word = word(kernel);
        lines.push(format!("kernel {word} {location}: reads {read} bytes of activations, writes {written}\n"));
        total = total + read + written;
    }
    lines.push(format!("activations: {total} bytes read and written\n"));
    lines
}

/// The op that a kernel is of, or the form of a generated one.
fn word(kernel: &Kernel) -> &'static str {
    match kernel.stages.first().map(|stage| &stage.anchor) {
        Some(Anchor::Op { op, .. }) => op.name(),
        _ if kernel.stages.iter().any(|stage| !stage.inner.is_empty()) => "rows",
        _ => "pointwise",
    }
}

fn count_ops(graph: &Graph, ops: &mut std::collections::BTreeMap<&'static str, usize>) {
    for (_, node) in graph.nodes() {
        *ops.entry(node.op.name()).or_default() += 1;
        node.regions.iter().for_each(|region| count_ops(region, ops));
    }
}

/// The kernels of steps in order, branches included, with what they run on and the model's name for them.
pub(super) fn collect_kernels<'p>(steps: &'p [Step], kernels: &mut Vec<(&'p Kernel, &'p [BufferId], &'p str)>) {
    for step in steps {
        match step {
            Step::Kernel { kernel, args, location } => kernels.push((kernel, args, location)),
            Step::Read(_) => {}
            Step::Loop(of) => collect_kernels(&of.body, kernels),
            Step::If { then, otherwise, .. } => {
                collect_kernels(then, kernels);
                collect_kernels(otherwise, kernels);
            }
        }
    }
}
