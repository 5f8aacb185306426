//! What critest says of each spec.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// How a spec ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Passed,
    Failed,
    /// Needs what this node does not have, by its own words.
    Skipped,
}

/// The specs by their whole names.
pub(crate) type Specs = BTreeMap<String, End>;

/// Reads the report that `-ginkgo.json-report` writes.
pub(crate) fn read(report: &str) -> Result<Specs> {
    let suites: Value = serde_json::from_str(report).context("critest's report")?;
    let reports = suites[0]["SpecReports"].as_array().context("critest's report has no specs")?;
    let specs = reports.iter().filter(|spec| spec["LeafNodeType"] == "It");
    Ok(specs.map(|spec| (name(spec), end(spec))).collect())
}

fn name(spec: &Value) -> String {
    let above = spec["ContainerHierarchyTexts"].as_array().into_iter().flatten();
    let words: Vec<_> = above.chain([&spec["LeafNodeText"]]).filter_map(Value::as_str).collect();
    words.join(" ")
}

fn end(spec: &Value) -> End {
    match spec["State"].as_str() {
        Some("passed") => End::Passed,
        Some("skipped" | "pending") => End::Skipped,
        _ => End::Failed,
    }
}

/// Those that passed at first and do not now.
pub(crate) fn lost<'a>(unguarded: &'a Specs, guarded: &Specs) -> Vec<&'a str> {
    let passed = unguarded.iter().filter(|(_, end)| **end == End::Passed);
    passed.map(|(name, _)| name.as_str()).filter(|name| guarded.get(*name) != Some(&End::Passed)).collect()
}

/// So many ended so.
pub(crate) fn count(specs: &Specs, end: End) -> usize {
    specs.values().filter(|one| **one == end).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(report: &str) -> Specs {
        read(report).unwrap_or_default()
    }

    #[test]
    fn a_spec_that_did_not_run_is_lost() {
        let unguarded = specs(
            r#"[{"SpecReports":[
                {"LeafNodeType":"BeforeSuite","LeafNodeText":"","State":"passed"},
                {"LeafNodeType":"It","ContainerHierarchyTexts":["a","b"],"LeafNodeText":"c","State":"passed"},
                {"LeafNodeType":"It","ContainerHierarchyTexts":null,"LeafNodeText":"d","State":"passed"},
                {"LeafNodeType":"It","ContainerHierarchyTexts":null,"LeafNodeText":"e","State":"panicked"},
                {"LeafNodeType":"It","ContainerHierarchyTexts":null,"LeafNodeText":"f","State":"pending"}]}]"#,
        );
        let guarded = specs(
            r#"[{"SpecReports":[{"LeafNodeType":"It","ContainerHierarchyTexts":null,"LeafNodeText":"d","State":"passed"}]}]"#,
        );
        assert_eq!(unguarded.len(), 4);
        assert_eq!(count(&unguarded, End::Failed), 1);
        assert_eq!(lost(&unguarded, &guarded), ["a b c"]);
    }
}
