//! Each check catches what it is for, lets through what it must, and this tree passes all of them.

use super::*;

/// The violations of one source, a line each without its file.
fn violations(file: &str, source: &str) -> Vec<String> {
    let mut found = check_source(Path::new(file), &format!("//! Header.\n{source}"));
    found.extend(check_text(Path::new(file), source));
    found.iter().map(|violation| violation.what.clone()).collect()
}

#[track_caller]
fn caught(file: &str, source: &str, by: &str) {
    let found = violations(file, source);
    assert_eq!(found.len(), 1, "{file}: {source:?} should give one violation, gave {found:?}");
    assert!(found[0].contains(by), "{file}: {source:?} should be caught by {by:?}, was by {:?}", found[0]);
}

#[track_caller]
fn fine(file: &str, source: &str) {
    let found = violations(file, source);
    assert!(found.is_empty(), "{file}: {source:?} should pass, gave {found:?}");
}

#[test]
fn direction_of_imports() {
    // Downward, within the folder, and from the two files at the root.
    fine("src/storage/s3.rs", "use crate::error::Error; use crate::storage::object::ObjectId;");
    fine("src/cli/mod.rs", "use crate::{commands::wal_fetch, pg, error::{Code, Error}};");
    fine("src/lib.rs", "pub use crate::error::Error;");
    fine("src/main.rs", "fn main() { wal_r::cli::run() }");
    fine("src/bin/wal-r-fetch.rs", "fn main() { wal_r::cli::run(std::env::args_os()) }");
    // Upward, sideways, unknown; in every form a path can take.
    caught("src/storage/s3.rs", "use crate::codec::Decode;", "its own rank");
    caught("src/catalog/scan.rs", "use crate::backup::Sentinel;", "its own rank");
    caught("src/pg/lsn.rs", "use crate::cli;", "a higher rank");
    caught("src/error.rs", "use crate::pg::Lsn;", "error (rank 0) uses crate::pg (rank 1)");
    caught("src/layout/mod.rs", "use crate::{error::Error, storage::{Store, memory}};", "crate::storage (rank 3)");
    caught("src/layout/mod.rs", "use crate::{error::{Error, Code as C}, pg as p, wal};", "crate::wal (rank 3)");
    caught("src/pg/lsn.rs", "fn f() -> crate::wal::X { 0 }", "crate::wal");
    caught("src/pg/lsn.rs", "pub(in crate::wal) fn f() {}", "crate::wal");
    caught("src/pg/lsn.rs", "macro_rules! m { () => { $crate::wal::x() } }", "crate::wal");
    caught("src/pg/lsn.rs", "use crate::nowhere::X;", "not on the map");
    caught("src/nowhere/mod.rs", "use crate::pg::Lsn;", "has no rank");
}

#[test]
fn super_that_leaves_the_folder() {
    fine("src/storage/s3.rs", "use super::object::ObjectId;");
    fine("src/storage/mod.rs", "mod tests { use super::codec; }");
    fine("src/storage/s3/tests.rs", "use super::super::retry;");
    caught("src/storage/mod.rs", "use super::codec::Decode;", "its own rank");
    caught("src/storage/s3.rs", "use super::super::codec::Decode;", "its own rank");
    caught("src/storage/mod.rs", "mod tests { fn f() {} } use super::{error, codec};", "its own rank");
}

#[test]
fn comments_and_text_are_no_imports() {
    fine("src/pg/lsn.rs", "// use crate::cli;\n/// See [`crate::cli`].\n/* crate::cli /* crate::cli */ crate::cli */");
    fine("src/pg/lsn.rs", "const A: &str = \"crate::cli \\\" crate::cli\"; const B: &str = r#\"\" crate::cli\"#;");
    fine(
        "src/pg/lsn.rs",
        "const A: char = '\"'; use crate::error::Error; const B: char = '\\''; fn f<'a>(x: &'a str) {}",
    );
    caught("src/pg/lsn.rs", "const A: char = '\"'; use crate::cli::X; const B: char = '\"';", "a higher rank");
    caught("src/pg/lsn.rs", "fn f<'a>() {} use crate::cli::X; fn g<'b>() {}", "a higher rank");
}

#[test]
fn testing_is_for_tests() {
    fine("src/storage/tests.rs", "use crate::testing::contract;");
    fine("src/storage/s3.rs", "mod tests { use crate::testing::contract; }");
    fine("src/testing/forge.rs", "use crate::backup::Sentinel; use crate::feed::mode;");
    caught("src/storage/s3.rs", "use crate::testing::contract;", "for tests");
    caught("src/testing/forge.rs", "use crate::commands::wal_fetch;", "crate::commands (rank 7)");
    // Tests keep the direction too.
    caught("src/storage/tests.rs", "use crate::catalog::scan;", "a higher rank");
}

#[test]
fn pure_folders() {
    caught("src/wal/page.rs", "async fn f() {}", "wal is pure");
    caught("src/codec/lzo.rs", "use std::fs::File;", "codec is pure");
    caught("src/codec/lzo.rs", "use std::{io::Read, fs};", "codec is pure");
    caught("src/pg/lsn.rs", "use std::time::{Duration, Instant};", "pg is pure");
    fine("src/storage/local.rs", "use std::fs::File; async fn f() { x.await }");
    fine("src/codec/tests.rs", "use std::fs::File;");
}

#[test]
fn headers() {
    assert!(check_source(Path::new("src/pg/lsn.rs"), "//! What it is.\n").is_empty());
    assert_eq!(check_source(Path::new("src/pg/lsn.rs"), "use std::fmt;\n").len(), 1);
    assert_eq!(check_source(Path::new("tests/it/x.rs"), "/// Not a header.\n").len(), 1);
}

#[test]
fn unsafe_blocks() {
    caught("src/storage/s3.rs", "fn f() { unsafe { g() } }", "belongs in");
    caught("src/codec/lzo1x.rs", "fn f() { unsafe { g() } }", "SAFETY");
    fine("src/codec/lzo1x.rs", "fn f() {\n    // SAFETY: g is sound\n    // for all x\n    unsafe { g() }\n}");
    fine("src/codec/lzo1x.rs", "fn f() {\n    // SAFETY: g is sound\n    let code =\n        unsafe { g() };\n}");
    fine("src/codec/lzo1x.rs", "unsafe extern \"C\" { fn g(); }\n#![allow(unsafe_code)]");
}

#[test]
fn the_edge() {
    caught("src/storage/s3.rs", "fn f() { std::env::var(\"HOME\"); }", "src/cli/config*");
    caught("src/cli/mod.rs", "use std::{env, fmt};", "src/cli/config*");
    caught("src/bin/other.rs", "use std::env;", "src/cli/config*");
    fine("src/cli/config.rs", "use std::env;");
    fine("src/cli/config/names.rs", "use std::env;");
    fine("src/pg/tests.rs", "const HERE: &str = env!(\"CARGO_MANIFEST_DIR\");");
    caught("src/commands/st.rs", "fn f() { println!(\"x\"); }", "only `cli` prints");
    fine("src/cli/render.rs", "fn f() { println!(\"x\"); }");
}

#[test]
fn words() {
    caught("src/pg/lsn.rs", "fn f() { todo!() }", "finish it");
    caught("tests/it/x.rs", "#[ignore]\nfn f() {}", "ignored");
    caught("tests/it/x.rs", "#[ignore = \"slow\"]\nfn f() {}", "ignored");
    caught("src/pg/lsn.rs", "fn f() { x.expect(\"must be\"); }", "checked: ");
    fine("src/pg/lsn.rs", "fn f() { x.expect(\"checked: split above\"); }");
    fine("src/pg/tests.rs", "fn f() { x.expect(\"a segment\"); }");
}

#[test]
fn places_on_one_machine() {
    for place in [concat!("/ro", "ot/.cargo"), concat!("/wo", "rk/main"), concat!("x=/tmp/", "brief/a")] {
        caught("docs/hazards.md.rs", &format!("// see {place}"), "one machine");
    }
    fine("docs/x.rs", concat!("// src/wo", "rk/mod.rs, target/ro", "ot/x"));
}

#[test]
fn the_architecture_page() {
    let folders = || ["pg", "layout", "lib.rs"].map(String::from).into_iter();
    let page = "| 1 | `pg` | x |\n| 2 | `layout` | x |\n";
    assert!(check_architecture(page, folders()).is_empty());
    assert_eq!(check_architecture("| 1 | `pg` | x |\n", folders()).len(), 1);
    assert_eq!(check_architecture(&page.repeat(100), folders()).len(), 1);
}

#[test]
fn the_page_of_hazards() {
    let sources = [String::from("mod contract;\nfn holds() {}")];
    let check =
        |row: &str| check_hazards(&format!("| hazard | does | held by |\n|---|---|---|\n{row}\n"), &sources).len();
    assert_eq!(check("| it breaks | no | `pg::tests::holds`, `::holds`, `testing::contract` |"), 0);
    assert_eq!(check("| it breaks | not yet | none |"), 0);
    assert_eq!(check("| it breaks | no | trust |"), 1);
    assert_eq!(check("| it breaks | no | `pg::tests::hold` |"), 1);
    assert_eq!(check("| it breaks | no | `pg::tests::holds`, `pg::tests::hold` |"), 1);
}

#[test]
fn this_tree() {
    let violations = check_tree(&shell::root()).expect("the tree can be read");
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "cargo xtask tidy:\n{}", lines.join("\n"));
}
