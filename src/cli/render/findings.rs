//! Findings for people, the same in every verb that has some.
//!
//! In: [`Finding`]s, worst first. Out: text of at most some 110 columns, names aside. Never: leaves out one that counts.

use super::plain;
use crate::proof::{Finding, Severity};

/// Columns of running text.
const WIDTH: usize = 110;
/// Harmless findings that are shown one by one; the rest is counted.
const HARMLESS_SHOWN: usize = 20;

/// Text behind a label, later lines under the first.
pub fn wrapped(label: &str, text: &str) -> String {
    let mut lines = String::new();
    let mut line = label.to_owned();
    let indent = label.chars().count();
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines += line.trim_end();
            lines.push('\n');
            line = " ".repeat(indent);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line += word;
        empty = false;
    }
    lines += line.trim_end();
    lines.push('\n');
    lines
}

/// All of them: what counts in full, what is acknowledged or harmless in a line each.
pub fn page(findings: &[Finding]) -> String {
    let mut text = String::new();
    let counts = |finding: &&Finding| finding.severity > Severity::Harmless;
    for finding in findings.iter().filter(counts) {
        let lsn = finding.lsn.map(|lsn| format!(" at {lsn}")).unwrap_or_default();
        text.push('\n');
        text += &wrapped(
            &format!("{} {}  ", finding.severity.word().to_uppercase(), finding.code),
            &plain(&format!("{}{lsn}", finding.object)),
        );
        text += &wrapped("    ", &plain(&finding.what));
        text += &wrapped("    ", &plain(&finding.consequence));
        if !finding.hurts.is_empty() {
            let names: Vec<String> = finding.hurts.iter().take(5).map(ToString::to_string).collect();
            let more = finding.hurts.len().saturating_sub(names.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            text += &wrapped("    hurts  ", &format!("{}{more}", names.join(", ")));
        }
        text += &wrapped("    next   ", &plain(&finding.next));
    }
    let acknowledged: Vec<&Finding> = findings.iter().filter(|one| one.acknowledged.is_some()).collect();
    if !acknowledged.is_empty() {
        text += "\nAcknowledged\n";
        for finding in acknowledged {
            let why = finding.acknowledged.as_deref().unwrap_or_default();
            text += &wrapped(&format!("  {}  ", finding.code), &plain(&format!("{}: {why}", finding.object)));
        }
    }
    let harmless: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Harmless && finding.acknowledged.is_none())
        .collect();
    if !harmless.is_empty() {
        text += "\nHarmless\n";
        for finding in harmless.iter().take(HARMLESS_SHOWN) {
            text +=
                &wrapped(&format!("  {}  ", finding.code), &plain(&format!("{}: {}", finding.object, finding.what)));
        }
        if harmless.len() > HARMLESS_SHOWN {
            text += &format!("  and {} more: --format json has all\n", harmless.len() - HARMLESS_SHOWN);
        }
    }
    text
}
