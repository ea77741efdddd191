//! What was proven of an archive, remembered in one SQLite file.
//!
//! In: an archive's identity, the time (handed in), proofs. Out: [`Ledger`], a [`Memory`]: what is known of this very
//! version of an object. Its schema is in schema.sql and, for people, in docs/ledger.md.
//! Never: in the archive; trusted further than it was committed, or where a row does not match its sum; makes a verdict
//! worse: a disk that is full stops the remembering ([`Ledger::trouble`]), not the run.
//!
//! One run at a time: an flock on `FILE.lock` says so, and ends with the process. Rows are written in transactions of
//! [`BATCH`], in SQLite's own write-ahead log, so a kill at any moment loses the last of them and nothing else. It can be
//! thrown away: the next run reads everything again.

use super::facts::{Level, Mark, MarkKind, Memory, Outcome, Recall, SegmentFacts, SegmentProof};
use super::finding::FindingCode;
use crate::catalog::inventory::StoredSegment;
use crate::error::{Answer, Code, Error};
use crate::layout::{BackupName, ObjectKey};
use crate::pg::{SegmentName, SegmentSize, SystemId};
use crate::storage::{ETag, Fingerprint, ObjectId};
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The tables, as `sqlite3 FILE .schema` shows them.
pub const SCHEMA: &str = include_str!("ledger/schema.sql");
/// Number of the schema, in `PRAGMA user_version`.
pub const VERSION: i32 = 1;
/// Whose database it is, in `PRAGMA application_id`: `walr`.
const APPLICATION: i32 = 0x7761_6C72;
/// Rows in one transaction.
const BATCH: u32 = 100;

/// Which archive a ledger is about.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// Its prefix.
    pub url: &'a str,
    /// Its cluster, where that is known.
    pub system: Option<SystemId>,
    /// Bytes of a segment: for the places that people read.
    pub size: SegmentSize,
}

/// How a run ended, for people who ask the table `runs`.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// The level that was asked for.
    pub level: Level,
    /// `ok`, `warning`, `critical`, `unknown`.
    pub outcome: &'a str,
    /// Objects that were read.
    pub objects: u64,
    /// Stored bytes that were read.
    pub bytes: u64,
    /// Objects that were taken from the ledger.
    pub remembered: u64,
    /// When.
    pub at: Timestamp,
}

/// The memory of one archive, open for one run.
#[derive(Debug)]
pub struct Ledger {
    db: Connection,
    path: PathBuf,
    size: SegmentSize,
    now: String,
    run: i64,
    notes: Vec<String>,
    /// Rows since the transaction began; `None` outside of one.
    open: Option<u32>,
    trouble: Option<Error>,
    // Held until the end of the run.
    _lock: File,
}

impl Ledger {
    /// Open the ledger of an archive, or begin one. `local.ledger` when it is in use, damaged, another archive's, or
    /// made by a newer wal-r. `command` and `now` go into the table `runs`.
    pub fn open(path: &Path, archive: &Identity<'_>, command: &str, now: Timestamp) -> Answer<Ledger> {
        Self::with_version(path, archive, command, now, VERSION)
    }

    /// The same from nothing: what is there is moved aside, to `FILE.old`.
    pub fn rebuild(path: &Path, archive: &Identity<'_>, command: &str, now: Timestamp) -> Answer<Ledger> {
        let lock = lock(path)?;
        let moved = move_aside(path)?;
        let mut ledger = Self::locked(path, archive, command, now, VERSION, lock)?;
        ledger.notes.extend(moved.map(|old| format!("the ledger is begun anew; the old one is {}", old.display())));
        Ok(ledger)
    }

    fn with_version(
        path: &Path,
        archive: &Identity<'_>,
        command: &str,
        now: Timestamp,
        version: i32,
    ) -> Answer<Ledger> {
        let lock = lock(path)?;
        if made_by(path)?.is_none_or(|made| made >= version) {
            return Self::locked(path, archive, command, now, version, lock);
        }
        // Everything in it can be learnt again: that is the migration.
        let moved = move_aside(path)?;
        let mut ledger = Self::locked(path, archive, command, now, version, lock)?;
        let old = moved.map_or_else(String::new, |old| format!(" ({})", old.display()));
        ledger.notes.push(format!("the ledger was made by an older wal-r{old} and is begun anew: everything is read"));
        Ok(ledger)
    }

    fn locked(
        path: &Path,
        archive: &Identity<'_>,
        command: &str,
        now: Timestamp,
        version: i32,
        lock: File,
    ) -> Answer<Ledger> {
        let failed = |error: rusqlite::Error| explain(path, "cannot be opened", error);
        let db = Connection::open(path).map_err(failed)?;
        let now = now.to_string();
        let run = prepare(&db, archive, command, &now, version).map_err(|why| match why {
            Refusal::Sql(error) => failed(error),
            Refusal::Said(what, hint) => refused(path, what).hint(hint),
        })?;
        let path = path.to_owned();
        let (notes, size) = (Vec::new(), archive.size);
        Ok(Ledger { db, path, size, now, run, notes, open: None, trouble: None, _lock: lock })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What people should hear of opening it.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Why nothing is remembered any more, when that is so: a full disk, mostly. The run itself is none the worse.
    pub fn trouble(&self) -> Option<&Error> {
        self.trouble.as_ref()
    }

    /// Write down how the run ended. Everything that was remembered is committed with it.
    pub fn finish(&mut self, ended: &Ended<'_>) {
        let int = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let run = self.run;
        self.write(|db, _| {
            db.execute(
                "UPDATE runs SET ended_at = ?2, level = ?3, outcome = ?4, objects = ?5, bytes = ?6, remembered = ?7 \
                 WHERE run = ?1",
                params![
                    run,
                    ended.at.to_string(),
                    ended.level.word(),
                    ended.outcome,
                    int(ended.objects),
                    int(ended.bytes),
                    int(ended.remembered)
                ],
            )
            .map(drop)
        });
        self.commit();
    }

    /// Segments of a timeline that were good when they were read, of a stretch of names, both ends included; at most
    /// `limit` of them, in order. What of them is gone now was there once.
    pub fn proven(&mut self, first: SegmentName, last: SegmentName, limit: u32) -> Answer<Vec<SegmentName>> {
        let read = || {
            let mut ask = self.db.prepare_cached(
                "SELECT DISTINCT name FROM segments WHERE timeline = ?1 AND name BETWEEN ?2 AND ?3 AND verdict = 'good' \
                 AND key NOT LIKE '%.partial%' ORDER BY name LIMIT ?4",
            )?;
            let timeline = first.timeline().get();
            let rows = ask.query_map(params![timeline, first.to_string(), last.to_string(), limit], |row| {
                row.get::<_, String>(0)
            })?;
            rows.collect::<Result<Vec<String>, _>>()
        };
        let names = read().map_err(|error| explain(&self.path, "cannot be read", error))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// When the longest unseen of the good segments of a stretch of names was looked at, both ends included.
    pub fn oldest_check(&mut self, first: SegmentName, last: SegmentName) -> Answer<Option<Timestamp>> {
        let read = || {
            let mut ask = self.db.prepare_cached(
                "SELECT min(last_checked) FROM segments WHERE timeline = ?1 AND name BETWEEN ?2 AND ?3 AND verdict = 'good'",
            )?;
            let timeline = first.timeline().get();
            ask.query_row(params![timeline, first.to_string(), last.to_string()], |row| row.get::<_, Option<String>>(0))
        };
        let text = read().map_err(|error| explain(&self.path, "cannot be read", error))?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// The JSON that was kept of a base backup whose objects are these, when it was good or damaged then.
    pub fn recall_backup(&mut self, name: &BackupName, objects: Fingerprint) -> Answer<Option<(bool, String)>> {
        let read = || {
            let mut ask =
                self.db.prepare_cached("SELECT verdict, proof, sum FROM backups WHERE name = ?1 AND objects = ?2")?;
            ask.query_row(params![name.to_string(), signed(objects)], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
            })
            .optional()
        };
        let found = read().map_err(|error| explain(&self.path, "cannot be read", error))?;
        Ok(found.and_then(|(verdict, proof, sum)| {
            let whole = sum == sum_of(&[&name.to_string(), &objects.0.to_string(), &verdict, &proof]);
            whole.then_some((verdict == GOOD, proof))
        }))
    }

    /// Keep what was learnt of a base backup.
    pub fn remember_backup(&mut self, name: &BackupName, objects: Fingerprint, good: bool, proof: &str) {
        let (name, verdict) = (name.to_string(), if good { GOOD } else { DAMAGED });
        let sum = sum_of(&[&name, &objects.0.to_string(), verdict, proof]);
        self.write(|db, now| {
            db.prepare_cached(
                "INSERT INTO backups VALUES (?1, ?2, ?3, ?4, ?4, 1, ?5, ?6) ON CONFLICT (name, objects) DO UPDATE SET \
                 verdict = excluded.verdict, last_checked = excluded.last_checked, checks = checks + 1, \
                 proof = excluded.proof, sum = excluded.sum",
            )?
            .execute(params![name, signed(objects), verdict, now, proof, sum])
            .map(drop)
        });
    }

    fn find(&self, key: &ObjectKey, size: u64, version: Fingerprint) -> Answer<Recall> {
        let failed = |error| explain(&self.path, "cannot be read", error);
        let mut ask = self
            .db
            .prepare_cached(
                "SELECT id, key, size, version, etag, modified, name, level, verdict, code, damage_lsn, damage, facts, sum \
                 FROM segments WHERE key = ?1 ORDER BY last_checked DESC, id DESC",
            )
            .map_err(failed)?;
        let rows = ask.query_map([key.as_str()], Kept::read).map_err(failed)?;
        let mut changed = None;
        for row in rows {
            let row = row.map_err(failed)?;
            let same = row.size == size && row.version == version;
            // A row that cannot be understood, or is not what was written, is as good as none.
            let Some(proof) = row.proof(&self.marks(row.id).map_err(failed)?) else { continue };
            if same {
                return Ok(Recall::Same(Box::new(proof)));
            }
            if changed.is_none() && matches!(proof.outcome, Outcome::Good(_)) {
                changed = Some(Box::new(proof));
            }
        }
        Ok(changed.map_or(Recall::New, Recall::Changed))
    }

    fn marks(&self, id: i64) -> rusqlite::Result<Vec<String>> {
        let mut ask = self.db.prepare_cached("SELECT mark FROM marks WHERE id = ?1 ORDER BY nr")?;
        ask.query_map([id], |row| row.get(0))?.collect()
    }

    /// One write, within the current transaction. A failure ends all remembering, and nothing else.
    fn write(&mut self, write: impl FnOnce(&Connection, &str) -> rusqlite::Result<()>) {
        if self.trouble.is_some() {
            return;
        }
        let begun = match self.open {
            Some(_) => Ok(()),
            None => self.db.execute_batch("BEGIN IMMEDIATE"),
        };
        let written = begun.and_then(|()| write(&self.db, &self.now));
        match written {
            Ok(()) => {
                let rows = self.open.map_or(1, |rows| rows + 1);
                self.open = Some(rows);
                if rows >= BATCH {
                    self.commit();
                }
            }
            Err(error) => self.give_up(error),
        }
    }

    fn commit(&mut self) {
        if self.open.take().is_some()
            && let Err(error) = self.db.execute_batch("COMMIT")
        {
            self.give_up(error);
        }
    }

    fn give_up(&mut self, error: rusqlite::Error) {
        self.open = None;
        // It may be over already: SQLite rolls back by itself when the disk is full.
        if !self.db.is_autocommit() {
            let _ = self.db.execute_batch("ROLLBACK");
        }
        self.trouble =
            Some(explain(&self.path, "cannot be written, so what was learnt since is not remembered", error));
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.commit();
    }
}

impl Memory for Ledger {
    fn recall(&mut self, object: &ObjectId) -> Answer<Recall> {
        self.find(&object.key, object.size, object.fingerprint())
    }

    fn recall_listed(&mut self, stored: &StoredSegment) -> Answer<Recall> {
        self.find(&stored.key(), stored.size, stored.version)
    }

    fn oldest(&mut self, count: u64) -> Answer<Vec<ObjectKey>> {
        let read = || {
            let mut ask = self.db.prepare_cached(
                "SELECT key FROM (SELECT key, max(last_checked) AS checked FROM segments GROUP BY key) \
                 ORDER BY checked, key LIMIT ?1",
            )?;
            let rows = ask.query_map([i64::try_from(count).unwrap_or(i64::MAX)], |row| row.get::<_, String>(0))?;
            rows.collect::<Result<Vec<String>, _>>()
        };
        let keys = read().map_err(|error| explain(&self.path, "cannot be read", error))?;
        Ok(keys.into_iter().map(ObjectKey::new).collect())
    }

    /// What could not be judged is not kept: it is looked at again. A good one keeps the highest level it reached.
    fn remember(&mut self, proof: &SegmentProof) -> Answer<()> {
        let Some(kept) = Kept::of(proof) else { return Ok(()) };
        let size = self.size;
        self.write(|db, now| kept.write(db, now, proof.name, size));
        Ok(())
    }
}

const GOOD: &str = "good";
const DAMAGED: &str = "damaged";

/// A row of `segments` as it is stored, without what is there for people only.
#[derive(Debug)]
struct Kept {
    id: i64,
    key: String,
    size: u64,
    version: Fingerprint,
    etag: Option<String>,
    modified: Option<String>,
    name: String,
    level: String,
    verdict: String,
    code: Option<String>,
    damage_lsn: Option<String>,
    damage: Option<String>,
    facts: Option<String>,
    sum: i64,
    /// JSON of each, with what people look for. Only on the way in.
    marks: Vec<(String, Mark)>,
}

impl Kept {
    fn of(proof: &SegmentProof) -> Option<Kept> {
        let mut kept = Kept {
            id: 0,
            key: proof.object.key.as_str().to_owned(),
            size: proof.object.size,
            version: proof.object.fingerprint(),
            etag: proof.object.etag.as_ref().map(|etag| etag.as_str().to_owned()),
            modified: proof.object.modified.map(|time| time.to_string()),
            name: proof.name.to_string(),
            level: proof.level.word().to_owned(),
            verdict: GOOD.to_owned(),
            code: None,
            damage_lsn: None,
            damage: None,
            facts: None,
            sum: 0,
            marks: Vec::new(),
        };
        match &proof.outcome {
            Outcome::Unknown { .. } => return None,
            Outcome::Damaged { code, lsn, what } => {
                kept.verdict = DAMAGED.to_owned();
                kept.code = Some(code.as_str().to_owned());
                kept.damage_lsn = lsn.map(|lsn| lsn.to_string());
                kept.damage = Some(what.clone());
            }
            Outcome::Good(facts) => {
                // The marks have a table of their own.
                let rest = SegmentFacts { marks: Vec::new(), ..(**facts).clone() };
                kept.facts = Some(serde_json::to_string(&rest).ok()?);
                for mark in &facts.marks {
                    kept.marks.push((serde_json::to_string(mark).ok()?, mark.clone()));
                }
            }
        }
        let marks: Vec<&str> = kept.marks.iter().map(|(text, _)| text.as_str()).collect();
        kept.sum = kept.sum(&marks);
        Some(kept)
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Kept> {
        Ok(Kept {
            id: row.get(0)?,
            key: row.get(1)?,
            size: row.get::<_, i64>(2)?.cast_unsigned(),
            version: Fingerprint(row.get::<_, i64>(3)?.cast_unsigned()),
            etag: row.get(4)?,
            modified: row.get(5)?,
            name: row.get(6)?,
            level: row.get(7)?,
            verdict: row.get(8)?,
            code: row.get(9)?,
            damage_lsn: row.get(10)?,
            damage: row.get(11)?,
            facts: row.get(12)?,
            sum: row.get(13)?,
            marks: Vec::new(),
        })
    }

    fn sum(&self, marks: &[&str]) -> i64 {
        let (size, version) = (self.size.to_string(), self.version.0.to_string());
        let own = [
            Some(&self.key),
            Some(&size),
            Some(&version),
            self.etag.as_ref(),
            self.modified.as_ref(),
            Some(&self.name),
            Some(&self.level),
            Some(&self.verdict),
            self.code.as_ref(),
            self.damage_lsn.as_ref(),
            self.damage.as_ref(),
            self.facts.as_ref(),
        ]
        .map(|text| text.map_or("", String::as_str));
        sum_of(&[&own, marks].concat())
    }

    /// What was proven, unless the row is not what was written or not understood any more.
    fn proof(&self, marks: &[String]) -> Option<SegmentProof> {
        let texts: Vec<&str> = marks.iter().map(String::as_str).collect();
        if self.sum != self.sum(&texts) {
            return None;
        }
        let outcome = match &self.facts {
            Some(facts) => {
                let mut facts: SegmentFacts = serde_json::from_str(facts).ok()?;
                facts.marks = texts.iter().map(|mark| serde_json::from_str(mark)).collect::<Result<_, _>>().ok()?;
                Outcome::Good(Box::new(facts))
            }
            None => Outcome::Damaged {
                code: FindingCode::parse(self.code.as_deref()?)?,
                lsn: self.damage_lsn.as_deref().map(str::parse).transpose().ok()?,
                what: self.damage.clone()?,
            },
        };
        let object = ObjectId {
            key: ObjectKey::new(self.key.clone()),
            size: self.size,
            modified: self.modified.as_deref().map(str::parse).transpose().ok()?,
            etag: self.etag.clone().map(ETag::new),
        };
        Some(SegmentProof { name: self.name.parse().ok()?, object, level: level(&self.level)?, outcome })
    }

    fn write(&self, db: &Connection, now: &str, name: SegmentName, size: SegmentSize) -> rusqlite::Result<()> {
        let known: Option<(i64, String, String)> = db
            .prepare_cached("SELECT id, level, verdict FROM segments WHERE key = ?1 AND size = ?2 AND version = ?3")?
            .query_row(params![self.key, self.size.cast_signed(), signed(self.version)], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        if let Some((_, known_level, verdict)) = &known
            && verdict == GOOD
            && self.verdict == GOOD
            && level(known_level) > level(&self.level)
        {
            return Ok(()); // nothing that was not known better
        }
        let number = name.number(size).ok();
        let start = number.and_then(|number| number.start(size)).map(|lsn| lsn.to_string());
        let id: i64 = db
            .prepare_cached(
                "INSERT INTO segments (key, size, version, etag, modified, name, timeline, segment, start_lsn, level, \
                 verdict, code, damage_lsn, damage, first_checked, last_checked, checks, facts, sum) VALUES \
                 (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?15, 1, ?16, ?17) \
                 ON CONFLICT (key, size, version) DO UPDATE SET etag = excluded.etag, modified = excluded.modified, \
                 level = excluded.level, verdict = excluded.verdict, code = excluded.code, \
                 damage_lsn = excluded.damage_lsn, damage = excluded.damage, last_checked = excluded.last_checked, \
                 checks = checks + 1, facts = excluded.facts, sum = excluded.sum RETURNING id",
            )?
            .query_row(
                params![
                    self.key,
                    self.size.cast_signed(),
                    signed(self.version),
                    self.etag,
                    self.modified,
                    self.name,
                    name.timeline().get(),
                    number.map(|number| number.0.cast_signed()),
                    start,
                    self.level,
                    self.verdict,
                    self.code,
                    self.damage_lsn,
                    self.damage,
                    now,
                    self.facts,
                    self.sum
                ],
                |row| row.get(0),
            )?;
        if known.is_some() {
            db.prepare_cached("DELETE FROM marks WHERE id = ?1")?.execute([id])?;
        }
        for (nr, (text, mark)) in (0_i64..).zip(&self.marks) {
            let (kind, name, time) = words(&mark.kind);
            db.prepare_cached("INSERT INTO marks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(params![
                id,
                nr,
                kind,
                mark.at.to_string(),
                name,
                time,
                text
            ])?;
        }
        Ok(())
    }
}

/// Kind, name and time of a mark, for people.
fn words(kind: &MarkKind) -> (&'static str, Option<&str>, Option<String>) {
    match kind {
        MarkKind::Checkpoint { .. } => ("checkpoint", None, None),
        MarkKind::TimelineBegins { .. } => ("timeline_begins", None, None),
        MarkKind::RestorePoint { name, time } => {
            let time = time.unix_micros().and_then(|micros| Timestamp::from_microsecond(micros).ok());
            ("restore_point", Some(name), time.map(|time| time.strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string()))
        }
        MarkKind::BackupEnd { .. } => ("backup_end", None, None),
        MarkKind::Overwrite { .. } => ("overwrite", None, None),
        MarkKind::WalLevel(_) => ("wal_level", None, None),
    }
}

fn level(word: &str) -> Option<Level> {
    [Level::Names, Level::Decode, Level::Headers, Level::Records].into_iter().find(|level| level.word() == word)
}

/// SQLite's integers are signed; the bits are the same.
fn signed(version: Fingerprint) -> i64 {
    version.0.cast_signed()
}

/// CRC-32C over texts with their lengths, so that nothing can move from one to the next.
fn sum_of(texts: &[&str]) -> i64 {
    let sum = texts.iter().fold(0, |sum, text| {
        crc32c::crc32c_append(crc32c::crc32c_append(sum, &(text.len() as u64).to_le_bytes()), text.as_bytes())
    });
    i64::from(sum)
}

/// Why a file is not taken.
enum Refusal {
    Sql(rusqlite::Error),
    Said(String, &'static str),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Refusal::Sql(error)
    }
}

/// Tables, identity, and the row of this run; its number.
fn prepare(db: &Connection, archive: &Identity<'_>, command: &str, now: &str, version: i32) -> Result<i64, Refusal> {
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    let number = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let (application, made) = (number("application_id")?, number("user_version")?);
    if tables > 0 && application != APPLICATION {
        return Err(Refusal::Said("is a database of another program".to_owned(), "Give another file with --ledger."));
    }
    if made > version {
        let what = format!("was made by a newer wal-r: its schema is {made}, this one knows {version}");
        return Err(Refusal::Said(what, "Use the newer wal-r, or begin anew with --rebuild-ledger."));
    }
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "normal")?;
    db.pragma_update(None, "foreign_keys", "on")?;
    db.execute_batch("BEGIN IMMEDIATE")?;
    if tables == 0 {
        db.execute_batch(SCHEMA)?;
        db.pragma_update(None, "application_id", APPLICATION)?;
        db.pragma_update(None, "user_version", version)?;
    }
    let system = archive.system.map(|system| system.to_string());
    db.execute("INSERT OR IGNORE INTO archive VALUES (1, ?1, ?2, ?3)", params![archive.url, system, now])?;
    db.execute("UPDATE archive SET system = ?1 WHERE system IS NULL", [&system])?;
    let (url, known): (String, Option<String>) =
        db.query_row("SELECT url, system FROM archive", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let other = "Give each archive a ledger of its own; if this is the same archive at another place, begin anew with \
                 --rebuild-ledger.";
    if url != archive.url {
        return Err(Refusal::Said(format!("is the ledger of another archive, {url}; asked is {}", archive.url), other));
    }
    if let (Some(known), Some(asked)) = (&known, &system)
        && known != asked
    {
        let what = format!("is the ledger of another cluster: system identifier {known}; the archive's is {asked}");
        return Err(Refusal::Said(what, other));
    }
    db.execute(
        "INSERT INTO runs (began_at, command, program) VALUES (?1, ?2, ?3)",
        params![now, command, env!("CARGO_PKG_VERSION")],
    )?;
    let run = db.last_insert_rowid();
    db.execute_batch("COMMIT")?;
    Ok(run)
}

/// The schema's number of a ledger that is there. `None`: no file, an empty one, or no ledger (which opening it tells).
fn made_by(path: &Path) -> Answer<Option<i32>> {
    let failed = |error: std::io::Error| refused(path, "cannot be read".to_owned()).because(error);
    let mut head = [0_u8; 100];
    let read = match File::open(path) {
        Ok(mut file) => std::io::Read::read_exact(&mut file, &mut head),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(()) => {}
    }
    // https://www.sqlite.org/fileformat.html: big-endian; user_version at 60, application_id at 68.
    let number = |at: usize| head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
    let ours = head.starts_with(b"SQLite format 3\0") && number(68) == Some(APPLICATION);
    Ok(if ours { number(60) } else { None })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// One run at a time. The lock is of the file's own, so that SQLite's are left alone, and ends with the process.
fn lock(path: &Path) -> Answer<File> {
    let file = beside(path, ".lock");
    let failed = |error: std::io::Error| {
        let what = "cannot be locked; is its directory there, and may it be written to?";
        refused(path, what.to_owned()).because(error)
    };
    let lock = File::options().create(true).truncate(false).write(true).open(&file).map_err(failed)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let hint = format!("Wait for it; `fuser {}` names the process.", file.display());
            Err(refused(path, "is in use by another run of wal-r".to_owned()).hint(hint))
        }
        Err(error) => Err(failed(error.into())),
    }
}

/// What is there, under another name: whatever it is, nothing is deleted. `None` when nothing is there.
fn move_aside(path: &Path) -> Answer<Option<PathBuf>> {
    let old = beside(path, ".old");
    let failed = |error: std::io::Error| refused(path, "cannot be moved aside".to_owned()).because(error);
    // Its write-ahead log belongs to it: without it, it is the state of an earlier commit.
    for suffix in ["-wal", "-shm", ""] {
        match std::fs::rename(beside(path, suffix), beside(&old, suffix)) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && suffix.is_empty() => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // Nor may it get that of an older one.
                match std::fs::remove_file(beside(&old, suffix)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
                    _ => {}
                }
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(Some(old))
}

fn refused(path: &Path, what: String) -> Error {
    Error::new(Code::LocalLedger, what).on(path.display())
}

fn explain(path: &Path, what: &str, error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            refused(path, "is damaged, or no ledger".to_owned()).because(error)
        }
        _ => refused(path, what.to_owned()).hint("The cause is named.").because(error),
    }
}

#[cfg(test)]
mod tests;
