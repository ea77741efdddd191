//! One validated file for PostgreSQL, asked of the store.
//!
//! In: a name PostgreSQL asks for, a destination, who asks ([`Mode`]). Out: the file under its name, whole and checked, or
//! one of the other three answers. For a fetch by itself and for the feeder. Never: asks for a name no archive holds; takes anything but the store's own word for
//! absence; hands over what does not validate, or a parent's segment in place of its child's.
//!
//! **What it costs.** One GET of `NAME.lzo`, the likeliest form. Only when the store says that there is none, one listing:
//! of the name, for a segment of its timeline from the segment before it on, which shows every other stored form, near
//! misses, what lies behind, and how old the newest one is. So 1 request for a file, 2 for a miss; and //! absence is said
//! only when a GET and a listing agree on it, because a listing alone may be stale. Who asks for the same file again and
//! again may bring the listing along ([`Options::seen`]), as long as it is young: then a miss is 1 request. A segment of a
//! timeline that, by its history, began only behind it was never there: 0 requests.
//!
//! **Gaps.** An absent segment is the end of the archive, unless the same timeline goes on behind it, or a history in the
//! server's WAL directory says that the way to its target leaves this timeline only later. PostgreSQL asks for the
//! segments of the newest timeline first and keeps a copy of each history it follows, so when it asks for a parent's
//! segment at or behind a switch point, the child's is not in its hands. If it is not in the archive either, handing over
//! the parent's would let it replay past the fork.

use super::deliver::Landing;
use super::mode::{Mode, Who};
use super::pull::pull;
use crate::catalog::inventory::{Form, InventoryBuilder, StoredFile, order_of_trial};
use crate::catalog::{Inventory, scan};
use crate::error::{Answer, Class, Code, Error, Verdict};
use crate::layout::{self, Compression, ObjectKey, WalFile};
use crate::pg::history::TimelineHistory;
use crate::pg::label::BackupHistoryFile;
use crate::pg::{Lsn, SegmentName, SegmentSize, TimelineId};
use crate::storage::{ByteRange, Depth, Got, Listed, Store, StoreError, StoreErrorKind};
use crate::wal::segment::{Expect, Level, SegmentReport};
use futures::TryStreamExt;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// A segment behind a gap that is younger than this may have overtaken its predecessor: WAL-E pushes in parallel.
const OVERTAKES_WITHIN: Duration = Duration::from_secs(300);
/// How long the predecessor is waited for then, at most.
const OVERTAKEN_WAIT: Duration = Duration::from_secs(3);

/// How long the predecessor is waited for by who must have an answer after so long: the requests need most of that.
pub fn overtaken_wait(deadline: Duration) -> Duration {
    OVERTAKEN_WAIT.min(deadline / 4)
}

/// What to fetch.
#[derive(Debug, Clone)]
pub struct Options {
    /// The file, as [`name`] took it.
    pub file: WalFile,
    /// Where it goes. Its directory must exist; what is there is replaced.
    pub destination: PathBuf,
    /// How closely a segment is looked at.
    pub check: Level,
    /// What a gap means; `None`: by who asks.
    pub on_gap: Option<OnGap>,
    /// The form a segment is asked for first.
    pub likely: Form,
    /// The present, for the age of the newest segment.
    pub now: jiff::Timestamp,
    /// How long a segment is waited for that a younger one overtook: see [`overtaken_wait`].
    pub overtaken: Duration,
    /// What a listing showed a moment ago, for this very file. It stands in for another one when a GET says absent.
    pub seen: Option<Around>,
}

/// What a gap means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnGap {
    /// Recovery must stop.
    Stop,
    /// It is only not there.
    Absent,
}

/// What became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The name asked for.
    pub file: String,
    /// Who asked.
    pub who: Who,
    /// How that was found out.
    pub because: String,
    /// Delivered, or not there.
    pub outcome: Outcome,
    /// What people should know and need not act on.
    pub notes: Vec<String>,
    /// What people should act on.
    pub warnings: Vec<String>,
    /// What could not be checked of it, because it takes the segment before it.
    pub unchecked: Option<String>,
    /// What the check of a segment found.
    #[serde(skip)]
    pub segment: Option<Box<SegmentReport>>,
    /// What the listing showed that an absence was said by.
    #[serde(skip)]
    pub seen: Option<Around>,
}

/// The two answers that are no failures.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The file is under its name.
    Delivered {
        /// URL of the object.
        object: String,
        /// Bytes of the file.
        bytes: u64,
    },
    /// The store said that it is not there.
    Absent,
}

/// The name of a file that an archive holds; nothing else is ever asked for.
pub fn name(text: &str) -> Answer<WalFile> {
    text.parse().map_err(|cause| Error::new(Code::UsageName, "cannot fetch it").on(text).because(cause))
}

/// How a finished file gets its name; the second argument: synced.
pub type Publish<'a> = &'a (dyn Fn(Landing, bool) -> Answer<()> + Sync);

/// Fetch it. `Err` is a failure for the exit code's table; a gap is one only where recovery must stop.
pub async fn run(store: &dyn Store, options: &Options, mode: &Mode) -> Answer<Report> {
    run_for(store, options, mode, &|landing, sync| landing.publish(sync)).await
}

/// The same for somebody who may not want it any more when it is there.
pub async fn run_for(store: &dyn Store, options: &Options, mode: &Mode, publish: Publish<'_>) -> Answer<Report> {
    let (notes, warnings) = (Vec::new(), Vec::new());
    let mut fetch = Fetch { store, options, mode, publish, notes, warnings, segment: None, seen: None };
    if let Some(trouble) = &mode.control_trouble {
        fetch.warnings.push(format!("the system identifier is not checked: {trouble}"));
    }
    let outcome = match &options.file {
        WalFile::Segment(name) => fetch.segment(*name).await?,
        WalFile::Partial(name) => fetch.partial(*name).await?,
        WalFile::History(timeline) => fetch.history(*timeline).await?,
        WalFile::BackupHistory(name, offset) => fetch.backup_history((*name, *offset)).await?,
    };
    let Fetch { notes, warnings, segment, seen, .. } = fetch;
    let unchecked = segment.as_deref().and_then(unchecked);
    Ok(Report {
        file: options.file.to_string(),
        who: mode.who,
        because: mode.because.clone(),
        outcome,
        notes,
        warnings,
        unchecked,
        segment,
        seen,
    })
}

/// What a segment leaves unchecked at its borders, in words.
pub fn unchecked(report: &SegmentReport) -> Option<String> {
    let head = (report.unchecked_head > 0).then(|| {
        format!("its first {} bytes belong to a record that began in the segment before it", report.unchecked_head)
    });
    let tail = (report.unchecked_tail > 0)
        .then(|| format!("its last {} bytes to one that ends in the segment behind it", report.unchecked_tail));
    match (head, tail) {
        (Some(head), Some(tail)) => Some(format!("{head}, {tail}")),
        (Some(one), None) | (None, Some(one)) => Some(one),
        (None, None) => None,
    }
}

struct Fetch<'a> {
    store: &'a dyn Store,
    options: &'a Options,
    mode: &'a Mode,
    publish: Publish<'a>,
    notes: Vec<String>,
    warnings: Vec<String>,
    segment: Option<Box<SegmentReport>>,
    seen: Option<Around>,
}

/// What one listing shows around a file.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// Its stored forms; for a segment also those of `.partial`, and what is before and behind it.
    inventory: Inventory,
    /// The newest segment of the timeline before it, among those listed.
    before: Option<(SegmentName, Option<jiff::Timestamp>)>,
    /// The first one behind it.
    behind: Option<(SegmentName, Option<jiff::Timestamp>)>,
    /// Keys that begin with its name and are nothing.
    near: Vec<ObjectKey>,
}

impl Around {
    /// The newest segment before it.
    pub fn newest_before(&self) -> Option<SegmentName> {
        self.before.map(|(name, _)| name)
    }
}

impl Fetch<'_> {
    async fn segment(&mut self, name: SegmentName) -> Answer<Outcome> {
        // Without them a parent's segment could stand in for its child's, and a gap look like the end.
        if let Some(trouble) = &self.mode.histories_trouble {
            let what = format!("it cannot be told which timelines are followed: {trouble}");
            return Err(Error::new(Code::LocalIo, what).on(name));
        }
        if let Some(begin) = self.before_its_timeline(name) {
            self.notes
                .push(format!("{name} was never there: timeline {} begins at {begin}, behind it", name.timeline()));
            return Ok(Outcome::Absent);
        }
        if let Some(fork) = self.fork(name).await? {
            return self.gap(fork);
        }
        let expect = self.expect(name, false);
        let first = self.options.likely;
        let mut damaged = None;
        match self.form(&first.key(name), first.stored, expect).await {
            Ok(Some(outcome)) => return Ok(outcome),
            Ok(None) => {}
            Err(error) if tries_on(&error) => damaged = Some(error),
            Err(error) => return Err(error),
        }
        let mut around = match self.options.seen.clone().filter(|_| damaged.is_none()) {
            Some(seen) => seen,
            None => self.around(name).await?,
        };
        if damaged.is_none() && self.was_overtaken(name, &around) {
            tokio::time::sleep(self.options.overtaken).await;
            around = self.around(name).await?;
        }
        let forms: Vec<StoredFile> = around
            .inventory
            .stored(name)
            .iter()
            .filter(|one| damaged.is_none() || one.form != first)
            .map(|one| StoredFile {
                stored: one.form.stored,
                object: crate::storage::ObjectId { key: one.key(), size: one.size, modified: None, etag: None },
            })
            .collect();
        if let Some(outcome) = self.any_form(&forms, expect, damaged).await? {
            return Ok(outcome);
        }
        let outcome = self.missing(name, &around).await;
        self.seen = Some(around);
        outcome
    }

    /// Where the segment's timeline began, when that is behind the segment by the history that the server keeps.
    fn before_its_timeline(&self, name: SegmentName) -> Option<Lsn> {
        let known = self.mode.histories.iter().find(|known| known.timeline() == name.timeline())?;
        let begin = known.begin()?;
        // Names depend on the size: only where it is known.
        let size = self.mode.control.as_ref()?.segment_size;
        (begin.segment(size) > name.number(size).ok()?).then_some(begin)
    }

    async fn partial(&mut self, name: SegmentName) -> Answer<Outcome> {
        let inventory = self.list_name(&WalFile::Partial(name)).await?;
        let forms = inventory.partials.get(&name).cloned().unwrap_or_default();
        let outcome = self.any_form(&forms, self.expect(name, true), None).await?;
        Ok(outcome.unwrap_or_else(|| self.plainly_absent()))
    }

    /// The first form that delivers. `None` when there is no form at all. `damaged` is what was wrong with one already
    /// tried; when every form is damaged, the first one's error is the answer.
    async fn any_form(
        &mut self,
        forms: &[StoredFile],
        expect: Expect,
        mut damaged: Option<Error>,
    ) -> Answer<Option<Outcome>> {
        let mut forms: Vec<&StoredFile> = forms.iter().collect();
        order_of_trial(&mut forms, |form| form.stored);
        let mut vanished = None;
        for form in forms {
            match self.form(&form.object.key, form.stored, expect).await {
                Ok(None) => vanished = Some(form.object.key.clone()),
                Ok(Some(outcome)) => {
                    if let Some(error) = &damaged {
                        self.warnings.push(other_form(error));
                    }
                    return Ok(Some(outcome));
                }
                Err(error) if tries_on(&error) => damaged = damaged.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        match (damaged, vanished) {
            (Some(error), _) => Err(error),
            (None, Some(key)) => Err(self.contradiction(&key)),
            (None, None) => Ok(None),
        }
    }

    async fn history(&mut self, timeline: TimelineId) -> Answer<Outcome> {
        let parse = |bytes: &[u8]| {
            TimelineHistory::parse(timeline, bytes)
                .map_err(|cause| Error::new(Code::DamagedHistory, "it is no timeline history").because(cause))
        };
        let forms = |inventory: &Inventory| inventory.histories.get(&timeline).cloned();
        let (outcome, history) = self.small(parse, forms).await?;
        if let Some(history) = history {
            let contradicts =
                |known: &&TimelineHistory| history.contains(known.timeline()) && !history.agrees_with(known);
            if let Some(known) = self.mode.histories.iter().find(contradicts) {
                self.warnings.push(format!(
                    "the archive's {} and the history of its ancestor {} in the WAL directory contradict each other: two \
                     clusters in one prefix, perhaps",
                    self.options.file,
                    known.timeline()
                ));
            }
        }
        Ok(outcome)
    }

    async fn backup_history(&mut self, place: (SegmentName, u32)) -> Answer<Outcome> {
        let parse = |bytes: &[u8]| {
            BackupHistoryFile::parse(bytes)
                .map_err(|cause| Error::new(Code::DamagedObject, "it is no backup history").because(cause))
        };
        let forms = |inventory: &Inventory| inventory.backup_histories.get(&place).cloned();
        Ok(self.small(parse, forms).await?.0)
    }

    /// Deliver the first stored form of a small file that `parse` takes.
    async fn small<T>(
        &mut self,
        parse: impl Fn(&[u8]) -> Answer<T>,
        listed: impl Fn(&Inventory) -> Option<Vec<StoredFile>>,
    ) -> Answer<(Outcome, Option<T>)> {
        let likely = self.options.likely;
        let mut forms = vec![(likely.key(self.options.file), likely.stored)];
        let mut damaged = None;
        let mut looked = false;
        loop {
            for (key, stored) in std::mem::take(&mut forms) {
                let url = self.store.object_url(&key);
                let parsed = match scan::small(self.store, &key, stored).await {
                    Ok(bytes) => parse(&bytes).map(|value| (bytes, value)).map_err(|error| error.on(&url)),
                    Err(error) => Err(error),
                };
                match parsed {
                    Ok((bytes, value)) => {
                        if let Some(error) = &damaged {
                            self.warnings.push(other_form(error));
                        }
                        let landing = Landing::open(&self.options.destination)?;
                        let size = bytes.len() as u64;
                        landing.writer()?.write(&bytes, Some(size))?;
                        (self.publish)(landing, !self.mode.transient)?;
                        return Ok((Outcome::Delivered { object: url, bytes: size }, Some(value)));
                    }
                    Err(error) if error.code() == Code::AbsentObject && looked => return Err(self.contradiction(&key)),
                    Err(error) if error.code() == Code::AbsentObject => {}
                    Err(error) if tries_on(&error) => damaged = damaged.or(Some(error)),
                    Err(error) => return Err(error),
                }
            }
            if looked {
                return match damaged {
                    Some(error) => Err(error),
                    None => Ok((self.plainly_absent(), None)),
                };
            }
            looked = true;
            let around = match self.options.seen.clone().filter(|_| damaged.is_none()) {
                Some(seen) => seen,
                None => Around { inventory: self.list_name(&self.options.file).await?, ..Around::default() },
            };
            let found = listed(&around.inventory).unwrap_or_default();
            self.seen = Some(around);
            let tried = damaged.is_some().then(|| likely.key(self.options.file));
            forms.extend(found.into_iter().map(|form| (form.object.key, form.stored)));
            forms.retain(|(key, _)| Some(key) != tried.as_ref());
        }
    }

    fn plainly_absent(&mut self) -> Outcome {
        let what = match self.options.file {
            WalFile::History(_) => "the server asks for timelines that may exist",
            _ => "PostgreSQL does not need it",
        };
        self.notes.push(format!("{} is not in the archive; this is normal: {what}", self.options.file));
        Outcome::Absent
    }

    /// Ask for one object. `None`: the store said that it is not there.
    async fn get(&self, key: &ObjectKey) -> Answer<Option<Got>> {
        match self.store.get(key, ByteRange::ALL, None).await {
            Ok(got) => Ok(Some(got)),
            Err(error) if error.kind == StoreErrorKind::NoSuchObject => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Deliver one stored form. `None`: the store said that it is not there.
    ///
    /// One that is replaced while it is read is read anew from its beginning, once: two archivers that push the same segment
    /// do that, and the new object is whole by itself.
    async fn form(&mut self, key: &ObjectKey, stored: Compression, expect: Expect) -> Answer<Option<Outcome>> {
        let Some(got) = self.get(key).await? else { return Ok(None) };
        match self.deliver(got, stored, expect).await {
            Err(replaced) if replaced.code() == Code::StoreChanged => {
                // Gone behind that, it is not "not there": somebody is at work on it.
                let Some(got) = self.get(key).await? else { return Err(replaced) };
                let outcome = self.deliver(got, stored, expect).await?;
                self.notes
                    .push(format!("{} was replaced while it was read, and read anew", self.store.object_url(key)));
                Ok(Some(outcome))
            }
            answer => answer.map(Some),
        }
    }

    async fn deliver(&mut self, got: Got, stored: Compression, expect: Expect) -> Answer<Outcome> {
        let object = self.store.object_url(&got.object.key);
        let landing = Landing::open(&self.options.destination)?;
        let pulled = pull(self.store, got, stored, expect, &landing).await?;
        (self.publish)(landing, !self.mode.transient)?;
        let report = pulled.report;
        if let Some(at) = report.odd_at {
            self.warnings.push(format!(
                "{object}: {} bytes that no checksum covers are not zero, the first at {at}; PostgreSQL ignores them",
                report.odd_bytes
            ));
        }
        let bytes = report.size.bytes();
        self.segment = Some(Box::new(report));
        Ok(Outcome::Delivered { object, bytes })
    }

    fn expect(&self, name: SegmentName, partial: bool) -> Expect {
        let control = self.mode.control.as_ref();
        Expect {
            size: control.map(|control| control.segment_size),
            system: control.map(|control| control.system),
            level: self.options.check,
            partial,
            ..Expect::new(name)
        }
    }

    /// The segment size, as well as it is known. Only for places around a segment; never for a verdict on one.
    fn size(&self) -> SegmentSize {
        self.mode.control.as_ref().map_or(SegmentSize::DEFAULT, |control| control.segment_size)
    }

    /// All stored forms of a file, and what else begins with its name.
    async fn list_name(&self, file: &WalFile) -> Answer<Inventory> {
        let mut builder = InventoryBuilder::new();
        let mut lines = self.store.list(&format!("{}{file}", layout::WAL), Depth::Level, None);
        while let Some(line) = lines.try_next().await? {
            builder.add(line);
        }
        Ok(builder.finish())
    }

    /// One listing from the segment before this one up to the first one behind it.
    async fn around(&self, name: SegmentName) -> Answer<Around> {
        let prefix = format!("{}{}", layout::WAL, name.timeline().hex());
        // Behind every stored form of the one before the one before it: '~' comes after every character of a suffix.
        let number = name.number(self.size()).ok().and_then(|number| number.previous()?.previous());
        let start = number.and_then(|number| number.name(name.timeline(), self.size()));
        let start = start.map(|start| ObjectKey::new(format!("{}{start}~", layout::WAL)));
        let mut builder = InventoryBuilder::new();
        let mut lines = self.store.list(&prefix, Depth::Level, start.as_ref());
        let sorted = self.store.capabilities().sorted;
        let mut near = Vec::new();
        let stem = format!("{}{name}", layout::WAL);
        while let Some(line) = lines.try_next().await? {
            let Listed::Object(object) = line else { continue };
            let entry = layout::Entry::parse(&object.key);
            if object.key.as_str().starts_with(&stem) && entry == layout::Entry::Foreign {
                near.push(object.key.clone());
            }
            let behind = matches!(entry, layout::Entry::Wal { file: WalFile::Segment(found), .. } if found > name);
            builder.add(Listed::Object(object));
            if behind && sorted {
                break;
            }
        }
        let inventory = builder.finish();
        let on = inventory.on(name.timeline());
        let of = |one: &crate::catalog::inventory::StoredSegment| (one.name, one.modified());
        Ok(Around {
            before: on.iter().rfind(|one| one.name < name).map(of),
            behind: on.iter().find(|one| one.name > name).map(of),
            near,
            inventory,
        })
    }

    /// Is it absent only because a younger one overtook it on its way into the archive?
    fn was_overtaken(&self, name: SegmentName, around: &Around) -> bool {
        let young = |written: jiff::Timestamp| {
            let age = self.options.now.duration_since(written);
            age < jiff::SignedDuration::try_from(OVERTAKES_WITHIN).unwrap_or(jiff::SignedDuration::ZERO)
        };
        !around.inventory.has(name) && around.behind.and_then(|(_, written)| written).is_some_and(young)
    }

    /// No stored form is there: the end of the archive, or a gap?
    async fn missing(&mut self, name: SegmentName, around: &Around) -> Answer<Outcome> {
        if let Some(why) = self.must_exist(name, around).await? {
            return self.gap(
                Error::new(Code::GapSegment, format!("segment {name} is not in the archive, but {why}"))
                    .on(self.store.object_url(&ObjectKey::new(format!("{}{name}", layout::WAL)))),
            );
        }
        if around.inventory.partials.contains_key(&name) {
            self.notes.push(format!(
                "{name} is in the archive only as .partial: the last, unfinished segment of timeline {}",
                name.timeline()
            ));
        }
        for key in around.near.iter().take(3) {
            self.warnings.push(format!("{} begins with the segment's name, but is none", self.store.object_url(key)));
        }
        self.notes.push(match &around.before {
            Some((newest, written)) => {
                let age = written.map_or_else(String::new, |written| {
                    format!(", {} s old", self.options.now.duration_since(written).as_secs().max(0))
                });
                format!("{name} is not in the archive yet (newest is {newest}{age}); normal at the end of the archive")
            }
            None => format!("{name} is not in the archive, and neither is the segment before it"),
        });
        Ok(Outcome::Absent)
    }

    /// Why this absent segment must exist, in words; `None` at an ordinary end.
    async fn must_exist(&self, name: SegmentName, around: &Around) -> Answer<Option<String>> {
        let timeline = name.timeline();
        let size = self.size();
        let Ok(number) = name.number(size) else { return Ok(None) };
        // A way that the server follows, and that leaves this timeline only behind this segment.
        for way in self.mode.ways() {
            let Some(span) = way.span(timeline) else { continue };
            let Some(end) = span.end.filter(|_| way.segment_owner(number, size) == timeline) else { continue };
            return Ok(Some(format!(
                "the way to timeline {} leaves timeline {timeline} only at {end}",
                way.timeline()
            )));
        }
        let Some((behind, _)) = around.behind else { return Ok(None) };
        // Old servers ask for a child's segments before it began: those never existed.
        if timeline != TimelineId::FIRST && around.before.is_none() {
            let known = self.mode.histories.iter().find(|known| known.timeline() == timeline).cloned();
            let history = match known {
                Some(history) => Some(history),
                None => self.archived_history(timeline).await?,
            };
            let begin = history.and_then(|history| history.begin());
            if begin.is_some_and(|begin| begin.segment(size) > number) {
                return Ok(None);
            }
        }
        Ok(Some(format!("timeline {timeline} goes on behind it with {behind}")))
    }

    /// The parent's segment is asked for where the child's is needed and absent.
    async fn fork(&self, name: SegmentName) -> Answer<Option<Error>> {
        // pg_rewind and people mean the timeline they name.
        if !matches!(self.mode.who, Who::PointInTime | Who::Standby) {
            return Ok(None);
        }
        let size = self.size();
        let Ok(number) = name.number(size) else { return Ok(None) };
        for way in self.mode.ways() {
            let owner = way.segment_owner(number, size);
            if !way.contains(name.timeline()) || owner <= name.timeline() {
                continue;
            }
            // A target before the fork needs only the parent's part, which both files have.
            let begin = way.span(owner).map(|span| span.begin);
            if let (Some(target), Some(begin)) = (self.mode.target.lsn, begin)
                && target < begin
            {
                continue;
            }
            let child = name.on(owner);
            if self.list_name(&WalFile::Segment(child)).await?.has(child) {
                continue;
            }
            let begin = begin.unwrap_or_default();
            let what = format!(
                "recovery follows timeline {}, which leaves timeline {} at {begin}, within or before this segment; {child} \
                 is not in the archive, and {name} is not handed over in its place",
                way.timeline(),
                name.timeline()
            );
            return Ok(Some(Error::new(Code::GapFork, what).on(name)));
        }
        Ok(None)
    }

    /// The history of a timeline in the archive, when it is there and readable.
    async fn archived_history(&self, timeline: TimelineId) -> Answer<Option<TimelineHistory>> {
        let inventory = self.list_name(&WalFile::History(timeline)).await?;
        match inventory.histories.get(&timeline) {
            Some(forms) => Ok(scan::history(self.store, timeline, forms).await?.ok()),
            None => Ok(None),
        }
    }

    /// Stop recovery, or let the server find out by itself.
    fn gap(&mut self, error: Error) -> Answer<Outcome> {
        let stop = match self.options.on_gap {
            Some(on_gap) => on_gap == OnGap::Stop,
            // From 13 on the server refuses to open before its target, and may ask for more than it needs.
            None => self.mode.who == Who::PointInTime && !self.mode.server_guards_its_target(),
        };
        if stop {
            return Err(error);
        }
        self.warnings.push(error.to_string());
        Ok(Outcome::Absent)
    }

    /// The listing shows it, and a GET says that it is not there: somebody is deleting, or the store is not in order.
    fn contradiction(&self, key: &ObjectKey) -> Error {
        let what = "the listing shows it, and GET says that it is not there";
        StoreError::new(StoreErrorKind::Failed, self.store.object_url(key), what).into()
    }
}

/// Damaged, or of a kind we cannot open: another stored form may do.
fn tries_on(error: &Error) -> bool {
    error.verdict() == Verdict::Damaged || error.class() == Class::Crypt
}

fn other_form(error: &Error) -> String {
    format!("another stored form was used: {}", error.chain())
}

#[cfg(test)]
pub(in crate::feed) mod tests;
