//! Timeline history: which ancestors a timeline has, and where each was left.
//!
//! In: the bytes of `TTTTTTTT.history` and the timeline of its name. Out: [`TimelineHistory`].
//! Never: takes an empty or cut file for a short history, or demands that switch points ascend (a recovery that asks
//! for timeline 2 and stops before 2 began writes a file in which they do not).
//! Source: PostgreSQL `src/backend/access/transam/timeline.c` (`readTimeLineHistory`, `tliOfPointInHistory`,
//! `writeTimeLineHistory`).
//!
//! ```text
//! 1<TAB>0/A000000<TAB>no recovery target specified      one line for each ancestor, oldest first:
//! <blank or # lines are ignored>                        its number, the first byte that is not its own any more,
//! 2<TAB>0/F000110<TAB>before 2026-11-20 …               and free text
//! ```

use super::{Lsn, SegmentName, SegmentNo, SegmentSize, TimelineId};

/// The history of one timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineHistory {
    timeline: TimelineId,
    ancestors: Vec<Ancestor>,
}

/// One line: an ancestor, and where it was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestor {
    /// The timeline that was left.
    pub timeline: TimelineId,
    /// The first byte that belongs to the next timeline.
    pub switch: Lsn,
    /// PostgreSQL's words for it; what is not UTF-8 is replaced.
    pub reason: String,
}

/// A stretch of WAL on one timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The timeline.
    pub timeline: TimelineId,
    /// Its first byte. `0/0` for the first one.
    pub begin: Lsn,
    /// The first byte behind it; `None` for the timeline itself, which is open.
    pub end: Option<Lsn>,
}

/// Why a file is no history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct HistoryError {
    /// Counted from 1; the line behind the last one when the file as a whole is wrong.
    pub line: usize,
    /// One clause.
    pub what: String,
}

impl TimelineHistory {
    /// A timeline without a history file: PostgreSQL takes it as having no ancestors. Right for timeline 1.
    pub fn without_file(timeline: TimelineId) -> Self {
        TimelineHistory { timeline, ancestors: Vec::new() }
    }

    /// The history of `timeline`, which left `parent` at `switch`; `before` is the parent's own history.
    pub fn child_of(parent: TimelineId, before: Option<&TimelineHistory>, switch: Lsn, timeline: TimelineId) -> Self {
        let mut ancestors = before.map(|history| history.ancestors.clone()).unwrap_or_default();
        ancestors.push(Ancestor { timeline: parent, switch, reason: String::new() });
        TimelineHistory { timeline, ancestors }
    }

    /// The content of `timeline`'s history file. Every line is as the server's own reader takes it; beyond that a file
    /// without any line, or cut in the middle of its last one, is an error.
    pub fn parse(timeline: TimelineId, bytes: &[u8]) -> Result<Self, HistoryError> {
        let mut ancestors: Vec<Ancestor> = Vec::new();
        let mut lines = 0;
        for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            lines = index + 1;
            let error = |what: String| HistoryError { line: index + 1, what };
            let Some(ancestor) = parse_line(line).map_err(error)? else { continue };
            if let Some(last) = ancestors.last().filter(|last| last.timeline >= ancestor.timeline) {
                return Err(error(format!("timeline {} does not follow {}", ancestor.timeline, last.timeline)));
            }
            if ancestor.timeline >= timeline {
                return Err(error(format!("timeline {} is no ancestor of {timeline}", ancestor.timeline)));
            }
            ancestors.push(ancestor);
        }
        if ancestors.is_empty() {
            return Err(HistoryError { line: lines + 1, what: "no ancestor is named".to_owned() });
        }
        Ok(TimelineHistory { timeline, ancestors })
    }

    /// Whose history it is.
    pub fn timeline(&self) -> TimelineId {
        self.timeline
    }

    /// Its ancestors, oldest first.
    pub fn ancestors(&self) -> &[Ancestor] {
        &self.ancestors
    }

    /// Its direct parent.
    pub fn parent(&self) -> Option<&Ancestor> {
        self.ancestors.last()
    }

    /// The stretches of WAL that lead here, oldest first; the timeline itself is the last one.
    pub fn spans(&self) -> impl DoubleEndedIterator<Item = Span> + '_ {
        let begin =
            |index: usize| index.checked_sub(1).and_then(|i| self.ancestors.get(i)).map_or(Lsn::ZERO, |a| a.switch);
        (0..=self.ancestors.len()).map(move |index| match self.ancestors.get(index) {
            Some(ancestor) => Span { timeline: ancestor.timeline, begin: begin(index), end: Some(ancestor.switch) },
            None => Span { timeline: self.timeline, begin: begin(index), end: None },
        })
    }

    /// The stretch of one timeline, when it is on the way.
    pub fn span(&self, timeline: TimelineId) -> Option<Span> {
        self.spans().find(|span| span.timeline == timeline)
    }

    /// Is this timeline the last one or an ancestor?
    pub fn contains(&self, timeline: TimelineId) -> bool {
        self.span(timeline).is_some()
    }

    /// Where the timeline begins: the switch point off its parent. `None` without a parent.
    pub fn begin(&self) -> Option<Lsn> {
        self.parent().map(|parent| parent.switch)
    }

    /// The timeline that the byte at this place belongs to: the newest one that had begun.
    pub fn owner(&self, lsn: Lsn) -> TimelineId {
        let newest = self.spans().rev().find(|span| span.begin <= lsn && span.end.is_none_or(|end| lsn < end));
        newest.map_or(self.timeline, |span| span.timeline)
    }

    /// The timeline whose file holds this segment on the way to the timeline: the newest one that had begun in it or
    /// before it. At a switch point inside a segment that is the child, whose file starts with a copy of the parent's.
    pub fn segment_owner(&self, segment: SegmentNo, size: SegmentSize) -> TimelineId {
        let newest = self.spans().rev().find(|span| span.begin.segment(size) <= segment);
        newest.map_or(self.timeline, |span| span.timeline)
    }

    /// The segment files that lead from `from` up to and including the one that holds the byte before `to`, in order.
    /// Ends early only beyond the last LSN.
    pub fn path(&self, from: Lsn, to: Lsn, size: SegmentSize) -> impl Iterator<Item = SegmentName> + '_ {
        let (first, last) = (from.segment(size).0, to.segment_before(size).0);
        let count = if to <= from { 0 } else { last.saturating_sub(first).saturating_add(1) };
        (0..count).map_while(move |step| {
            let number = SegmentNo(first.checked_add(step)?);
            number.name(self.segment_owner(number, size), size)
        })
    }

    /// The history that one of our ancestors must have. `None` for what is no ancestor, and for the oldest, which has none.
    pub fn of_ancestor(&self, ancestor: TimelineId) -> Option<TimelineHistory> {
        let place = self.ancestors.iter().position(|one| one.timeline == ancestor).filter(|place| *place > 0)?;
        Some(TimelineHistory { timeline: ancestor, ancestors: self.ancestors.get(..place)?.to_vec() })
    }

    /// Does `other`, the history of one of our ancestors, say the same as ours up to there? Two files that disagree
    /// belong to different clusters, or one is damaged.
    pub fn agrees_with(&self, other: &TimelineHistory) -> bool {
        let place = self.spans().position(|span| span.timeline == other.timeline);
        let ours = place.and_then(|place| self.ancestors.get(..place));
        let same = |a: &Ancestor, b: &Ancestor| (a.timeline, a.switch) == (b.timeline, b.switch);
        ours.is_some_and(|ours| {
            ours.len() == other.ancestors.len() && ours.iter().zip(&other.ancestors).all(|(a, b)| same(a, b))
        })
    }
}

/// One line with its end; `None` for blank ones and comments.
fn parse_line(line: &[u8]) -> Result<Option<Ancestor>, String> {
    let ended = line.ends_with(b"\n");
    let text = line.trim_ascii();
    if text.is_empty() || text.starts_with(b"#") {
        return Ok(None);
    }
    let shown = || String::from_utf8_lossy(text.get(..40).unwrap_or(text)).into_owned();
    let (number, rest) = split_while(text, |b| b.is_ascii_digit());
    let timeline = std::str::from_utf8(number).ok().and_then(|digits| TimelineId::parse_decimal(digits).ok());
    let timeline = timeline.ok_or_else(|| format!("`{}` does not start with a timeline number", shown()))?;
    let (place, rest) = split_while(rest.trim_ascii_start(), |b| !b.is_ascii_whitespace());
    let switch = std::str::from_utf8(place).ok().and_then(|place| place.parse::<Lsn>().ok());
    let switch = switch.ok_or_else(|| format!("`{}` has no switch point", shown()))?;
    let reason = rest.trim_ascii();
    if reason.is_empty() && !ended {
        return Err("ends in the middle".to_owned());
    }
    Ok(Some(Ancestor { timeline, switch, reason: String::from_utf8_lossy(reason).into_owned() }))
}

fn split_while(text: &[u8], inside: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !inside(*byte)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, &[]))
}
