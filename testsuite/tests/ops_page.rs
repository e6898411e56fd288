//! `docs/ops.md` against the importer's table: the page has every op of the table, and takes none that is not in it.

use std::collections::BTreeSet;

/// Ops of the page with whether a type is taken, and those without a schema.
fn page_ops(page: &str) -> Vec<(String, bool)> {
    let row = |line: &str| {
        if let Some(name) = line.strip_prefix("- ") {
            return Some((name.to_string(), true));
        }
        let cells: Vec<&str> = line.strip_prefix("| ")?.split(" | ").collect();
        let is_data = cells.get(1)?.parse::<u32>().is_ok();
        is_data.then(|| (cells[0].to_string(), !cells[3].trim().is_empty()))
    };
    page.lines().filter_map(row).collect()
}

#[test]
fn the_page_of_ops_is_the_importers_table() {
    let page = include_str!("../../docs/ops.md");
    let listed = page_ops(page);
    assert!(listed.len() > 300, "{} rows", listed.len());
    let name = |(domain, op): (&str, &str)| if domain.is_empty() { op.to_string() } else { format!("{domain}.{op}") };
    let table: BTreeSet<String> = ic::import::onnx::ops().into_iter().map(name).collect();
    let on_page: BTreeSet<&str> = listed.iter().map(|(name, _)| name.as_str()).collect();
    let missing: Vec<&String> = table.iter().filter(|op| !on_page.contains(op.as_str())).collect();
    assert!(missing.is_empty(), "not on the page, run `cargo xtask ops`: {missing:?}");
    let taken: BTreeSet<&str> = listed.iter().filter(|(_, taken)| *taken).map(|(name, _)| name.as_str()).collect();
    let gone: Vec<&&str> = taken.iter().filter(|op| !table.contains(**op)).collect();
    assert!(gone.is_empty(), "taken on the page and not in the table, run `cargo xtask ops`: {gone:?}");
}
