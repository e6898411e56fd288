//! Which rewrite rules change something in real models, and why there are others.

use anyhow::{Context, Result, ensure};
use ic::pipeline::{Options, Source, lower};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A line for each rule that no model of the catalogue needs: its name, a colon, and what it is for.
const REASONS: &str = include_str!("rules/unfired.txt");

/// How often a rule changed something, and what it is for if the models at hand need not show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The rule.
    pub rule: &'static str,
    /// Changes in all models.
    pub n_changes: usize,
    /// Models in which it changed something.
    pub n_models: usize,
    /// What it is for, if it is listed.
    pub reason: Option<&'static str>,
}

/// The rules that are listed, with what they are for.
///
/// # Errors
/// If the list is malformed or names a rule that there is not.
pub fn reasons() -> Result<BTreeMap<&'static str, &'static str>> {
    let rules = ic_passes::rule_names();
    let reason = |line: &'static str| {
        let (rule, reason) = line.split_once(": ").with_context(|| format!("`{line}`: expected RULE: REASON"))?;
        ensure!(rules.contains(&rule), "there is no rule `{rule}`");
        ensure!(!reason.trim().is_empty(), "`{rule}` has no reason");
        Ok((rule, reason))
    };
    REASONS.lines().map(reason).collect()
}

/// Every rule with what it did in these models. A model that does not compile is an error.
///
/// # Errors
/// If a model does not compile, or the list of reasons is wrong.
pub fn count(models: &[PathBuf]) -> Result<Vec<Row>> {
    let reasons = reasons()?;
    let row = |rule| Row { rule, n_changes: 0, n_models: 0, reason: reasons.get(rule).copied() };
    let mut rows: Vec<Row> = ic_passes::rule_names().into_iter().map(row).collect();
    for path in models {
        let package = lower(&[Source::main(path)], &Options::default(), &mut |_| (), &mut |_, _| ())
            .with_context(|| path.display().to_string())?;
        let report = &package.models()[0].report;
        for row in &mut rows {
            let n_changes = report.rules.get(row.rule).copied().unwrap_or(0);
            row.n_changes += n_changes;
            row.n_models += usize::from(n_changes > 0);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_rules_exist_and_have_reasons() {
        assert!(reasons().is_ok(), "{:?}", reasons());
    }
}
