//! Running other programs, and the few words of a shell that xtask needs.
//!
//! In: a `Command`. Out: its success, or a sentence naming the command and what became of it.
//! Never: a shell in between; every argument is passed as it is.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What every verb ends in: nothing, or the sentence to print.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// The root of the repository: the folder above xtask's own.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("checked: xtask lies below the root").to_path_buf()
}

/// Cargo, as the one that runs us, at the root.
pub(crate) fn cargo() -> Command {
    at_root(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Cargo of the nightly toolchain. The one that runs us is of a toolchain already, and takes no other.
pub(crate) fn nightly() -> Command {
    let mut command = at_root("cargo".into());
    command.arg("+nightly");
    command
}

fn at_root(program: OsString) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    // What cargo told us about xtask is not true of what it builds next; some build scripts start over when they see it.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// The command as one would type it.
pub(crate) fn typed(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let quoted = |word: &OsStr| {
        let word = word.to_string_lossy();
        if word.is_empty() || word.contains([' ', '\'', '"', '$', ';', '*']) {
            format!("'{word}'")
        } else {
            word.into()
        }
    };
    std::iter::once(name).chain(command.get_args().map(quoted)).collect::<Vec<_>>().join(" ")
}

/// Print the command, run it in the open, demand success.
pub(crate) fn run(command: &mut Command) -> Outcome {
    eprintln!("$ {}", typed(command));
    let status = command.status().map_err(|why| format!("cannot run `{}`: {why}", typed(command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", typed(command))) }
}

/// Run it in silence; its output is shown only when it fails.
pub(crate) fn quiet(command: &mut Command) -> Outcome<String> {
    let out = command.stdin(Stdio::null()).output().map_err(|why| format!("cannot run `{}`: {why}", typed(command)))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if out.status.success() {
        return Ok(text);
    }
    let said = format!("{}{}", text, String::from_utf8_lossy(&out.stderr));
    Err(format!("`{}` failed: {}\n{}", typed(command), out.status, said.trim_end()))
}

/// Every file below a folder, sorted; `target` and git's own left out.
pub(crate) fn files_below(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
        for entry in entries {
            let entry = entry.map_err(|why| format!("{}: {why}", folder.display()))?;
            let kind = entry.file_type().map_err(|why| format!("{}: {why}", entry.path().display()))?;
            if kind.is_dir() {
                if entry.file_name() != "target" && entry.file_name() != ".git" {
                    open.push(entry.path());
                }
            } else if kind.is_file() && entry.file_name() != ".git" {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The value of `--name VALUE` or `--name=VALUE`, taken out of the arguments.
pub(crate) fn take_value(arguments: &mut Vec<String>, name: &str) -> Outcome<Option<String>> {
    let joined = format!("{name}=");
    if let Some(at) = arguments.iter().position(|argument| argument.starts_with(&joined)) {
        return Ok(Some(arguments.remove(at)[joined.len()..].to_string()));
    }
    let Some(at) = arguments.iter().position(|argument| argument == name) else { return Ok(None) };
    arguments.remove(at);
    if at < arguments.len() { Ok(Some(arguments.remove(at))) } else { Err(format!("{name} wants a value")) }
}

/// Whether a flag was given; taken out of the arguments.
pub(crate) fn take_flag(arguments: &mut Vec<String>, name: &str) -> bool {
    let before = arguments.len();
    arguments.retain(|argument| argument != name);
    arguments.len() != before
}

/// Refuse what is left over.
pub(crate) fn nothing_else(arguments: &[String]) -> Outcome {
    match arguments.first() {
        None => Ok(()),
        Some(argument) => Err(format!("{argument:?} is not understood here; see `cargo xtask help`")),
    }
}
