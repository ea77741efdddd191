//! `config check`: do these settings reach an archive that can be read?
//!
//! In: a store. Out: [`Step`]s, each ending in one of the four answers: the archive is listed, the newest sentinel is
//! read, the first bytes of a WAL segment say whether keys are needed. Never: writes, or reads a whole archive.

use super::{Progress, Unit, object};
use crate::backup::sentinel::Sentinel;
use crate::error::{Answer, Code, Error, Verdict};
use crate::layout::{self, Entry, ObjectKey, WalFile};
use crate::storage::{ByteRange, Depth, Listed, ObjectId, Store};
use futures::StreamExt;
use serde::Serialize;

/// Entries of a listing that are looked at: more backups than this have one newest all the same, but not here.
const ENOUGH: usize = 10_000;
/// Bytes of a sentinel or version file that are read; real ones have hundreds.
const SENTINEL_MOST: u64 = 16 << 20;
/// Bytes from the start of a segment: all the sniffer can use.
const FIRST_BYTES: u64 = 4096;

/// One thing that was tried.
#[derive(Debug, Serialize)]
pub struct Step {
    /// Which store, where the archive has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// What was tried: `settings`, `list`, `read`, `decode`.
    pub step: &'static str,
    /// `present`, `absent`, `unknown` or `damaged`.
    pub answer: &'static str,
    /// What was found, or why not, in one line.
    pub found: String,
    /// The error's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The code that fixes the exit code.
    #[serde(skip)]
    pub failed: Option<Code>,
}

impl Step {
    /// It worked.
    pub fn present(step: &'static str, found: impl Into<String>) -> Self {
        Step { storage: None, step, answer: "present", found: found.into(), code: None, hint: None, failed: None }
    }

    /// It did not.
    pub fn failed(step: &'static str, error: &Error) -> Self {
        let answer = match error.verdict() {
            Verdict::Absent => "absent",
            Verdict::Unknown => "unknown",
            Verdict::Damaged => "damaged",
        };
        Step {
            storage: None,
            step,
            answer,
            found: error.chain(),
            code: Some(error.code().as_str()),
            hint: error.advice().map(str::to_owned),
            failed: Some(error.code()),
        }
    }
}

impl Step {
    /// It was tried on this one of several stores.
    #[must_use]
    pub fn of(self, storage: Option<&str>) -> Self {
        Step { storage: storage.map(str::to_owned), ..self }
    }
}

/// Try the store. The steps that could be tried, in order; what follows a failure that makes it pointless is left out.
pub async fn run(store: &dyn Store, progress: &dyn Progress) -> Vec<Step> {
    progress.begin("asking the store", None, Unit::Things("requests"));
    let steps = steps(store, progress).await;
    progress.end();
    steps
}

async fn steps(store: &dyn Store, progress: &dyn Progress) -> Vec<Step> {
    progress.advance(1);
    let listed = match list(store).await {
        Ok(listed) => listed,
        Err(error) => return vec![Step::failed("list", &error)],
    };
    let mut steps = vec![Step::present("list", listed.sentence())];
    if let Some(newest) = &listed.newest {
        progress.advance(1);
        steps.push(match sentinel(store, newest).await {
            Ok(found) => Step::present("read", found),
            Err(error) => Step::failed("read", &error),
        });
    }
    if let Some(segment) = &listed.segment {
        progress.advance(1);
        steps.push(match first_bytes(store, segment).await {
            Ok(found) => Step::present("decode", found),
            Err(error) => Step::failed("decode", &error),
        });
    }
    steps
}

#[derive(Debug, Default)]
struct Found {
    backups: usize,
    newest: Option<ObjectId>,
    segment: Option<ObjectId>,
    more: bool,
}

impl Found {
    fn sentence(&self) -> String {
        let backups = match (self.backups, self.more) {
            (0, _) => "no base backup".to_owned(),
            (1, false) => "1 base backup".to_owned(),
            (count, false) => format!("{count} base backups"),
            (count, true) => format!("{count} base backups and more"),
        };
        let newest = self.newest.as_ref().map(|object| {
            let name = object.key.base_name();
            let name = name.strip_suffix(layout::SENTINEL_SUFFIX).unwrap_or(name);
            match object.modified {
                Some(time) => format!(", the last written {name} at {time:.0}"),
                None => format!(", the last written {name}"),
            }
        });
        let wal = if self.segment.is_some() { "; WAL segments" } else { "; no WAL segment" };
        format!("{backups}{}{wal}", newest.unwrap_or_default())
    }
}

async fn list(store: &dyn Store) -> Answer<Found> {
    let mut found = Found::default();
    let mut seen = 0;
    let mut backups = store.list(layout::BACKUPS, Depth::Level, None);
    while let Some(entry) = backups.next().await {
        let Listed::Object(object) = entry? else { continue };
        if let Entry::Sentinel(_) = Entry::parse(&object.key) {
            found.backups += 1;
            // The time that the store knows is good enough here: the newest is only an example that can be read.
            if found.newest.as_ref().is_none_or(|newest| newest.modified <= object.modified) {
                found.newest = Some(object);
            }
        }
        seen += 1;
        if seen == ENOUGH {
            found.more = true;
            break;
        }
    }
    let mut wal = store.list(layout::WAL, Depth::Level, None).take(ENOUGH);
    while let Some(entry) = wal.next().await {
        let Listed::Object(object) = entry? else { continue };
        if let Entry::Wal { file: WalFile::Segment(_), .. } = Entry::parse(&object.key) {
            found.segment = Some(object);
            break;
        }
    }
    if found.backups > 0 || found.segment.is_some() {
        return Ok(found);
    }
    // Neither: is anything there at all, one level too high or too low perhaps?
    let mut names = Vec::new();
    let mut root = store.list("", Depth::Level, None).take(5);
    while let Some(entry) = root.next().await {
        names.push(match entry? {
            Listed::Object(object) => object.key.to_string(),
            Listed::Folder(key) => key.to_string(),
        });
    }
    Err(match names.is_empty() {
        true => Error::new(Code::AbsentPrefix, "nothing is there").on(store.url()),
        false => Error::new(Code::AbsentPrefix, "no archive is there").on(store.url()).hint(format!(
            "What is there: {}. An archive's prefix is the one above basebackups_005 and wal_005.",
            names.join(", ")
        )),
    })
}

async fn sentinel(store: &dyn Store, object: &ObjectId) -> Answer<String> {
    let url = store.object_url(&object.key);
    if object.size > SENTINEL_MOST {
        return Ok(format!("{url}: {} bytes, not read here", object.size));
    }
    let bytes = object::read(store, &object.key, ByteRange::ALL, SENTINEL_MOST).await?;
    match Sentinel::parse(&bytes) {
        Ok(sentinel) if sentinel.is_wal_e() => Ok(format!("{url}: a sentinel of WAL-E")),
        Ok(_) => Ok(format!("{url}: a sentinel of WAL-G")),
        Err(error) => Err(Error::new(Code::DamagedSentinel, "not a sentinel").on(url).because(error)),
    }
}

async fn first_bytes(store: &dyn Store, object: &ObjectId) -> Answer<String> {
    let url = store.object_url(&object.key);
    if object.size == 0 {
        return Err(Error::new(Code::DamagedObject, "the object is empty").on(url));
    }
    let bytes = object::read(store, &object.key, ByteRange::new(0, FIRST_BYTES.min(object.size)), FIRST_BYTES).await?;
    judged(&url, &object.key, &bytes)
}

/// Can a stream that begins so be decoded here?
fn judged(url: &str, key: &ObjectKey, bytes: &[u8]) -> Answer<String> {
    let format = crate::codec::sniff::sniff(bytes);
    super::st::decoder_of(key, bytes, url).map(|_| format!("{url}: {format}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::Silent;
    use crate::storage::memory::MemoryStore;
    use expect_test::{Expect, expect};

    const SENTINEL: &str = r#"{"wal_segment_backup_stop": "000000010000000000000002", "wal_segment_offset_backup_stop": "00000312", "expanded_size_bytes": 22, "spec": {}}"#;

    async fn check(objects: &[(&str, &[u8])], wanted: Expect) {
        let store = MemoryStore::new();
        for (key, bytes) in objects {
            store.insert(key, bytes.to_vec());
        }
        let steps = run(&store, &Silent).await;
        let lines = steps
            .iter()
            .map(|step| format!("{} {} {} {}\n", step.step, step.answer, step.code.unwrap_or("-"), step.found));
        wanted.assert_eq(&lines.collect::<String>());
    }

    #[tokio::test]
    async fn four_answers() {
        let name = "basebackups_005/base_000000010000000000000002_00000040_backup_stop_sentinel.json";
        let wal = "wal_005/000000010000000000000002.lzo";
        let lzop = [0x89, b'L', b'Z', b'O', 0, 0x0d, 0x0a, 0x1a, 0x0a, 1, 2, 3];
        check(&[(name, SENTINEL.as_bytes()), (wal, &lzop)], expect![[r#"
            list present - 1 base backup, the last written base_000000010000000000000002_00000040; WAL segments
            read present - memory:///basebackups_005/base_000000010000000000000002_00000040_backup_stop_sentinel.json: a sentinel of WAL-E
            decode present - memory:///wal_005/000000010000000000000002.lzo: an lzop file
        "#]]).await;
        check(&[(name, SENTINEL.as_bytes())], expect![[r#"
            list present - 1 base backup, the last written base_000000010000000000000002_00000040; no WAL segment
            read present - memory:///basebackups_005/base_000000010000000000000002_00000040_backup_stop_sentinel.json: a sentinel of WAL-E
        "#]]).await;
        check(&[(name, b"not json"), (wal, b"")], expect![[r#"
            list present - 1 base backup, the last written base_000000010000000000000002_00000040; WAL segments
            read damaged damaged.sentinel memory:///basebackups_005/base_000000010000000000000002_00000040_backup_stop_sentinel.json: not a sentinel: not JSON: expected ident at line 1 column 2
            decode damaged damaged.object memory:///wal_005/000000010000000000000002.lzo: the object is empty
        "#]]).await;
        check(&[("wal_005/000000010000000000000002.zst", &[0x28, 0xB5, 0x2F, 0xFD, 0, 0])], expect![[r#"
            list present - no base backup; WAL segments
            decode damaged damaged.codec memory:///wal_005/000000010000000000000002.zst: this build cannot decode .zst objects
        "#]]).await;
        check(&[(wal, b"-----BEGIN PGP MESSAGE-----\n\nhQEMA")], expect![[r#"
            list present - no base backup; WAL segments
            decode unknown crypt.unsupported memory:///wal_005/000000010000000000000002.lzo: it is an OpenPGP message in ASCII armor
        "#]]).await;
        check(
            &[],
            expect![[r#"
            list absent absent.prefix memory:///: nothing is there
        "#]],
        )
        .await;
        check(
            &[("db1/wal_005/x", b""), ("db2/wal_005/x", b"")],
            expect![[r#"
            list absent absent.prefix memory:///: no archive is there
        "#]],
        )
        .await;
    }
}
