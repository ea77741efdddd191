//! Flags of `backup-fetch`.
//!
//! In: argv. Out: [`Options`](crate::commands::backup_fetch::Options). Never: asks the store; reads a file but those the flags name
//! (a restore specification, the names of users).

use crate::backup::recovery::{Action, RecoveryTarget};
use crate::backup::restore::ConfigFiles;
use crate::backup::sentinel::Spec;
use crate::backup::tablespaces::Wishes;
use crate::commands::backup_fetch::{Options, Wanted, Which, parse_target_time};
use crate::error::{Answer, Code, Error};
use crate::pg::TargetTimeline;
use jiff::tz::TimeZone;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A base backup as a directory that PostgreSQL can start on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Without a name or LATEST the newest backup that leads to the recovery target is taken.\n\
                        The directory must be empty. Until everything is there, global/pg_control is not: no server starts on\n\
                        an unfinished restore, and --resume goes on with it.\n\n\
                        Examples:\n  \
                        wal-r backup-fetch --plan /srv/pg LATEST\n  \
                        wal-r backup-fetch /srv/pg --recover\n  \
                        wal-r backup-fetch /srv/pg --recovery-target-time '2026-11-20 20:34:38+00'\n  \
                        wal-r backup-fetch /srv/pg base_000000010000000000000003_00000040 --tablespace 16400=/srv/ts1\n  \
                        wal-r backup-fetch /srv/pg LATEST --standby --waldir /wal/pg --owner postgres")]
pub struct Args {
    /// The data directory to make: empty, or with an unfinished restore and --resume
    #[arg(value_name = "DIR")]
    target: PathBuf,
    /// A backup of `wal-r backup-list`, or LATEST
    #[arg(value_name = "NAME|LATEST")]
    name: Option<String>,
    /// The newest backup that was finished at this time (with a zone)
    #[arg(long, value_name = "TIME", conflicts_with = "name")]
    before: Option<String>,
    /// Say what would be done, and stop
    #[arg(long)]
    plan: bool,
    /// Go on with an interrupted restore of the same backup
    #[arg(long)]
    resume: bool,

    /// Put a tablespace into this directory
    #[arg(long = "tablespace", value_name = "OID=DIR", help_heading = "Where things go")]
    tablespaces: Vec<String>,
    /// Take tablespace places from a JSON file as WAL-E's, or, with SOURCE, the paths they had on the source
    #[arg(long, value_name = "FILE|SOURCE", help_heading = "Where things go")]
    restore_spec: Option<PathBuf>,
    /// Put all other tablespaces inside the data directory (tablespaces/OID, linked from pg_tblspc)
    #[arg(long, help_heading = "Where things go")]
    blind_restore: bool,
    /// Put pg_wal into this directory and link to it
    #[arg(long, value_name = "DIR", help_heading = "Where things go")]
    waldir: Option<PathBuf>,
    /// Give the files to this user (root only)
    #[arg(long, value_name = "USER[:GROUP]", help_heading = "Where things go")]
    owner: Option<String>,
    /// Copy postgresql.conf, pg_hba.conf, pg_ident.conf from here: WAL-E's backups lack them
    #[arg(long, value_name = "DIR", conflicts_with = "minimal_config", help_heading = "Where things go")]
    config_from: Option<PathBuf>,
    /// Write the least of these files that starts: local connections, no archiving
    #[arg(long, help_heading = "Where things go")]
    minimal_config: bool,
    /// Leave this member out, and what is below it
    #[arg(long, value_name = "PATH", help_heading = "Where things go")]
    leave_out: Vec<std::ffi::OsString>,

    /// Recover to the end of the archive
    #[arg(long, help_heading = "Recovery settings")]
    recover: bool,
    /// Recover to this time; it must carry a zone
    #[arg(long, value_name = "TIME", group = "stop", help_heading = "Recovery settings")]
    recovery_target_time: Option<String>,
    /// Recover to this place in the WAL (PostgreSQL 10 and later)
    #[arg(long, value_name = "LSN", group = "stop", help_heading = "Recovery settings")]
    recovery_target_lsn: Option<String>,
    /// Recover to the end of this transaction
    #[arg(long, value_name = "XID", group = "stop", help_heading = "Recovery settings")]
    recovery_target_xid: Option<u64>,
    /// Recover to this restore point
    #[arg(long, value_name = "NAME", group = "stop", help_heading = "Recovery settings")]
    recovery_target_name: Option<String>,
    /// Stop as soon as the backup is consistent
    #[arg(long, group = "stop", help_heading = "Recovery settings")]
    recovery_target_immediate: bool,
    /// Follow this timeline: a number, latest (the default) or current
    #[arg(long, value_name = "TIMELINE", value_parser = timeline, help_heading = "Recovery settings")]
    recovery_target_timeline: Option<TargetTimeline>,
    /// What the server does at the target; its own default is pause
    #[arg(long, value_name = "ACTION", value_enum, requires = "stop", help_heading = "Recovery settings")]
    recovery_target_action: Option<TargetAction>,
    /// Stop behind the target (true) or before it
    #[arg(long, value_name = "BOOL", requires = "stop", help_heading = "Recovery settings")]
    recovery_target_inclusive: Option<bool>,
    /// Take the target although names and sentinels do not show that the named backup is consistent before it:
    /// `recovery-windows --can-reach`, which reads the WAL, says when to
    #[arg(long, requires = "stop", requires = "name", help_heading = "Recovery settings")]
    trust_target: bool,
    /// Go on for ever as a standby
    #[arg(long, conflicts_with = "stop", help_heading = "Recovery settings")]
    standby: bool,

    /// Look at page checksums while writing
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    verify_pages: bool,
    /// Take the backup although sysids/sysid names another cluster
    #[arg(long)]
    any_system: bool,
    /// Restore although WAL that the backup needs is not in the archive
    #[arg(long)]
    wal_elsewhere: bool,
    /// Partitions fetched at once [default: as many as cores; more from remote stores]
    #[arg(short = 'p', long, value_name = "N", alias = "workers")]
    pool_size: Option<usize>,
}

/// What the server does at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum TargetAction {
    Pause,
    Promote,
    Shutdown,
}

impl Args {
    /// Stop after the plan?
    pub fn plan_only(&self) -> bool {
        self.plan
    }

    /// What the verb takes. `command`: what restore_command calls, but for the file. `workers`: from
    /// the settings, where no flag says.
    pub fn options(&self, command: Vec<String>, workers: Option<usize>) -> Answer<Options> {
        let local = TimeZone::system();
        let target = absolute(&self.target)?;
        let which = match (&self.name, &self.before) {
            (_, Some(time)) => Which::Before(parse_target_time(time, &local)?),
            (None, None) => Which::Fitting,
            (Some(name), None) if name == "LATEST" => Which::Latest,
            (Some(name), None) => {
                // As a listing of the store shows it, or pasted with its suffix.
                let stem = name.strip_suffix(crate::layout::SENTINEL_SUFFIX).unwrap_or(name);
                let parsed = stem.parse();
                Which::Named(
                    parsed.map_err(|error| Error::new(Code::UsageName, "cannot take this name").because(error))?,
                )
            }
        };
        let owner = self.owner.as_deref().map(owner).transpose()?;
        Ok(Options {
            target,
            which,
            resume: self.resume,
            tablespaces: self.wishes()?,
            waldir: self.waldir.as_deref().map(absolute).transpose()?,
            verify_pages: self.verify_pages,
            owner,
            is_root: rustix::process::geteuid().is_root(),
            left_out: self.leave_out.iter().map(|path| path.clone().into_vec()).collect(),
            config: match (&self.config_from, self.minimal_config) {
                (Some(directory), _) => ConfigFiles::From(absolute(directory)?),
                (None, true) => ConfigFiles::Minimal,
                (None, false) => ConfigFiles::Leave,
            },
            any_system: self.any_system,
            wal_elsewhere: self.wal_elsewhere,
            recovery: self.recovery(command, &local)?,
            workers: self.pool_size.or(workers).filter(|workers| *workers > 0),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        })
    }

    fn recovery(&self, command: Vec<String>, local: &TimeZone) -> Answer<Option<Wanted>> {
        let target = if let Some(time) = &self.recovery_target_time {
            Some(RecoveryTarget::Time(parse_target_time(time, local)?))
        } else if let Some(lsn) = &self.recovery_target_lsn {
            let lsn = lsn.parse();
            Some(RecoveryTarget::Lsn(
                lsn.map_err(|error| Error::new(Code::UsageTarget, "the target is no place in the WAL").because(error))?,
            ))
        } else if let Some(xid) = self.recovery_target_xid {
            Some(RecoveryTarget::Xid(xid))
        } else if let Some(name) = &self.recovery_target_name {
            Some(RecoveryTarget::Name(name.clone()))
        } else {
            self.recovery_target_immediate.then_some(RecoveryTarget::Immediate)
        };
        if target.is_none() && !self.standby && !self.recover && self.recovery_target_timeline.is_none() {
            return Ok(None);
        }
        Ok(Some(Wanted {
            command,
            target,
            inclusive: self.recovery_target_inclusive,
            timeline: self.recovery_target_timeline.unwrap_or_default(),
            action: self.recovery_target_action.map(|action| match action {
                TargetAction::Pause => Action::Pause,
                TargetAction::Promote => Action::Promote,
                TargetAction::Shutdown => Action::Shutdown,
            }),
            standby: self.standby,
            trusted: self.trust_target,
        }))
    }

    fn wishes(&self) -> Answer<Wishes> {
        let mut wishes = Wishes { inside: self.blind_restore, ..Wishes::default() };
        for text in &self.tablespaces {
            let wrong = || Error::new(Code::UsageArgument, format!("--tablespace takes OID=DIR, not `{text}`"));
            let (oid, place) = text.split_once('=').ok_or_else(wrong)?;
            let oid = oid.parse().map_err(|_| wrong())?;
            wishes.places.insert(oid, absolute(Path::new(place))?);
        }
        match &self.restore_spec {
            Some(source) if source == Path::new("SOURCE") => wishes.as_on_source = true,
            Some(file) => {
                let on = |error: Error| error.on(file.display());
                let bytes = std::fs::read(file).map_err(|error| {
                    on(Error::new(Code::LocalIo, "cannot read the restore specification").because(error))
                })?;
                let spec = Spec::parse(&bytes)
                    .map_err(|error| on(Error::new(Code::ConfigFile, "is no restore specification").because(error)))?;
                wishes.spec = Some(spec);
            }
            None => {}
        }
        Ok(wishes)
    }
}

fn timeline(text: &str) -> Result<TargetTimeline, String> {
    text.parse().map_err(|_| "a number, latest or current".to_owned())
}

/// An absolute path without `.` and `..`: it goes into links and settings.
fn absolute(path: &Path) -> Answer<PathBuf> {
    let failed = |error| Error::new(Code::LocalIo, "cannot tell where this is").on(path.display()).because(error);
    // Where it exists, as the system sees it; else its parent's, so that `..` means what it says.
    if let Ok(real) = path.canonicalize() {
        return Ok(real);
    }
    let absolute = std::path::absolute(path).map_err(failed)?;
    match (absolute.parent().and_then(|parent| parent.canonicalize().ok()), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.join(name)),
        _ => Ok(absolute),
    }
}

/// `postgres`, `postgres:dba`, `26:26`. Names are those of /etc/passwd and /etc/group.
fn owner(text: &str) -> Answer<(u32, u32)> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let unknown = |what: &str, name: &str| Error::new(Code::UsageArgument, format!("there is no {what} `{name}` here"));
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .map_err(|error| Error::new(Code::LocalIo, "cannot read the names").on(path).because(error))
    };
    // name:password:number:group:...
    let find = |table: &str, name: &str| -> Option<(u32, Option<u32>)> {
        let line = table
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&name))?;
        Some((line.get(2)?.parse().ok()?, line.get(3).and_then(|group| group.parse().ok())))
    };
    let (user_number, own_group) = match user.parse() {
        Ok(number) => (number, None),
        Err(_) => find(&read("/etc/passwd")?, user).ok_or_else(|| unknown("user", user))?,
    };
    let group_number = match group {
        Some(group) => match group.parse() {
            Ok(number) => number,
            Err(_) => find(&read("/etc/group")?, group).ok_or_else(|| unknown("group", group))?.0,
        },
        None => own_group.unwrap_or(user_number),
    };
    Ok((user_number, group_number))
}
