//! What is written from the code: docs/{commands,configuration,errors,findings}.md, man pages, shell completions.
//!
//! In: the clap definition, the tables of settings, codes and exit codes. Out: text, and with [`generate`] files.
//! Never: anything that is not in the code; the tests hold docs/ against it (`WALR_UPDATE=1` writes it anew).

use super::args;
use super::config::{Setting, settings};
use super::exit::{self, Asker};
use crate::error::{Answer, Code, Error};
use crate::proof::FindingCode;
use clap_complete::{Shell, generate as completion};
use std::fs;
use std::io;
use std::path::Path;

/// Lines of help are wrapped here, wherever it is generated.
const WIDTH: usize = 100;

/// The pages of docs/ that are generated: name and text.
pub fn pages() -> [(&'static str, String); 4] {
    [
        ("commands.md", commands()),
        ("configuration.md", configuration()),
        ("errors.md", errors()),
        ("findings.md", findings()),
    ]
}

/// Write the pages, `man/` and `completions/` into a directory.
pub fn generate(directory: &Path) -> Answer<()> {
    let failed =
        |path: &Path, error: io::Error| Error::new(Code::LocalIo, "cannot write").on(path.display()).because(error);
    let make = |path: &Path| fs::create_dir_all(path).map_err(|error| failed(path, error));
    make(directory)?;
    for (name, text) in pages() {
        let path = directory.join(name);
        fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    let man = directory.join("man");
    make(&man)?;
    clap_mangen::generate_to(command(), &man).map_err(|error| failed(&man, error))?;
    let completions = directory.join("completions");
    make(&completions)?;
    for (shell, name) in [(Shell::Bash, "wal-r.bash"), (Shell::Zsh, "_wal-r"), (Shell::Fish, "wal-r.fish")] {
        let mut text = Vec::new();
        completion(shell, &mut command(), "wal-r", &mut text);
        let path = completions.join(name);
        fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// The command line without what it hides, at a fixed width.
fn command() -> clap::Command {
    fn shown(command: clap::Command) -> clap::Command {
        let hidden = |command: &clap::Command| command.get_subcommands().any(clap::Command::is_hide_set);
        if !hidden(&command) {
            return command.mut_subcommands(shown);
        }
        // Made anew without them: clap cannot take a subcommand out.
        let kept: Vec<clap::Command> =
            command.get_subcommands().filter(|one| !one.is_hide_set()).cloned().map(shown).collect();
        clap::Command::new("wal-r")
            .bin_name("wal-r")
            .version(env!("CARGO_PKG_VERSION"))
            .about(command.get_about().cloned().unwrap_or_default())
            .after_help(command.get_after_help().cloned().unwrap_or_default())
            .subcommand_required(true)
            .args(command.get_arguments())
            .subcommands(kept)
    }
    shown(args::command()).term_width(WIDTH)
}

fn commands() -> String {
    let mut text = String::from(
        "# Commands\n\nWritten from the program's own help (`WALR_UPDATE=1 cargo test docs`): do not edit.\n\
         Flags under \"Everywhere\" stand before or behind the name of any command; they are shown once.\n\
         Every setting is also a flag, as in WAL-G: see [configuration](configuration.md).\n",
    );
    let mut command = command();
    command.build();
    command_page(&mut command, &mut text);
    text
}

fn command_page(command: &mut clap::Command, text: &mut String) {
    let name = command.get_bin_name().unwrap_or("wal-r").to_owned();
    let is_root = !name.contains(' ');
    let mut page = command.clone();
    if !is_root {
        // The same in every command.
        page = page.mut_args(|argument| {
            let everywhere = argument.get_help_heading() == Some(args::EVERYWHERE);
            argument.hide(everywhere)
        });
    }
    let help = page.render_long_help().to_string();
    let help: String = help.trim_end().lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    text.push_str(&format!("\n## {name}\n\n```text\n{help}```\n"));
    for inner in command.get_subcommands_mut() {
        if inner.get_name() != "help" && !inner.is_hide_set() {
            command_page(inner, text);
        }
    }
}

fn configuration() -> String {
    let mut text = String::from(
        "# Configuration\n\nWritten from the program's table of settings (`WALR_UPDATE=1 cargo test docs`): do not edit.\n\
         `wal-r config explain NAME` shows a line of it, `wal-r config check` what holds now and where it comes from.\n\n\
         Flags win over `--envdir`, that over the environment, that over the settings file: `--config`,\n\
         `WALG_CONFIG_PATH`, else `~/.walg.json`, `.yaml`, `.yml`, `.toml`, `.env`. The file is JSON, YAML or lines of\n\
         `NAME=value`. An empty value is none.\n\n\
         Every name also works with `WALG_` or `WALE_` before it (or instead of the one it has), and as a flag:\n\
         `WALG_S3_PREFIX` is `--walg-s3-prefix`. WAL-E's own flags (`--s3-prefix`, `--file-prefix`, `--wabs-prefix`,\n\
         `--gs-prefix`, `-k`, `-a`, `--gpg-key-id`, `--terse`) are understood. Of several prefixes `--prefix` wins; else\n\
         WAL-G's order decides where a `WALG_` name is among them (oss, s3, file, gs, az, swift, ssh), and WAL-E's where\n\
         none is (file, gs, s3, swift, wabs). `wal-r config check` says which one counts.\n",
    );
    let mut section = |title: &str, which: &dyn Fn(&Setting) -> bool| {
        text.push_str(&format!(
            "\n## {title}\n\n| setting | also | meaning | takes | default | read by |\n|---|---|---|---|---|---|\n"
        ));
        for setting in settings::ALL.iter().filter(|setting| which(setting)) {
            let also: Vec<String> = setting.twins.iter().map(|twin| format!("`{twin}`")).collect();
            let cells = [
                format!("`{}`", setting.name),
                also.join(", "),
                setting.meaning.to_owned(),
                setting.kind.takes(),
                setting.default.to_owned(),
                setting.read.text(),
            ];
            text.push_str(&format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")));
        }
    };
    section("Read today", &|setting| setting.read.counts());
    section("Recognised", &|setting| !setting.read.counts());
    text
}

fn errors() -> String {
    let mut text = String::from(
        "# Errors and exit codes\n\n\
         Written from the program's own tables (`WALR_UPDATE=1 cargo test docs`): do not edit.\n\
         `wal-r explain CODE` shows one of them. Codes are an API: scripts may match them.\n\n\
         PostgreSQL takes 1 to 125 from a restore_command as \"not in the archive\" and ends recovery there; above 125 it\n\
         stops. A standby asks again after 1 to 125 and goes down above. So wal-fetch has two columns; all else ends with\n\
         the numbers of `sysexits.h`. Audits end with 0 (ok), 1 (warning), 2 (critical) or 3 (could not complete).\n\n\
         | code | wal-fetch, point in time | wal-fetch, standby or a person | other commands |\n|---|---|---|---|\n",
    );
    for code in Code::ALL {
        let fetch = |asker| exit::wal_fetch(*code, asker, exit::ABSENT);
        text.push_str(&format!(
            "| [`{code}`](#{}) | {} | {} | {} |\n",
            code.as_str().replace('.', ""),
            fetch(Asker::PointInTime),
            fetch(Asker::Patient),
            exit::sysexit(*code)
        ));
    }
    for code in Code::ALL {
        let page = code.explain();
        text.push_str(&format!("\n## {code}\n\n{}\n\n{}\n", page.meaning, page.next));
    }
    text
}

fn findings() -> String {
    let mut text = String::from(
        "# Findings\n\n\
         Written from the program's own table (`WALR_UPDATE=1 cargo test docs`): do not edit.\n\
         What `audit`, `wal-verify` and `backup-verify` find in an archive. `wal-r explain CODE` shows one of them. Codes are\n\
         an API: scripts and acknowledgements may match them.\n\n\
         How bad a finding is depends on whom it hurts, not on its code:\n\n\
         | severity | it means | exit code |\n|---|---|---|\n\
         | critical | recovery from the newest usable base backup to the newest state ends early, or no base backup is usable | 2 |\n\
         | unknown | something could not be looked at, and somebody needs it | 3 |\n\
         | warning | only older base backups, or ways that are not the main line, need it; or it will break something soon | 1 |\n\
         | harmless | nobody needs it, or it is acknowledged | 0 |\n",
    );
    for code in FindingCode::ALL {
        text.push_str(&format!("\n## {code}\n\n{}\n\n{}\n", code.meaning(), code.next()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn docs() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
    }

    #[test]
    fn docs_are_what_the_code_says() {
        for (name, text) in pages() {
            let path = docs().join(name);
            if std::env::var_os("WALR_UPDATE").is_some() {
                fs::create_dir_all(docs()).unwrap();
                fs::write(&path, &text).unwrap();
            }
            let there = fs::read_to_string(&path).unwrap_or_default();
            let stale = there.lines().zip(text.lines()).find(|(there, new)| there != new);
            assert!(there == text, "docs/{name} is stale: WALR_UPDATE=1 cargo test docs; first difference: {stale:?}");
        }
    }

    #[test]
    fn what_is_generated_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        generate(directory.path()).unwrap();
        for file in ["man/wal-r.1", "man/wal-r-st-ls.1", "completions/_wal-r", "completions/wal-r.bash", "errors.md"] {
            let text =
                fs::read_to_string(directory.path().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(text.len() > 200, "{file}: {text}");
            assert!(!text.contains("generate-docs"), "{file} shows what is hidden");
        }
    }

    #[test]
    fn every_verb_shows_how_it_is_used() {
        fn look(command: &clap::Command, name: &str) {
            let inner: Vec<_> = command.get_subcommands().filter(|one| !one.is_hide_set()).collect();
            if inner.is_empty() {
                let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(after.contains("Examples:\n"), "{name} has no examples");
                for line in after.lines().filter(|line| line.trim_start().starts_with("wal-r ")) {
                    let words = line.split("  ").find(|part| !part.is_empty()).unwrap_or_default();
                    let words = words.split(" #").next().unwrap_or_default();
                    let argv = words.split_whitespace().map(std::ffi::OsString::from).collect();
                    let (rest, _) = args::settings::take(argv, &[]).unwrap();
                    let parsed = args::command().try_get_matches_from(&rest);
                    assert!(parsed.is_ok(), "{name}: its example does not parse: {words}");
                }
            }
            for one in inner {
                look(one, &format!("{name} {}", one.get_name()));
            }
        }
        look(&args::command(), "wal-r");
    }

    /// Flags of other programs that docs may name.
    const FOREIGN: &[&str] = &["--now", "--require-all"];

    #[test]
    fn every_flag_that_docs_name_exists() {
        fn longs(command: &clap::Command, known: &mut BTreeSet<String>) {
            known.extend(command.get_arguments().filter_map(|one| Some(format!("--{}", one.get_long()?))));
            command.get_subcommands().for_each(|one| longs(one, known));
        }
        let mut known: BTreeSet<String> = FOREIGN.iter().map(|&flag| flag.to_owned()).collect();
        let mut command = args::command();
        command.build();
        longs(&command, &mut known);
        known.extend(settings::ALL.iter().flat_map(Setting::all_flags));
        let mut files = vec![docs().with_file_name("README.md")];
        files.extend(fs::read_dir(docs()).unwrap().map(|entry| entry.unwrap().path()));
        for file in files.iter().filter(|file| file.extension().is_some_and(|suffix| suffix == "md")) {
            let Ok(text) = fs::read_to_string(file) else { continue };
            for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.contains("cargo ")) {
                for flag in flags(line) {
                    assert!(known.contains(&flag), "{}:{}: there is no {flag}", file.display(), number + 1);
                }
            }
        }
    }

    /// `--words` that stand by themselves.
    fn flags(line: &str) -> Vec<String> {
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let starts = line.match_indices("--").filter(|(at, _)| {
            let before = line.get(..*at).and_then(|before| before.chars().next_back());
            before.is_none_or(|c| matches!(c, ' ' | '`' | '(' | '[' | '|' | '"' | ','))
        });
        let words = starts.map(|(at, _)| line[at..].chars().take_while(|c| is_word(*c)).collect::<String>());
        words.filter(|word| word.len() > 3 && word.as_bytes()[2] != b'-').collect()
    }

    #[test]
    fn flags_are_found_in_prose() {
        assert_eq!(flags("use `--a-b` or [--cc=x], not a--b nor --- nor -- alone, --dd"), ["--a-b", "--cc", "--dd"]);
    }
}
