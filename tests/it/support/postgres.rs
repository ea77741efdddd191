//! Real PostgreSQL servers of several majors, on a Unix socket, gone when dropped.
//!
//! In: the folder of a server's programs, a data directory. Out: a server to ask, its log, how it ended.
//! Never: listens on the network; outlives its value; asks with a program that may not be there (the `postgres` crate
//! speaks the protocol, as npm's packages hold no psql).

use super::scratch::{Scratch, give};
use super::succeed;
use postgres::{Client, Config, NoTls, SimpleQueryMessage};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// The programs of one major.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// 10, 13, …
    pub major: u32,
    bin: PathBuf,
}

/// How long a server may take for anything: much, as many tests share few cores.
pub const PATIENCE: Duration = Duration::from_secs(120);

impl Postgres {
    /// The programs in this `bin` folder.
    pub fn new(major: u32, bin: PathBuf) -> Postgres {
        Postgres { major, bin }
    }

    /// One of its programs, where the servers' user can reach it.
    pub fn program(&self, scratch: &Scratch, name: &str) -> PathBuf {
        let home = self.bin.parent().expect("bin lies in a folder");
        scratch.reachable(home).join("bin").join(name)
    }

    /// A new cluster in this folder; superuser `postgres`, trusted.
    pub fn initdb(&self, scratch: &Scratch, data: &Path) {
        self.initdb_with(scratch, data, &[]);
    }

    /// The same with more flags.
    pub fn initdb_with(&self, scratch: &Scratch, data: &Path, flags: &[&str]) {
        let mut command = scratch.command(self.program(scratch, "initdb"));
        command.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]);
        command.args(flags).arg("-D").arg(data);
        succeed(&mut command);
    }

    /// A server on this data directory, not waited for. Settings are `name=value`; the environment is what its
    /// restore_command and archive_command will see.
    pub fn spawn(&self, scratch: &Scratch, data: &Path, settings: &[&str], environment: &[(&str, &str)]) -> Server {
        // WAL-E leaves these out of a base backup; initdb's own would do as well.
        for (name, text) in [
            ("postgresql.conf", ""),
            ("pg_hba.conf", "local all all trust\nlocal replication all trust\n"),
            ("pg_ident.conf", ""),
        ] {
            let file = data.join(name);
            if !file.exists() {
                std::fs::write(&file, text).expect("a settings file");
                give(&file);
            }
        }
        let sockets = scratch.dir("s");
        let port = 1 + std::fs::read_dir(&sockets).expect("the socket folder").count();
        // Keep the number taken also while no server runs on it.
        std::fs::write(sockets.join(format!("{port}")), "").expect("a mark");
        let log = scratch.join(format!("postgres-{port}.log"));
        let file = File::create(&log).expect("a log");
        let mut command = scratch.command(self.program(scratch, "postgres"));
        command.arg("-D").arg(data).arg("-k").arg(&sockets).args(["-p", &port.to_string(), "-h", ""]);
        // Small and quick: durability is not what these tests are about.
        for setting in ["fsync=off", "shared_buffers=16MB", "timezone=UTC", "log_timezone=UTC"] {
            command.args(["-c", setting]);
        }
        for setting in settings {
            command.args(["-c", setting]);
        }
        command.envs(environment.iter().copied());
        command.stdout(file.try_clone().expect("the log twice")).stderr(file);
        let child = command.spawn().unwrap_or_else(|why| panic!("{command:?}: {why}"));
        Server { child, sockets, port: port as u16, log, ended: None }
    }

    /// A server on this data directory that answers.
    #[track_caller]
    pub fn start(&self, scratch: &Scratch, data: &Path, settings: &[&str], environment: &[(&str, &str)]) -> Server {
        let mut server = self.spawn(scratch, data, settings, environment);
        server.wait_for("answering", |server| server.try_ask("").is_ok());
        server
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    sockets: PathBuf,
    port: u16,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Server {
    /// The folder of its socket, as `PGHOST` wants it.
    pub fn host(&self) -> String {
        self.sockets.display().to_string()
    }

    /// The number in its socket's name.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection of one's own: for what must happen in one session.
    pub fn connect(&self, database: &str) -> Result<Client, postgres::Error> {
        let mut config = Config::new();
        config.user("postgres").dbname(database).host_path(&self.sockets).port(self.port);
        config.connect_timeout(Duration::from_secs(10)).connect(NoTls)
    }

    /// What a query gives, or why it does not: a line for each row, columns parted by `|`, as `psql -At` prints them.
    pub fn try_ask_in(&self, database: &str, sql: &str) -> Result<String, postgres::Error> {
        let mut lines = Vec::new();
        for message in self.connect(database)?.simple_query(sql)? {
            if let SimpleQueryMessage::Row(row) = message {
                let columns: Vec<&str> = (0..row.len()).map(|column| row.get(column).unwrap_or("")).collect();
                lines.push(columns.join("|"));
            }
        }
        Ok(lines.join("\n"))
    }

    /// The same in the database `postgres`.
    pub fn try_ask(&self, sql: &str) -> Result<String, postgres::Error> {
        self.try_ask_in("postgres", sql)
    }

    /// What a query gives: a line for each row, columns parted by `|`.
    #[track_caller]
    pub fn ask_in(&self, database: &str, sql: &str) -> String {
        self.try_ask_in(database, sql).unwrap_or_else(|why| panic!("{sql}: {why}\n{}", self.log()))
    }

    /// The same in the database `postgres`.
    #[track_caller]
    pub fn ask(&self, sql: &str) -> String {
        self.ask_in("postgres", sql)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
        }
        self.ended
    }

    /// Wait until something holds. The server must live.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, mut holds: impl FnMut(&mut Server) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            if let Some(status) = self.ended() {
                panic!("the server ended ({status}) before {what}:\n{}", self.log());
            }
            assert!(begun.elapsed() < PATIENCE, "not {what} after {PATIENCE:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Wait until it has left recovery and takes writes.
    #[track_caller]
    pub fn wait_promoted(&mut self) {
        self.wait_for("promoted", |server| {
            server.try_ask("select pg_is_in_recovery()").is_ok_and(|answer| answer == "f")
        });
    }

    /// Wait until something holds or the server has ended.
    #[track_caller]
    pub fn wait_for_end_or(&mut self, what: &str, mut holds: impl FnMut(&mut Server) -> bool) {
        let begun = Instant::now();
        while self.ended().is_none() && !holds(self) {
            assert!(begun.elapsed() < PATIENCE, "neither ended nor {what} after {PATIENCE:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Wait until it has ended by itself.
    #[track_caller]
    pub fn wait_ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "still running after {PATIENCE:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stop it in order (a shutdown checkpoint is written, the archiver finishes).
    #[track_caller]
    pub fn stop(&mut self) {
        self.signal(Signal::INT);
        let status = self.wait_ended();
        assert!(status.success(), "the server ended with {status}:\n{}", self.log());
    }

    /// Stop it at once, as `pg_ctl -m immediate` does: no checkpoint, records cut where they are.
    pub fn crash(&mut self) {
        self.signal(Signal::QUIT);
        let _ = self.wait_ended();
    }

    fn signal(&mut self, signal: Signal) {
        if self.ended().is_none()
            && let Some(pid) = Pid::from_raw(self.child.id() as i32)
        {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // At once, as after a power cut; its children go with it. A restore_command may hold it up for a while.
        self.signal(Signal::QUIT);
        let begun = Instant::now();
        while self.ended().is_none() {
            if begun.elapsed() > Duration::from_secs(10) {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
