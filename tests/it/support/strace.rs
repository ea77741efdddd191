//! System calls that fail: strace around a program, with an error in the place of the n-th call to a file.
//!
//! In: strace, a command, the paths that count. Out: what the program made of it, and how many calls failed so. Never: fails
//! a call that has to do with other files (a program must be able to load its libraries).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Traces programs, one after the other.
#[derive(Debug)]
pub struct Strace {
    program: PathBuf,
    folder: TempDir,
}

/// One error, in the place of which call.
#[derive(Debug, Clone)]
pub struct Fault<'a> {
    /// The system call.
    pub call: &'a str,
    /// `ENOSPC`, `EIO`.
    pub error: &'a str,
    /// `3`: the third one of each thread; `3+`: that and all behind it; `3+2`: every second one from there on.
    pub when: String,
}

impl Fault<'_> {
    fn expressions(&self) -> [String; 2] {
        let Fault { call, error, when } = self;
        // Only what is named is stopped at.
        [format!("trace={call}"), format!("inject={call}:error={error}:when={when}")]
    }
}

impl Strace {
    /// By this strace.
    pub fn new(program: PathBuf) -> Strace {
        Strace { program, folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn trace(&self) -> PathBuf {
        self.folder.path().join("trace")
    }

    /// The command under strace, with these expressions. The environment is the command's own and no more.
    fn around(&self, command: &Command, expressions: &[String], paths: &[PathBuf]) -> Command {
        let _ = std::fs::remove_file(self.trace());
        let mut traced = Command::new(&self.program);
        traced.args(["-f", "--seccomp-bpf", "-qqq", "-e", "signal=none", "-o"]).arg(self.trace());
        for expression in expressions {
            traced.args(["-e", expression]);
        }
        for path in paths {
            traced.arg("-P").arg(path);
        }
        traced.arg(command.get_program()).args(command.get_args()).env_clear().stdin(Stdio::null());
        traced.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(directory) = command.get_current_dir() {
            traced.current_dir(directory);
        }
        traced
    }

    /// Which calls a run makes to these paths, and how many of each: the most that one thread makes.
    pub fn calls(&self, command: &Command, paths: &[PathBuf]) -> (Output, BTreeMap<String, usize>) {
        let mut traced = self.around(command, &["trace=%file,%desc".into()], paths);
        let output = traced.output().expect("strace runs");
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        for line in std::fs::read_to_string(self.trace()).expect("a trace").lines() {
            let (thread, rest) = line.split_once(' ').expect("a thread");
            // Not the second half of one that was interrupted.
            let name = rest.trim_start().split('(').next().unwrap_or_default();
            if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                *counts.entry((name.into(), thread.into())).or_default() += 1;
            }
        }
        let mut calls = BTreeMap::new();
        for ((name, _), count) in counts {
            let most = calls.entry(name).or_insert(0);
            *most = count.max(*most);
        }
        (output, calls)
    }

    /// Run with this fault.
    pub fn output(&self, command: &Command, fault: &Fault<'_>, paths: &[PathBuf]) -> Output {
        self.tampered(command, &fault.expressions(), paths)
    }

    /// Run with these expressions of strace's own.
    pub fn tampered(&self, command: &Command, expressions: &[String], paths: &[PathBuf]) -> Output {
        self.around(command, expressions, paths).output().expect("strace runs")
    }

    /// Run with this fault in the program and in what it leaves behind, which strace goes on with. What the program says
    /// goes into a file, as it does not end before strace.
    pub fn detached(
        &self,
        command: &Command,
        fault: &Fault<'_>,
        paths: &[PathBuf],
        said: &Path,
    ) -> std::process::ExitStatus {
        let traced = self.around(command, &fault.expressions(), paths);
        let mut detached = Command::new(traced.get_program());
        // Its own session: it must outlive whoever started it.
        detached.arg("-DDD").args(traced.get_args()).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        detached.envs(traced.get_envs().filter_map(|(name, value)| Some((name, value?))));
        detached.stderr(std::fs::File::create(said).expect("a file"));
        if let Some(directory) = traced.get_current_dir() {
            detached.current_dir(directory);
        }
        detached.status().expect("strace runs")
    }

    /// How many calls failed so in the last run, up to now.
    pub fn injected(&self) -> usize {
        std::fs::read_to_string(self.trace()).expect("a trace").matches("(INJECTED)").count()
    }
}
