//! `config check` and `config explain` as text and JSON.
//!
//! In: a resolved `Config`, the steps that were tried, the table of settings. Out: text. Never: prints a secret.

use super::{document, plain, table};
use crate::cli::args::Format;
use crate::cli::config::{Config, Read, Setting, settings};
use crate::commands::config_check::Step;
use crate::error::{Answer, Code, Error};
use crate::storage::open::Location;
use serde::Serialize;

/// One effective setting.
#[derive(Debug, Serialize)]
struct Line {
    name: &'static str,
    value: String,
    /// By which name it was given, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    given_as: Option<String>,
    origin: String,
    read_by: String,
}

#[derive(Debug, Serialize)]
struct Check<'a> {
    prefix: Option<String>,
    store: Option<&'a str>,
    file: Option<String>,
    settings: Vec<Line>,
    warnings: &'a [String],
    steps: &'a [Step],
}

/// `config check`. `store` is the store's URL, where there is one.
pub fn check(config: &Config, store: Option<&str>, steps: &[Step], format: Format) -> Answer<String> {
    let report = Check {
        prefix: config.prefix().ok().map(|chosen| chosen.to_string()),
        store,
        file: config.file().map(|path| path.display().to_string()),
        settings: lines(config),
        warnings: config.warnings(),
        steps,
    };
    match format {
        Format::Json => document("wal-r.config-check", 1, &report),
        Format::Table => Ok(check_text(&report)),
    }
}

fn check_text(report: &Check<'_>) -> String {
    let rows = report.settings.iter().map(|line| {
        let name = match &line.given_as {
            Some(given) => format!("{} ({given})", line.name),
            None => line.name.to_owned(),
        };
        let note = if line.read_by.starts_with("recognised") { line.read_by.clone() } else { String::new() };
        [name, plain(&line.value), line.origin.clone(), note]
    });
    let mut text = table(["SETTING", "VALUE", "ORIGIN", ""], rows);
    text.push_str(&format!("\nsettings file: {}\n", report.file.as_deref().unwrap_or("none")));
    text.push_str(&format!("archive: {}\n", plain(report.prefix.as_deref().unwrap_or("none"))));
    if let Some(store) = report.store {
        text.push_str(&format!("store: {}\n", plain(store)));
    }
    for warning in report.warnings {
        text.push_str(&format!("warning: {}\n", plain(warning)));
    }
    if !report.steps.is_empty() {
        text.push('\n');
    }
    for step in report.steps {
        let code = step.code.map_or_else(String::new, |code| format!(" [{code}]"));
        let storage = step.storage.as_ref().map_or_else(String::new, |name| format!("{}: ", plain(name)));
        text.push_str(&format!("{storage}{}: {}{code}: {}\n", step.step, step.answer, plain(&step.found)));
        if let Some(hint) = &step.hint {
            text.push_str(&format!("  hint: {}\n", plain(hint)));
        }
    }
    text
}

/// What was set, and the defaults of what is read here; those of a store only where the archive may be there.
fn lines(config: &Config) -> Vec<Line> {
    let location = config.location();
    let elsewhere = |read: settings::Read| match &location {
        Ok(Location::Local(_)) => read == settings::S3 || read == settings::AZURE,
        Ok(Location::S3 { .. } | Location::S3Prefix { .. }) => read == settings::AZURE,
        Ok(Location::Azure { .. } | Location::AzurePrefix { .. }) => read == settings::S3,
        Err(_) => false,
    };
    let mut lines = Vec::new();
    for setting in settings::ALL {
        match config.value(setting.id) {
            Some(value) => lines.push(Line {
                name: setting.name,
                value: value.shown(setting),
                given_as: Some(value.name.clone()).filter(|given| given != setting.name),
                origin: value.origin.to_string(),
                read_by: setting.read.text(),
            }),
            None if elsewhere(setting.read) => {}
            None if matches!(setting.read, Read::By(_)) && !setting.default.is_empty() => lines.push(Line {
                name: setting.name,
                value: setting.default.to_owned(),
                given_as: None,
                origin: "default".to_owned(),
                read_by: setting.read.text(),
            }),
            None => {}
        }
    }
    lines
}

/// One page of `config explain`.
#[derive(Debug, Serialize)]
struct Page {
    name: &'static str,
    also: &'static [String],
    flags: Vec<String>,
    meaning: &'static str,
    takes: String,
    default: &'static str,
    secret: bool,
    read_by: String,
}

impl Page {
    fn of(setting: &'static Setting) -> Page {
        Page {
            name: setting.name,
            also: setting.names().get(1..).unwrap_or_default(),
            flags: setting.all_flags(),
            meaning: setting.meaning,
            takes: setting.kind.takes(),
            default: setting.default,
            secret: setting.is_secret(),
            read_by: setting.read.text(),
        }
    }
}

/// `config explain`.
pub fn explain(name: Option<&str>, format: Format) -> Answer<String> {
    let pages: Vec<Page> = match name {
        None => settings::ALL.iter().map(Page::of).collect(),
        Some(name) => {
            let name = name.trim_start_matches("--").replace('-', "_");
            let setting = Setting::named(&name).ok_or_else(|| {
                let error = Error::new(Code::UsageArgument, format!("no setting is called {name}"));
                match settings::nearest(&name) {
                    Some(near) => error.hint(format!("Is {near} meant? `wal-r config explain` lists them all.")),
                    None => error.hint("`wal-r config explain` lists them all."),
                }
            })?;
            vec![Page::of(setting)]
        }
    };
    match format {
        Format::Json => {
            #[derive(Serialize)]
            struct Pages {
                settings: Vec<Page>,
            }
            document("wal-r.config-explain", 1, &Pages { settings: pages })
        }
        Format::Table => Ok(match (name, pages.as_slice()) {
            (Some(_), [page]) => page_text(page),
            _ => {
                let rows = pages.iter().map(|page| [page.name.to_owned(), page.meaning.to_owned()]);
                let mut text = table(["SETTING", "MEANING"], rows);
                text.push_str("\nOther names, values and defaults: `wal-r config explain NAME`.\n");
                text
            }
        }),
    }
}

fn page_text(page: &Page) -> String {
    let mut text = format!("{}\n\n{}\n\n", page.name, page.meaning);
    let mut line = |label: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("{label:<12}{value}\n"));
        }
    };
    line("takes", &page.takes);
    line("default", page.default);
    line("read by", &page.read_by);
    line("also", &page.also.join(", "));
    line("flags", &page.flags.join(", "));
    text
}
