//! Settings files: JSON, YAML, lines of NAME=value; and directories as `envdir` reads them.
//!
//! In: paths. Out: names and values, in the order of the file. Never: repeats a value in an error: it may be a secret.

use crate::error::{Answer, Code, Error};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// No settings file is larger; `--config /dev/zero` must end.
const MOST: u64 = 1 << 20;
/// Looked for in the home directory, in this order.
const HOME_NAMES: [&str; 5] = [".walg.json", ".walg.yaml", ".walg.yml", ".walg.toml", ".walg.env"];

/// The settings file in this home directory, if there is one. The second is a warning: one that cannot be looked at.
pub fn in_home(home: &Path) -> (Option<PathBuf>, Option<String>) {
    for name in HOME_NAMES {
        let path = home.join(name);
        match fs::metadata(&path) {
            Ok(_) => return (Some(path), None),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            // Usual under sudo and in units that keep root's HOME. Nobody named this file: not an error.
            Err(error) => return (None, Some(format!("cannot look for {}: {error}", path.display()))),
        }
    }
    (None, None)
}

/// Names and values of a settings file. What it is written in is told by its name, else by its first character.
pub fn read(path: &Path) -> Answer<Vec<(String, String)>> {
    let wrong = |what: String| Error::new(Code::ConfigFile, what).on(path.display());
    let text = read_text(path)?;
    let by_name = path.extension().and_then(|suffix| suffix.to_str()).map(str::to_ascii_lowercase);
    let json = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text)
            .map_err(|error| format!("not JSON: line {}, column {}", error.line(), error.column()))?;
        flat(value)
    };
    let yaml = |text: &str| {
        let value: serde_json::Value = serde_yaml_ng::from_str(text).map_err(|error| match error.location() {
            Some(at) => format!("not YAML: line {}, column {}", at.line(), at.column()),
            None => "not YAML that holds settings".to_owned(),
        })?;
        flat(value)
    };
    match by_name.as_deref() {
        Some("json") => json(&text),
        Some("yaml" | "yml") => yaml(&text),
        Some("env" | "conf" | "toml" | "properties" | "ini") => lines(&text),
        _ if text.trim_start().starts_with('{') => json(&text),
        _ => lines(&text)
            .or_else(|_| yaml(&text))
            .map_err(|_| "neither JSON nor YAML nor lines of NAME=value".to_owned()),
    }
    .map_err(wrong)
}

fn read_text(path: &Path) -> Answer<String> {
    use io::Read as _;
    let failed = |error: io::Error| Error::new(Code::ConfigFile, "cannot read").on(path.display()).because(error);
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MOST + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MOST {
        return Err(Error::new(Code::ConfigFile, "longer than 1 MiB: not a settings file").on(path.display()));
    }
    // Editors of other systems put a mark in front.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The members of a JSON or YAML mapping as text. Inner maps and lists stay JSON: a few settings are such.
pub(super) fn flat(value: serde_json::Value) -> Result<Vec<(String, String)>, String> {
    use serde_json::Value;
    let map = match value {
        Value::Object(map) => map,
        Value::Null => return Ok(Vec::new()), // an empty YAML file
        _ => return Err("its outermost value is not a map of settings".to_owned()),
    };
    let text = |value| match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(map.into_iter().map(|(name, value)| (name, text(value))).collect())
}

/// `NAME=value`, `export NAME='value'`, `NAME = "value"`, `# …`, empty lines.
fn lines(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut settings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let wrong = |what: &str| format!("line {}: {what}", number + 1);
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').ok_or_else(|| wrong("not NAME=value"))?;
        let name = name.trim();
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            return Err(wrong("not a name before ="));
        }
        let value = unquoted(value.trim()).ok_or_else(|| wrong("a quote is not closed"))?;
        settings.push((name.to_owned(), value));
    }
    Ok(settings)
}

/// A value without its quotes. Single ones keep everything, in double ones a backslash keeps the next character.
fn unquoted(value: &str) -> Option<String> {
    if let Some(rest) = value.strip_prefix('\'') {
        return closed(rest, rest.find('\'')?);
    }
    let Some(rest) = value.strip_prefix('"') else {
        // Without quotes, what stands behind a blank and a # is a comment, as in a shell.
        let end = value.find(" #").unwrap_or(value.len());
        return value.get(..end).map(|bare| bare.trim_end().to_owned());
    };
    let mut text = String::new();
    let mut characters = rest.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return closed(rest, at).map(|_| text),
            '\\' => match characters.next()?.1 {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
    None
}

/// The text before a closing quote, if only a comment follows it.
fn closed(rest: &str, at: usize) -> Option<String> {
    let behind = rest.get(at + 1..)?.trim_start();
    (behind.is_empty() || behind.starts_with('#')).then(|| rest.get(..at).map(str::to_owned))?
}

/// A directory with one file per variable: the first line is the value, an empty file unsets the variable (empty text
/// here), NUL stands for a newline. As daemontools does; hidden files and directories are left alone.
pub fn read_envdir(directory: &Path) -> Answer<BTreeMap<String, String>> {
    let failed =
        |path: &Path, error: io::Error| Error::new(Code::ConfigFile, "cannot read").on(path.display()).because(error);
    let mut variables = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(|error| failed(directory, error))? {
        let path = entry.map_err(|error| failed(directory, error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        // Kubernetes keeps links to hidden directories here.
        if name.starts_with('.') || name.contains('=') || path.is_dir() {
            continue;
        }
        let text = read_text(&path)?;
        let value = text.split('\n').next().unwrap_or_default().trim_end_matches([' ', '\t', '\r']);
        variables.insert(name.to_owned(), value.replace('\0', "\n"));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str, text: &str) -> Result<String, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        match read(&path) {
            Ok(settings) => Ok(settings.into_iter().map(|(name, value)| format!("{name}={value};")).collect()),
            Err(error) => {
                assert_eq!(error.code(), Code::ConfigFile);
                Err(error.what().to_owned())
            }
        }
    }

    #[test]
    fn one_file_in_every_form() {
        let rows = [
            ("a.json", r#"{"A": "x y", "B": 3, "C": true, "D": null, "E": {"k": 1}}"#),
            ("a", r#"  {"A": "x y", "B": 3, "C": true, "D": null, "E": {"k": 1}}"#),
            ("a.yaml", "A: x y\nB: 3\nC: true\nD:\nE: {k: 1}\n"),
            ("a.yml", "---\nA: 'x y'\nB: 3\nC: true\nD: ~\nE:\n  k: 1\n"),
            ("a", "A: x y\nB: 3\nC: true\nD:\nE: {k: 1}\n"),
            ("a.env", "# c\n\nexport A='x y'\nB=3 # three\nC = \"true\"\r\nD=\nE='{\"k\":1}'"),
            ("\u{61}.toml", "A = \"x y\"\nB = 3\nC = true\nD = \"\"\nE = '{\"k\":1}'\n"),
            ("a", "\u{feff}A=x y\nB=3\nC=true\nD=\nE={\"k\":1}\n"),
        ];
        for (name, text) in rows {
            assert_eq!(parsed(name, text).as_deref(), Ok("A=x y;B=3;C=true;D=;E={\"k\":1};"), "{name}: {text}");
        }
        for (name, text) in [("a.yaml", ""), ("a.json", "{}"), ("a", ""), ("a.env", "#")] {
            assert_eq!(parsed(name, text).as_deref(), Ok(""), "{name}: {text}");
        }
        assert_eq!(parsed("a.env", r#"A="a\"b\\c\nd" # x"#).as_deref(), Ok("A=a\"b\\c\nd;"));
    }

    #[test]
    fn an_error_says_where_and_never_what() {
        let rows = [
            ("a.json", "{\"A\": \"CANARY\",,}", "not JSON: line 1, column 16"),
            ("a.json", "[\"CANARY\"]", "its outermost value is not a map of settings"),
            ("a.yaml", "A: [CANARY\n", "not YAML: line 2, column 1"),
            ("a.env", "A=1\nCANARY\n", "line 2: not NAME=value"),
            ("a.env", "A='CANARY", "line 1: a quote is not closed"),
            ("a.env", "A='CAN' ARY", "line 1: a quote is not closed"),
            ("a.env", "A B=CANARY", "line 1: not a name before ="),
            ("a", "CANARY\n", "neither JSON nor YAML nor lines of NAME=value"),
        ];
        for (name, text, wanted) in rows {
            assert_eq!(parsed(name, text), Err(wanted.to_owned()), "{name}: {text}");
        }
        let missing = read(Path::new("/nonexistent/walg.json")).unwrap_err();
        assert_eq!(missing.code(), Code::ConfigFile);
        assert!(read(Path::new("/dev/zero")).is_err(), "it must end");
    }

    #[test]
    fn envdirs_as_daemontools_reads_them() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        put("A", "one \t\nsecond line\n");
        put("EMPTY", "");
        put("KEY", "a\0b");
        put(".hidden", "x");
        fs::create_dir(directory.path().join("D")).unwrap();
        let found = read_envdir(directory.path()).unwrap();
        let wanted = [("A", "one"), ("EMPTY", ""), ("KEY", "a\nb")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(found, BTreeMap::from(wanted));
        assert_eq!(read_envdir(Path::new("/nonexistent")).unwrap_err().code(), Code::ConfigFile);
    }
}
