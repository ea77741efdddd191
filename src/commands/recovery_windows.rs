//! `recovery-windows`: which times, places and restore points can be recovered, from which base backup.
//!
//! In: a store; a wish, or none. Out: [`Report`]: windows and holes of every timeline, and for a wish the command that gets
//! there, or the nearest that can be had. Never: claims as proven what was not read; changes an archive.
//!
//! Reads every segment from the oldest base backup on, or takes it from a ledger; with [`Options::quick`] only those that
//! decide: from each backup's start to its consistency, and from each end backwards to the last commit.

use super::{Progress, Unit};
use crate::backup::recovery::shell_word;
use crate::backup::restore::Effort;
use crate::catalog::continuity::WalRange;
use crate::error::{Answer, Code, Error};
use crate::pg::{SystemId, TimelineId};
use crate::proof::facts::{Level, Memory, SegmentProof};
use crate::proof::finding::Place;
use crate::proof::survey::{self, Survey};
use crate::proof::walk::{Selection, Tally, stored_bytes, walk};
use crate::proof::windows::{self, Answered, Line, Stop, Way, Windows, Wish};
use crate::proof::{Defect, FindingCode, names};
use crate::storage::Store;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only along this timeline.
    pub timeline: Option<TimelineId>,
    /// Can this be reached?
    pub wish: Option<Wish>,
    /// Read what decides, and no more.
    pub quick: bool,
    /// Program and flags that reach the same archive, for the commands that are shown.
    pub program: Vec<String>,
    /// How much at once.
    pub effort: Effort,
}

/// What can be recovered.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The archive.
    pub archive: String,
    /// Its cluster.
    pub system: Option<SystemId>,
    /// Series of PostgreSQL: 13, or 906 for 9.6.
    pub major: Option<u32>,
    /// Only what decides was read.
    pub quick: bool,
    /// What was read for it.
    pub read: Tally,
    /// Every timeline, or the one that was asked for.
    pub timelines: Vec<Line>,
    /// Timelines that are left out, since nobody can tell which ways lead to them.
    pub left_out: Vec<LeftOut>,
    /// The answer to the wish.
    pub answer: Option<Reply>,
}

/// A timeline whose history cannot be used.
#[derive(Debug, Serialize)]
pub struct LeftOut {
    /// Which.
    pub timeline: TimelineId,
    /// The history is damaged, and no server gets there; else it could not be read here, and one may.
    pub damaged: bool,
    /// Which object, and why.
    pub what: String,
}

/// The answer to a wish, with the commands.
#[derive(Debug, Serialize)]
pub struct Reply {
    /// The answer.
    #[serde(flatten)]
    pub answered: Answered,
    /// The command that gets there.
    pub command: Option<String>,
    /// The command to the nearest before.
    pub command_before: Option<String>,
    /// The command to the nearest behind.
    pub command_after: Option<String>,
}

/// What a call of this verb comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes: it can be reached; or, without a wish, something can be recovered.
    Yes,
    /// No.
    No,
    /// No, as far as could be read: what could not may hold it.
    Unknown,
}

impl Report {
    /// Yes, no, or nobody knows.
    pub fn verdict(&self) -> Verdict {
        let yes = match &self.answer {
            Some(reply) => reply.answered.way.is_some(),
            None => self.timelines.iter().any(|line| !line.windows.is_empty()),
        };
        let unread = |line: &Line| line.backups.iter().any(|reach| matches!(reach.ends, Stop::Unknown { .. }));
        let untold = self.left_out.iter().any(|one| !one.damaged);
        match yes {
            true => Verdict::Yes,
            false if untold || self.timelines.iter().any(unread) => Verdict::Unknown,
            false => Verdict::No,
        }
    }
}

/// The first half: one listing and the small objects. An error where the prefix holds no archive.
pub async fn look(store: &dyn Store) -> Answer<Survey> {
    let survey = survey::scan(store).await?;
    if survey.inventory.is_empty() {
        return Err(
            Error::new(Code::AbsentPrefix, "holds no archive: no segment, no history, no base backup").on(&survey.url)
        );
    }
    Ok(survey)
}

/// The second half: reads the WAL that matters and says what can be recovered.
pub async fn run(
    store: Arc<dyn Store>,
    survey: &Survey,
    options: &Options,
    memory: &mut dyn Memory,
    progress: Arc<dyn Progress>,
) -> Answer<Report> {
    if let Some(timeline) = options.timeline.filter(|one| !survey.all_timelines().contains(one)) {
        let what = format!("there is nothing of timeline {timeline}");
        return Err(Error::new(Code::UsageTarget, what).on(&survey.url));
    }
    let mut reading = Reading {
        store,
        survey,
        options,
        memory,
        progress: progress.clone(),
        proofs: BTreeMap::new(),
        defects: names::defects(survey),
        read: Tally::default(),
    };
    if options.quick {
        reading.edges().await?;
    } else {
        let ranges = windows::needed(survey, options.timeline);
        reading.walk("reading WAL", ranges).await?;
    }
    progress.end();
    let Reading { proofs, defects, read, .. } = reading;
    let proofs: Vec<SegmentProof> = proofs.into_values().collect();
    let found = windows::windows(survey, &proofs, &defects);
    let answer = options.wish.as_ref().map(|wish| reply(&found, wish, survey, options));
    let mut timelines = found.timelines;
    timelines.retain(|line| options.timeline.is_none_or(|only| only == line.timeline));
    let mut left_out = left_out(&defects);
    left_out.retain(|one| options.timeline.is_none_or(|only| only == one.timeline));
    let (archive, system, major) = (survey.url.clone(), survey.system, survey.major);
    Ok(Report { archive, system, major, quick: options.quick, read, timelines, left_out, answer })
}

fn left_out(defects: &[Defect]) -> Vec<LeftOut> {
    let of = |defect: &Defect| match (defect.code, &defect.place) {
        (code @ (FindingCode::HistoryDamaged | FindingCode::HistoryUnread), Place::History(timeline)) => {
            let damaged = code == FindingCode::HistoryDamaged;
            Some(LeftOut { timeline: *timeline, damaged, what: format!("{}: {}", defect.object, defect.what) })
        }
        _ => None,
    };
    defects.iter().filter_map(of).collect()
}

/// What is being read.
struct Reading<'a> {
    store: Arc<dyn Store>,
    survey: &'a Survey,
    options: &'a Options,
    memory: &'a mut dyn Memory,
    progress: Arc<dyn Progress>,
    proofs: BTreeMap<crate::pg::SegmentName, SegmentProof>,
    defects: Vec<Defect>,
    read: Tally,
}

impl Reading<'_> {
    async fn walk(&mut self, stage: &str, ranges: Vec<WalRange>) -> Answer<()> {
        let selection = Selection { ranges: Some(ranges), ..Selection::all() };
        self.progress.begin(stage, Some(stored_bytes(self.survey, &selection)), Unit::Bytes);
        let told = self.progress.clone();
        let advance = Arc::new(move |bytes: u64| told.advance(bytes));
        let (store, effort) = (self.store.clone(), self.options.effort);
        let walked = walk(store, self.survey, &selection, Level::Records, effort, &mut *self.memory, advance).await?;
        self.read.objects += walked.read.objects;
        self.read.bytes += walked.read.bytes;
        self.read.remembered += walked.read.remembered;
        self.proofs.extend(walked.proofs.into_iter().map(|proof| (proof.name, proof)));
        self.defects.extend(walked.defects);
        Ok(())
    }

    /// What decides, and what turns out to decide; each round reads something new.
    async fn edges(&mut self) -> Answer<()> {
        loop {
            let proofs: Vec<SegmentProof> = self.proofs.values().cloned().collect();
            let wanted = windows::edges(self.survey, &proofs, self.options.timeline);
            if wanted.is_empty() {
                return Ok(());
            }
            let known = self.proofs.len();
            self.walk("reading the edges", wanted).await?;
            if self.proofs.len() == known {
                return Ok(()); // the store gave up
            }
        }
    }
}

fn reply(found: &Windows, wish: &Wish, survey: &Survey, options: &Options) -> Reply {
    let answered = windows::can_reach(found, wish, options.timeline, survey.major);
    let command = |way: &Way| {
        let own = ["backup-fetch".to_owned(), "DIR".to_owned(), way.backup.to_string()];
        let words = options.program.iter().cloned().chain(own).chain(way.flags());
        words.map(|word| shell_word(&word)).collect::<Vec<_>>().join(" ")
    };
    Reply {
        command: answered.way.as_ref().map(command),
        command_before: answered.before.as_ref().map(|near| command(&near.way)),
        command_after: answered.after.as_ref().map(|near| command(&near.way)),
        answered,
    }
}
