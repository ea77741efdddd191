//! The checks of the house that neither rustc nor clippy make.
//!
//! In: the sources of this tree, as text. Out: one line per violation, `file:line: what, and what to do`.
//! Never: changes a file; needs the tree to compile.
//!
//! - A folder of `src` imports from folders of lower rank only ([`RANKS`]): every `crate::…` and `super::…` path.
//! - The pure folders know no async, files, clock or environment.
//! - Every source file opens with a `//!` header (but for `tests.rs`).
//! - `unsafe` stands in [`UNSAFE`] only, each block below a `// SAFETY:` comment.
//! - The environment is read in `src/cli/config*` only; only `cli` prints.
//! - `expect` says what proved it (`"checked: …"`); no test is ignored; nothing is left to be done by `todo!`.
//! - docs/hazards.md names a test for each hazard, and each test it names exists.
//! - ARCHITECTURE.md names every folder and stays under 200 lines.
//! - No file names a place on the machine it was written on.

mod lexer;
#[cfg(test)]
mod tests;

use crate::shell::{self, Outcome};
use lexer::{Kind, Token, lex};
use std::fmt;
use std::path::{Path, PathBuf};

/// The rank of each folder (or single file) of `src`. A path may lead to a lower rank, or stay in its folder.
const RANKS: &[(&str, u8)] = &[
    ("error", 0),
    ("pg", 1),
    ("layout", 2),
    ("wal", 3),
    ("storage", 3),
    ("codec", 3),
    ("crypt", 3),
    ("locate", 3),
    ("pipeline", 4),
    ("catalog", 5),
    ("backup", 5),
    ("dump", 5),
    ("feed", 6),
    ("proof", 6),
    ("transfer", 6),
    ("commands", 7),
    ("cli", 8),
];

/// Fixtures and faults: may use all below `commands`, and is used by tests only.
const TESTING: &str = "testing";
const TESTING_RANK: u8 = 7;

/// Folders of pure functions: no async, no files, no clock, no environment.
const PURE: &[&str] = &["pg", "layout", "codec", "wal", "locate"];

/// Where a program begins: takes its arguments and environment to `cli`, and gives back the exit code.
const PROGRAMS: &[&str] = &["src/main.rs", "src/bin/wal-r-fetch.rs"];

/// The files that may say `unsafe`.
const UNSAFE: &[&str] = &["src/codec/lzo1x.rs", "src/feed/detach.rs"];

/// Beginnings of paths that exist on one machine only. Split, so that this file does not name them either.
const MACHINE: &[&str] =
    &[concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/tmp/", "brief"), concat!("far", "m-")];

/// `cargo xtask tidy`: print every violation, fail when there is one.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    shell::nothing_else(arguments)?;
    let violations = check_tree(&shell::root())?;
    for violation in &violations {
        println!("{violation}");
    }
    if violations.is_empty() { Ok(()) } else { Err(format!("tidy: {} violations", violations.len())) }
}

/// One thing that is not as the house wants it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    file: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

/// Check every file of the tree.
fn check_tree(root: &Path) -> Outcome<Vec<Violation>> {
    let (mut violations, mut sources) = (Vec::new(), Vec::new());
    for path in shell::files_below(root)? {
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let file = path.strip_prefix(root).unwrap_or(&path);
        violations.extend(check_text(file, &text));
        if file.extension().is_some_and(|extension| extension == "rs") {
            violations.extend(check_source(file, &text));
            sources.push(text);
        }
    }
    if let Ok(page) = std::fs::read_to_string(root.join("ARCHITECTURE.md")) {
        let folders = std::fs::read_dir(root.join("src")).map_err(|why| format!("src: {why}"))?;
        let folders = folders.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned());
        violations.extend(check_architecture(&page, folders));
    }
    if let Ok(page) = std::fs::read_to_string(root.join("docs/hazards.md")) {
        violations.extend(check_hazards(&page, &sources));
    }
    violations.sort();
    Ok(violations)
}

/// docs/hazards.md: each row of its tables names what holds it, and each test or module it names exists.
fn check_hazards(page: &str, sources: &[String]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut note = |line: usize, what: String| {
        violations.push(Violation { file: "docs/hazards.md".into(), line: line + 1, what });
    };
    let exists = |name: &str| {
        let (function, module) = (format!("fn {name}("), format!("mod {name}"));
        sources.iter().any(|source| source.contains(&function) || source.contains(&module))
    };
    for (number, line) in page.lines().enumerate() {
        let Some(held) = line.strip_prefix("| ").and_then(|row| row.trim_end_matches(" |").rsplit(" | ").next()) else {
            continue;
        };
        let names = held.split('`').skip(1).step_by(2).filter(|name| name.contains("::"));
        let mut any = held == "held by" || held == "none" || line.starts_with("|---");
        for name in names {
            any = true;
            if !name.rsplit("::").next().is_some_and(exists) {
                note(number, format!("there is no {name}"));
            }
        }
        if !any {
            note(number, String::from("no test holds this hazard: name one, or say `none` and why"));
        }
    }
    violations
}

/// The page that says where things are says it for every folder, and stays a page.
fn check_architecture(page: &str, folders: impl Iterator<Item = String>) -> Vec<Violation> {
    let note = |line: usize, what: String| Violation { file: "ARCHITECTURE.md".into(), line, what };
    let mut violations = Vec::new();
    let lines = page.lines().count();
    if lines >= 200 {
        violations.push(note(lines, format!("{lines} lines: keep it under 200")));
    }
    for folder in folders.filter(|name| !name.contains('.')) {
        if !page.contains(&format!("| `{folder}` |")) {
            violations.push(note(1, format!("src/{folder} is not in the codemap")));
        }
    }
    violations
}

/// What holds for every text file.
fn check_text(file: &Path, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for place in MACHINE {
            let named = line.match_indices(place).any(|(at, _)| {
                // `src/x/` is a folder of ours; ` /x/` would be one of the machine's.
                !line[..at].ends_with(|before: char| before.is_alphanumeric() || "_-.*/~}".contains(before))
            });
            if named {
                let what = format!("names a place on one machine ({place}…): take it out");
                violations.push(Violation { file: file.into(), line: number + 1, what });
            }
        }
    }
    violations
}

/// What holds for Rust sources.
fn check_source(file: &Path, text: &str) -> Vec<Violation> {
    let mut check = Check { place: Place::of(file), file, violations: Vec::new() };
    // A `tests.rs` is about the module beside it, which has a header.
    if !text.starts_with("//! ") && !file.ends_with("tests.rs") {
        check.note(1, "has no header: open with `//!`: what it does, in, out, never");
    }
    let tokens = lex(text);
    check.words(&tokens, text);
    if check.place.in_src {
        check.paths(&tokens);
    }
    check.violations.dedup();
    check.violations
}

fn is_program(file: &Path) -> bool {
    PROGRAMS.iter().any(|program| file == Path::new(program))
}

/// Where a file stands in the map.
struct Place {
    in_src: bool,
    /// The folder of `src`, or the single file's stem; none for lib.rs and the programs.
    folder: Option<String>,
    /// Module path below the crate root, without inline modules.
    depth: usize,
    /// The whole file is test code.
    test: bool,
}

impl Place {
    fn of(file: &Path) -> Place {
        let parts: Vec<String> = file.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let in_src = parts.first().is_some_and(|first| first == "src");
        let mut modules: Vec<String> = if in_src { parts[1..].to_vec() } else { Vec::new() };
        if let Some(last) = modules.last_mut() {
            *last = last.trim_end_matches(".rs").to_string();
        }
        if modules.last().is_some_and(|last| last == "mod") || modules == ["lib"] {
            modules.pop();
        }
        if is_program(file) {
            modules.clear();
        }
        let outside = !in_src && parts.first().is_none_or(|first| first != "xtask");
        let test = outside || parts.iter().any(|part| part == "tests" || part == "tests.rs" || part == TESTING);
        Place { in_src, folder: modules.first().cloned(), depth: modules.len(), test }
    }
}

struct Check<'a> {
    place: Place,
    file: &'a Path,
    violations: Vec<Violation>,
}

impl Check<'_> {
    fn note(&mut self, line: usize, what: impl Into<String>) {
        self.violations.push(Violation { file: self.file.into(), line, what: what.into() });
    }

    fn is(&self, file: &str) -> bool {
        self.file == Path::new(file)
    }

    /// Words that are allowed in some places only.
    fn words(&mut self, tokens: &[Token], text: &str) {
        let lines: Vec<&str> = text.lines().collect();
        let folder = self.place.folder.clone().unwrap_or_default();
        let pure = self.place.in_src && PURE.contains(&folder.as_str());
        let prints = !self.place.in_src || folder == "cli" || is_program(self.file);
        for (at, token) in tokens.iter().enumerate() {
            let next = tokens.get(at + 1).map_or("", |next| next.text.as_str());
            let before = at.checked_sub(1).and_then(|at| tokens.get(at)).map_or("", |token| token.text.as_str());
            let test = self.place.test || token.in_tests;
            if token.kind != Kind::Word {
                continue;
            }
            match token.text.as_str() {
                "unsafe" if !UNSAFE.iter().any(|allowed| self.is(allowed)) => {
                    self.note(token.line, format!("`unsafe` belongs in {} only", UNSAFE.join(", ")));
                }
                "unsafe" if next == "{" && !explained(&lines, token.line) => {
                    self.note(token.line, "an unsafe block wants a `// SAFETY:` comment above it");
                }
                "todo" | "unimplemented" if next == "!" => {
                    self.note(token.line, format!("`{}!`: finish it", token.text));
                }
                "println" | "print" | "eprintln" | "eprint" if next == "!" && !prints && !test => {
                    self.note(token.line, format!("`{}!`: only `cli` prints", token.text));
                }
                "ignore" if before == "[" && (next == "]" || next == "=") => {
                    self.note(token.line, "an ignored test: assert what holds today and say why");
                }
                "async" | "await" | "tokio" if pure && !test => {
                    self.note(token.line, format!("`{}`: {folder} is pure; the caller does the waiting", token.text));
                }
                "SystemTime" | "Instant" if pure && !test => {
                    self.note(token.line, format!("`{}`: {folder} is pure; the time is handed in", token.text));
                }
                "expect" if before == "." && next == "(" && self.place.in_src && !test => {
                    let said = tokens.get(at + 2).filter(|said| said.kind == Kind::Text);
                    if said.is_some_and(|said| !said.text.starts_with("checked: ")) {
                        self.note(token.line, "`expect` wants \"checked: …\": what proved that it cannot fail");
                    }
                }
                _ => {}
            }
        }
    }

    /// Where paths lead.
    fn paths(&mut self, tokens: &[Token]) {
        for (at, token) in tokens.iter().enumerate() {
            if token.kind != Kind::Word || tokens.get(at + 1).is_none_or(|next| next.text != "::") {
                continue;
            }
            let inner =
                at.checked_sub(1).and_then(|before| tokens.get(before)).is_some_and(|before| before.text == "::");
            if inner {
                continue;
            }
            let test = self.place.test || token.in_tests;
            match token.text.as_str() {
                "crate" => {
                    for path in expand(tokens, at + 2) {
                        self.lead(token.line, &path, test);
                    }
                }
                "super" => {
                    for path in expand(tokens, at) {
                        let ups = path.iter().take_while(|part| *part == "super").count();
                        if ups == self.place.depth + token.inline_depth {
                            self.lead(token.line, &path[ups..], test);
                        }
                    }
                }
                "std" => {
                    for path in expand(tokens, at + 2) {
                        self.lead_std(token.line, &path, test);
                    }
                }
                _ => {}
            }
        }
    }

    /// A path from the crate's root: does its direction hold?
    fn lead(&mut self, line: usize, path: &[String], test: bool) {
        let Some(first) = path.first() else { return };
        // lib.rs names every folder, a program the top one.
        let Some(folder) = self.place.folder.clone() else { return };
        if *first == folder {
            return;
        }
        if first == TESTING {
            if !test {
                self.note(line, "crate::testing is for tests, benches and fuzzing");
            }
            return;
        }
        let Some(own) = rank(&folder) else {
            return self.note(line, format!("src/{folder} has no rank: put it into RANKS and STYLE's map"));
        };
        match rank(first) {
            None => self.note(line, format!("crate::{first} is not on the map")),
            Some(other) if other >= own => {
                let why = if other == own { "its own rank: let a caller above join them" } else { "a higher rank" };
                self.note(line, format!("{folder} (rank {own}) uses crate::{first} (rank {other}), {why}"));
            }
            Some(_) => {}
        }
    }

    /// A path into the standard library: ambient things stay at the edge.
    fn lead_std(&mut self, line: usize, path: &[String], test: bool) {
        let folder = self.place.folder.clone().unwrap_or_default();
        let config = self.file.starts_with("src/cli/config") || self.is("src/cli/config.rs") || is_program(self.file);
        match path.first().map(String::as_str) {
            Some("env") if !config && !test => {
                self.note(line, "std::env: the environment is read in src/cli/config* only");
            }
            Some("fs" | "net" | "process") if PURE.contains(&folder.as_str()) && !test => {
                self.note(line, format!("std::{}: {folder} is pure", path[0]));
            }
            _ => {}
        }
    }
}

fn rank(folder: &str) -> Option<u8> {
    if folder == TESTING {
        return Some(TESTING_RANK);
    }
    RANKS.iter().find(|(name, _)| *name == folder).map(|(_, rank)| *rank)
}

/// Whether a `SAFETY:` comment stands on the line or in the comment right above it.
fn explained(lines: &[&str], line: usize) -> bool {
    let own = lines.get(line - 1).is_some_and(|own| own.contains("// SAFETY:"));
    let mut above = lines.iter().take(line - 1).rev().skip_while(|above| {
        // An expression may begin on the lines above its block: `let n =`.
        let above = above.trim();
        !above.starts_with("//") && above.ends_with('=')
    });
    own || above.by_ref().take_while(|above| above.trim().starts_with("//")).any(|above| above.contains("SAFETY:"))
}

/// Every path of a use tree, or the one path of an expression, from the token on.
fn expand(tokens: &[Token], at: usize) -> Vec<Vec<String>> {
    let mut position = at;
    tree(tokens, &mut position)
}

fn tree(tokens: &[Token], at: &mut usize) -> Vec<Vec<String>> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    if text(*at) == "{" {
        *at += 1;
        let mut paths = Vec::new();
        while *at < tokens.len() && text(*at) != "}" {
            paths.extend(tree(tokens, at));
            if text(*at) == "as" {
                *at += 2;
            }
            if text(*at) == "," {
                *at += 1;
            } else if text(*at) != "}" {
                break;
            }
        }
        *at += 1;
        return paths;
    }
    if tokens.get(*at).is_none_or(|token| token.kind != Kind::Word && token.text != "*") {
        return Vec::new();
    }
    let head = text(*at).to_string();
    *at += 1;
    let goes_on = text(*at) == "::"
        && tokens.get(*at + 1).is_some_and(|next| next.kind == Kind::Word || next.text == "{" || next.text == "*");
    if !goes_on {
        return vec![vec![head]];
    }
    *at += 1;
    tree(tokens, at).into_iter().map(|rest| std::iter::once(head.clone()).chain(rest).collect()).collect()
}
