//! The verdict as one page for a browser: nothing to load, nothing to run but a clock that says how old the page is.
//!
//! In: [`Report`]. Out: HTML that is whole by itself: light and dark, from 360 pixels wide, for 300 days of WAL below
//! 1 MB. Never: text from the archive as anything but text (escaped, and a policy lets no script but ours run); colour
//! as the only difference between two things.

mod picture;

use super::super::{bytes, plain};
use super::{ago, looked_at};
use crate::commands::audit::Report;
use crate::commands::audit::report::{Backup, State, Window};
use crate::layout::BackupName;
use crate::proof::verdict::{Verdict, at, signed};
use crate::proof::{Finding, Level, Severity};
use jiff::Timestamp;
use std::fmt::{self, Write as _};

const CSS: &str = include_str!("html/page.css");
const JS: &str = include_str!("html/page.js");
/// SHA-256 of [`JS`], base64: the one script that the page's policy lets run.
const JS_HASH: &str = "b2h3FeId6+wJ3KqZGFtrsTaig064j3z1xfsxma7M0sU=";
/// Findings that count, shown in full; JSON has all.
const FINDINGS: usize = 150;
/// Quiet ones.
const QUIET: usize = 100;
/// Rows of the table of windows that are open from the start, and rows in all.
const ROWS: (usize, usize) = (15, 600);

/// Text from anywhere as text of HTML: in elements and in quoted attributes.
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // What turns the direction of text makes one name look like another.
                '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => {
                    f.write_char(char::REPLACEMENT_CHARACTER)?;
                }
                c if c.is_control() && c != '\n' && c != '\t' => f.write_char(char::REPLACEMENT_CHARACTER)?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// The same for sentences of ours: what stands between backticks is code.
fn prose(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in text.split('`').enumerate() {
        // An odd number of backticks leaves the last one open: then it is no code.
        let is_code = index % 2 == 1 && text.split('`').count() > index + 1;
        let tick = if index % 2 == 1 && !is_code { "`" } else { "" };
        let _ = match is_code {
            true => write!(out, "<code>{}</code>", Text(part)),
            false => write!(out, "{tick}{}", Text(part)),
        };
    }
    out
}

fn icon(name: &str) -> String {
    format!("<svg class=\"icon\" viewBox=\"-8 -8 16 16\" aria-hidden=\"true\"><use href=\"#i-{name}\"/></svg>")
}

/// The page.
pub fn render(report: &Report) -> String {
    let word = report.verdict.word();
    let title = format!("{}: {}", word.to_uppercase(), report.archive);
    let mut page = String::with_capacity(64 * 1024);
    // Writing to text does not fail.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'sha256-{JS_HASH}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"generator\" content=\"wal-r {}\">\n<title>{}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n{}<main>\n",
        env!("CARGO_PKG_VERSION"),
        Text(&title),
        icons(),
    );
    head(report, &mut page);
    facts(report, &mut page);
    picture::draw(report, &mut page);
    findings(report, &mut page);
    windows(report, &mut page);
    rests_on(report, &mut page);
    let _ = write!(
        page,
        "</main>\n<footer>Made by wal-r {} with <code>wal-r audit --html</code>. All times are UTC. \
         <code>--format json</code> has everything; <code>wal-r explain CODE</code> explains a code.</footer>\n\
         <script>{JS}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
    );
    page
}

/// Each verdict has a shape of its own.
fn icons() -> String {
    let mark =
        "fill=\"none\" stroke=\"var(--card)\" stroke-width=\"1.8\" stroke-linecap=\"round\" stroke-linejoin=\"round\"";
    let shapes = [
        ("ok", "<circle r=\"8\" fill=\"currentColor\"/>", format!("<path d=\"M-3.6 .3-1.1 2.8 3.7-2.6\" {mark}/>")),
        (
            "critical",
            "<path d=\"M-3.3-8h6.6L8-3.3v6.6L3.3 8h-6.6L-8 3.3v-6.6z\" fill=\"currentColor\"/>",
            format!("<path d=\"M-2.7-2.7 2.7 2.7M2.7-2.7-2.7 2.7\" {mark}/>"),
        ),
        (
            "warning",
            "<path d=\"M0-7.4 8 6.6H-8z\" fill=\"currentColor\" stroke=\"currentColor\" stroke-width=\"1\" stroke-linejoin=\"round\"/>",
            format!("<path d=\"M0-2.6V1.6M0 4.2v.1\" {mark}/>"),
        ),
        (
            "unknown",
            "<rect x=\"-7.2\" y=\"-7.2\" width=\"14.4\" height=\"14.4\" rx=\"3\" fill=\"currentColor\"/>",
            format!("<path d=\"M-2.3-2.2a2.3 2.3 0 1 1 3.4 2C.3.3 0 .7 0 1.5M0 4.2v.1\" {mark}/>"),
        ),
        ("harmless", "<circle r=\"3\" fill=\"currentColor\"/>", String::new()),
        (
            "acknowledged",
            "<path d=\"M-6 0-2 4 6-4\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"2\" stroke-linecap=\"round\" stroke-linejoin=\"round\"/>",
            String::new(),
        ),
    ];
    let mut text =
        "<svg width=\"0\" height=\"0\" aria-hidden=\"true\" focusable=\"false\" display=\"none\"><defs>\n".to_owned();
    for (name, shape, mark) in shapes {
        let _ = writeln!(text, "<g id=\"i-{name}\">{shape}{mark}</g>");
    }
    text + "</defs></svg>\n"
}

fn head(report: &Report, page: &mut String) {
    let word = report.verdict.word();
    let _ = write!(
        page,
        "<header class=\"{word}\">\n<p class=\"archive\">{}</p>\n<h1>{}{}</h1>\n<p class=\"headline\">{}</p>\n\
         <p class=\"when\">Audited <time id=\"began\" datetime=\"{}\">{}</time><span id=\"age\"></span>, in {}.</p>\n\
         <p class=\"old\" id=\"old\" hidden>This page is <span id=\"old-age\"></span> old: it says what was true then.</p>\n",
        Text(&report.archive),
        icon(word),
        match report.verdict {
            Verdict::Ok => "OK",
            Verdict::Warning => "Warning",
            Verdict::Unknown => "Unknown",
            Verdict::Critical => "Critical",
        },
        Text(&capital(&report.headline())),
        report.began,
        at(report.began),
        took(report.took_ms),
    );
    page.push_str("<ul class=\"tally\">\n");
    let counts = &report.counts;
    for (name, count) in [
        ("critical", counts.critical),
        ("unknown", counts.unknown),
        ("warning", counts.warning),
        ("harmless", counts.harmless),
        ("acknowledged", counts.acknowledged),
    ] {
        let class = if count == 0 { "none" } else { name };
        let _ = writeln!(page, "<li class=\"{class}\">{}{count} {name}</li>", icon(name));
    }
    page.push_str("</ul>\n</header>\n");
}

/// A name that may break where people would break it.
fn breakable(name: &BackupName) -> String {
    name.to_string().replace('_', "_<wbr>")
}

fn took(ms: u64) -> String {
    if ms < 60_000 { format!("{:.1} s", ms as f64 / 1000.0) } else { super::super::time(ms / 1000) }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn facts(report: &Report, page: &mut String) {
    if report.cluster.is_none() {
        return;
    }
    let fresh = &report.freshness;
    let now = report.began;
    let unknown = || ("not known".to_owned(), format!("the level {} does not read it", report.level.word()));
    let window = match (fresh.window_start, fresh.window_end) {
        (Some(from), Some(to)) => (signed(to.duration_since(from)), format!("{} to {}", at(from), at(to))),
        _ => unknown(),
    };
    let commit = match fresh.newest_commit {
        Some(commit) => (
            ago(commit.time, now),
            format!("{}, <span class=\"mono\">{}</span> on timeline {}", at(commit.time), commit.lsn, commit.timeline),
        ),
        None => unknown(),
    };
    let nobody = || ("at an unknown time".to_owned(), "the store does not say when".to_owned());
    let segment = match fresh.newest_segment {
        Some(segment) => {
            let (big, small) = segment.stored.map_or_else(nobody, |stored| (ago(stored, now), at(stored)));
            (big, format!("{small}, <span class=\"mono\">{}</span>", segment.name))
        }
        None => ("none".to_owned(), "no WAL is stored".to_owned()),
    };
    let backup = match fresh.newest_backup {
        Some(backup) => {
            let (big, small) = backup.finished.map_or_else(nobody, |finished| (ago(finished, now), at(finished)));
            (big, format!("{small}, <span class=\"mono\">{}</span>", breakable(&backup.name)))
        }
        None => ("none".to_owned(), "no base backup can be restored".to_owned()),
    };
    page.push_str("<dl class=\"facts\">\n");
    for (name, (big, small)) in [
        ("Recoverable without a hole", window),
        ("Newest commit", commit),
        ("Newest segment stored", segment),
        ("Newest base backup", backup),
    ] {
        // Both hold only names that were parsed, and numbers.
        let _ = writeln!(
            page,
            "<div><dt>{name}</dt><dd><div class=\"big\">{big}</div><div class=\"small\">{small}</div></dd></div>"
        );
    }
    page.push_str("</dl>\n");
}

fn findings(report: &Report, page: &mut String) {
    page.push_str("<section>\n<h2>Findings</h2>\n");
    let counting: Vec<&Finding> = report.findings.iter().filter(|one| one.severity > Severity::Harmless).collect();
    for finding in counting.iter().take(FINDINGS) {
        card(finding, page);
    }
    if counting.len() > FINDINGS {
        let _ = writeln!(
            page,
            "<p class=\"soft\">And {} more, which <code>--format json</code> shows.</p>",
            counting.len() - FINDINGS
        );
    }
    if counting.is_empty() {
        let whole = if report.coverage.is_whole() { "" } else { " in what was read" };
        let _ = writeln!(page, "<p class=\"nothing ok\">{}Nothing that counts was found{whole}.</p>", icon("ok"));
    }
    let (acknowledged, harmless): (Vec<&Finding>, Vec<&Finding>) = report
        .findings
        .iter()
        .filter(|one| one.severity == Severity::Harmless)
        .partition(|one| one.acknowledged.is_some());
    quiet("acknowledged", "Acknowledged losses", &acknowledged, true, page);
    quiet("harmless", "Harmless", &harmless, false, page);
    page.push_str("</section>\n");
}

fn card(finding: &Finding, page: &mut String) {
    let word = finding.severity.word();
    let lsn = finding.lsn.map(|lsn| format!(" at {lsn}")).unwrap_or_default();
    let _ = write!(
        page,
        "<article class=\"finding {word}\">\n<h3>{}{} <code>{}</code></h3>\n<p class=\"object\">{}{lsn}</p>\n\
         <p class=\"what\">{}.</p>\n<dl>",
        icon(word),
        capital(word),
        finding.code,
        Text(&finding.object),
        Text(&capital(&finding.what)),
    );
    if !finding.consequence.is_empty() {
        let _ = write!(page, "<dt>Consequence</dt><dd>{}</dd>", prose(&finding.consequence));
    }
    if !finding.hurts.is_empty() {
        let names: Vec<String> =
            finding.hurts.iter().take(5).map(|name| format!("<div><code>{name}</code></div>")).collect();
        let more = finding.hurts.len().saturating_sub(names.len());
        let more = if more > 0 { format!("and {more} more") } else { String::new() };
        let _ = write!(page, "<dt>Hurts</dt><dd>{}{more}</dd>", names.concat());
    }
    let _ = write!(page, "<dt>Next</dt><dd>{}</dd></dl>\n</article>\n", prose(&finding.next));
}

fn quiet(kind: &str, title: &str, findings: &[&Finding], open: bool, page: &mut String) {
    if findings.is_empty() {
        return;
    }
    let open = if open { " open" } else { "" };
    let _ = write!(page, "<details{open}>\n<summary>{title} ({})</summary>\n<ul class=\"quiet\">\n", findings.len());
    for finding in findings.iter().take(QUIET) {
        let why = finding.acknowledged.as_deref().map(|why| format!(" <br>{} {}", icon(kind), Text(why)));
        let _ = writeln!(
            page,
            "<li class=\"{kind}\"><span class=\"mono\">{}</span> <code>{}</code><br>{}{}</li>",
            Text(&finding.object),
            finding.code,
            Text(&capital(&finding.what)),
            why.unwrap_or_default(),
        );
    }
    if findings.len() > QUIET {
        let _ = writeln!(page, "<li class=\"soft\">and {} more</li>", findings.len() - QUIET);
    }
    page.push_str("</ul>\n</details>\n");
}

/// Base backups and where each leads, newest first.
fn windows(report: &Report, page: &mut String) {
    if report.backups.is_empty() {
        return;
    }
    page.push_str("<section>\n<h2>What can be recovered</h2>\n");
    let rows: Vec<String> = report.backups.iter().rev().map(|backup| rows(report, backup)).collect();
    let table = |rows: &[String], page: &mut String| {
        page.push_str(
            "<table>\n<thead><tr><th>Base backup</th><th>State</th><th>From (UTC)</th><th>To (UTC)</th><th>Up to LSN</th></tr></thead>\n<tbody>\n",
        );
        rows.iter().for_each(|row| page.push_str(row));
        page.push_str("</tbody>\n</table>\n");
    };
    let (open, most) = ROWS;
    table(rows.get(..open).unwrap_or(&rows), page);
    if let Some(more) = rows.get(open..).filter(|more| !more.is_empty()) {
        let shown = more.get(..most - open).unwrap_or(more);
        let _ = writeln!(page, "<details>\n<summary>{} older base backups</summary>", more.len());
        table(shown, page);
        if shown.len() < more.len() {
            let _ = writeln!(page, "<p class=\"soft\">and {} more</p>", more.len() - shown.len());
        }
        page.push_str("</details>\n");
    }
    page.push_str("</section>\n");
}

/// The rows of one base backup: a row for each timeline it leads to, the way `latest` takes first.
fn rows(report: &Report, backup: &Backup) -> String {
    let mut of: Vec<&Window> = report.windows.iter().filter(|window| window.backup == backup.name).collect();
    of.sort_by_key(|window| (!window.latest, std::cmp::Reverse(window.timeline)));
    let latest = if backup.latest { " <span class=\"tag\">LATEST</span>" } else { "" };
    let tone = match (backup.state, backup.worst) {
        (State::Damaged, _) => "critical",
        (State::Unknown, _) => "unknown",
        (State::Unfinished, _) => "harmless",
        (State::Usable, Some(worst)) if worst > Severity::Harmless => worst.word(),
        (State::Usable, _) => "ok",
    };
    let name = format!("<td class=\"lead\"><span class=\"mono\">{}</span>{latest}</td>", breakable(&backup.name));
    let state = format!(
        "<td data-label=\"State\"><span class=\"state {tone}\">{}{}</span></td>",
        icon(tone),
        backup.state.word()
    );
    let moment = |time: Option<Timestamp>| {
        let text = time.map_or_else(|| "not known".to_owned(), at);
        format!("<span class=\"time\">{}</span>", text.trim_end_matches(" UTC"))
    };
    let mut text = String::new();
    if of.is_empty() {
        let _ = writeln!(
            text,
            "<tr>{name}{state}<td data-label=\"From\">–</td><td data-label=\"To\">–</td><td data-label=\"Up to LSN\">–</td></tr>"
        );
    }
    for window in of.iter().take(8) {
        let cut = window.cut_short.as_ref().map(|cut| format!("<br><span class=\"soft\">{}</span>", Text(cut)));
        let _ = writeln!(
            text,
            "<tr>{name}{state}<td data-label=\"From\">{}</td><td data-label=\"To\">{}{}</td>\
             <td data-label=\"Up to LSN\"><span><span class=\"mono\">{}</span> on timeline {}</span></td></tr>",
            moment(window.place.begins),
            format_args!("<span>{}", moment(window.place.ends)),
            cut.unwrap_or_default() + "</span>",
            window.place.to,
            window.timeline,
        );
    }
    text
}

/// The level and its claim, what was read, and what was tried.
fn rests_on(report: &Report, page: &mut String) {
    page.push_str("<section class=\"rest\">\n<h2>What this verdict rests on</h2>\n<ol class=\"ladder\">");
    let kept = report.cluster.is_some();
    for level in [Level::Names, Level::Decode, Level::Headers, Level::Records] {
        let held = kept && level <= report.level;
        let mut class = Vec::new();
        class.extend(held.then_some("held"));
        class.extend((held && level < report.level).then_some("joined"));
        class.extend((held && level == report.level).then_some("now"));
        let _ = write!(page, "<li class=\"{}\">{}</li>", class.join(" "), level.word());
    }
    page.push_str("</ol>\n");
    if kept {
        let _ = writeln!(page, "<p>{}</p>\n<p>Looked at: {}.</p>", prose(&report.claim), Text(&looked_at(report)));
        if !report.coverage.is_whole() {
            page.push_str("<p>The claim holds for what was read. Nothing is claimed of the rest but its names.</p>\n");
        }
    } else {
        let _ = writeln!(
            page,
            "<p>The archive could not be read at the level {}: nothing is claimed.</p>",
            report.level.word()
        );
    }
    if let Some(cluster) = &report.cluster {
        let version = cluster.postgresql.as_ref().map(|major| format!("PostgreSQL {major}, ")).unwrap_or_default();
        let system = cluster.system.map(|system| format!("system identifier {system}, ")).unwrap_or_default();
        let _ = writeln!(
            page,
            "<p class=\"soft\">{}{system}segments of {} ({}).</p>",
            Text(&version),
            bytes(cluster.segment_bytes),
            Text(&cluster.segment_bytes_from)
        );
    }
    if let Some(acks) = &report.acknowledgements {
        let _ =
            writeln!(page, "<p class=\"soft\">Acknowledgements: {}, {} entries.</p>", Text(&acks.file), acks.entries);
    }
    page.push_str("<ul class=\"steps\">\n");
    for step in &report.steps {
        let tone = if step.done { "ok" } else { "unknown" };
        let _ = writeln!(
            page,
            "<li class=\"{tone}\">{}<span>{}: <span class=\"soft\">{}</span></span></li>",
            icon(tone),
            Text(&capital(&step.step)),
            Text(&plain(&step.outcome))
        );
    }
    page.push_str("</ul>\n</section>\n");
}

#[cfg(test)]
mod tests;
