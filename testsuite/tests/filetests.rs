//! Filetests: graphs in, graphs out.
//!
//! Each file of `filetests/<folder>` holds cases. A file begins with `test pass,pass,…`, the passes that run on every
//! case; a case is a graph, followed by the expected one in `;` comments. `IC_BLESS=1 cargo test --test filetests`
//! writes the expectations. Cases whose name has `_not_` must come out of the last pass as they went in.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use ic_ir::text::{parse, print};
use ic_passes::{Options, PASSES};
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[test]
fn every_graph_is_rewritten_as_its_file_says() {
    let bless = std::env::var_os("IC_BLESS").is_some();
    let mut failures = Vec::new();
    for path in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let actual = run_file(&path, &text, &mut failures);
        if bless {
            std::fs::write(&path, &actual).unwrap();
        } else if actual != text {
            failures.push(format!("{}\n{}", path.display(), first_difference(&text, &actual)));
        }
    }
    assert!(failures.is_empty(), "IC_BLESS=1 regenerates\n{}", failures.join("\n"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.extension() {
            _ if path.is_dir() => found.extend(files(&path)),
            Some(extension) if extension == "ic" => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}

/// The file with its expectations as they should be. Cases that do what no expectation can allow are failures.
fn run_file(path: &Path, text: &str, failures: &mut Vec<String>) -> String {
    let (header, rest) = text.split_once('\n').expect("a filetest begins with `test PASS`");
    let passes = header.strip_prefix("test ").expect("a filetest begins with `test PASS`");
    let mut out = format!("{header}\n");
    for case in cases(rest) {
        let graph = parse(&case).unwrap_or_else(|e| panic!("{}: {e}\n{case}", path.display()));
        let mut result = graph.clone();
        for name in passes.split(',') {
            let pass = PASSES.iter().find(|pass| pass.name == name).unwrap_or_else(|| panic!("no pass {name}"));
            result = (pass.run)(&result, &Options::default()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
        let (before, after) = (print(&graph), print(&result));
        let mut fail = |what: &str| failures.push(format!("{}: @{} {what}:\n{after}", path.display(), graph.name));
        if let Some(problem) = ic_ir::verify(&result).first() {
            fail(&problem.message);
        }
        match (before == after, graph.name.contains("_not_")) {
            (true, false) => fail("did not change"),
            (false, true) => fail("changed"),
            _ => {}
        }
        writeln!(out, "\n{}", case.trim()).unwrap();
        after.lines().for_each(|line| writeln!(out, "; {line}").unwrap());
    }
    out
}

/// The graphs of a file, comments and blank lines aside.
fn cases(text: &str) -> Vec<String> {
    let mut cases: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with(';') && !line.trim().is_empty()) {
        if line.starts_with("graph ") {
            cases.push(String::new());
        }
        let case = cases.last_mut().expect("a case begins with `graph`");
        writeln!(case, "{line}").unwrap();
    }
    cases
}

fn first_difference(expected: &str, actual: &str) -> String {
    let differs = expected.lines().zip(actual.lines()).position(|(a, b)| a != b);
    let line = differs.unwrap_or(expected.lines().count().min(actual.lines().count()));
    let at = |text: &str| text.lines().skip(line.saturating_sub(2)).take(6).collect::<Vec<_>>().join("\n");
    format!("line {}: expected\n{}\nfound\n{}", line + 1, at(expected), at(actual))
}
