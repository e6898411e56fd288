//! `--explain`: by which rules the kernels came about.

use ic::pipeline::{Lowered, Package, Variant};
use ic_ir::kernel::Step;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Every kernel with the model's nodes that it computes, and the chains of rules that changed them, in let-form. Kernels are
/// numbered as `--emit kernels` numbers them.
pub(super) fn explanations(package: &Package) -> String {
    let mut text = String::new();
    for Variant { classes, models } in &package.variants {
        for model in models {
            let classes: Vec<&str> = classes.iter().map(|class| class.name()).collect();
            if package.variants.len() > 1 || models.len() > 1 {
                let _ = writeln!(text, "entry {}, {}:", model.entry, classes.join(" and "));
            }
            explain(model, &mut text);
        }
    }
    text
}

fn explain(model: &Lowered, text: &mut String) {
    let mut chains: BTreeMap<&str, Vec<&Vec<String>>> = BTreeMap::new();
    for (location, lines) in &model.report.explanations {
        chains.entry(location).or_default().push(lines);
    }
    let mut kernels = Vec::new();
    collect(&model.program.steps, &mut kernels);
    for (number, location) in kernels.into_iter().enumerate() {
        let _ = writeln!(text, "k{number:04}: {location}");
        for lines in location.split(" + ").flat_map(|name| chains.get(name).into_iter().flatten()) {
            lines.iter().for_each(|line| {
                let _ = writeln!(text, "    {line}");
            });
        }
    }
}

/// The places in the model of each kernel, in order, branches included.
fn collect<'s>(steps: &'s [Step], found: &mut Vec<&'s str>) {
    for step in steps {
        match step {
            Step::Kernel { location, .. } => found.push(location),
            Step::Read(_) => {}
            Step::Loop(of) => collect(&of.body, found),
            Step::If { then, otherwise, .. } => {
                collect(then, found);
                collect(otherwise, found);
            }
        }
    }
}
