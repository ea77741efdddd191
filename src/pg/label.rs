//! The text files of a base backup: `backup_label`, `tablespace_map`, and the backup history file in the archive.
//!
//! In: their bytes. Out: [`BackupLabel`], [`TablespaceMap`], [`BackupHistoryFile`]; a map also goes back to bytes.
//! Never: edits a label (without it, or with another one, recovery starts in the wrong place and the result is
//! corrupt), or trusts the file name of `STOP WAL LOCATION`, whose rule changed in 16.
//! Source: PostgreSQL `read_backup_label`, `read_tablespace_map`, `build_backup_content`.

use super::version::PgVersion;
use super::{Lsn, SegmentName, TimelineId};

/// `backup_label`: where replay of a base backup must start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupLabel {
    /// `START WAL LOCATION`: the redo point.
    pub start: Lsn,
    /// The segment named behind it. Its timeline is the backup's.
    pub start_segment: SegmentName,
    /// `CHECKPOINT LOCATION`: where the checkpoint's record starts.
    pub checkpoint: Lsn,
    /// `BACKUP METHOD`: `streamed`, `pg_start_backup`, `pg_rewind`.
    pub method: Option<String>,
    /// `BACKUP FROM`: `primary`, `master` (before 14) or `standby`.
    pub from: Option<String>,
    /// `START TIME`, as the server printed it: its own zone's abbreviation, which need not be unique.
    pub start_time: Option<String>,
    /// `LABEL`: the name the backup was given.
    pub label: Option<String>,
    /// `START TIMELINE`: written from 11 on; equal to the segment's.
    pub start_timeline: Option<TimelineId>,
    /// `INCREMENTAL FROM LSN` and `TLI` (17 on): must be combined with its ancestors before a server takes it.
    pub incremental_from: Option<(Lsn, TimelineId)>,
}

/// `SEGMENT.XXXXXXXX.backup`: a label, and where the backup stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupHistoryFile {
    /// The lines it shares with the label.
    pub label: BackupLabel,
    /// `STOP WAL LOCATION`: the first byte that the backup does not need.
    pub stop: Lsn,
    /// The segment named behind it: that of the byte before `stop` up to 15, of `stop` itself from 16. Do not rely on it.
    pub stop_segment: SegmentName,
    /// `STOP TIME`, as the server printed it.
    pub stop_time: Option<String>,
    /// `STOP TIMELINE`: written from 11 on.
    pub stop_timeline: Option<TimelineId>,
}

/// Why a file is no label, history file or map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct LabelError {
    /// Counted from 1.
    pub line: usize,
    /// One clause.
    pub what: String,
}

fn error(line: usize, what: impl Into<String>) -> LabelError {
    LabelError { line, what: what.into() }
}

impl BackupLabel {
    /// The content of `backup_label`. The first two lines are demanded as the server demands them; the others may be
    /// missing, and lines nobody knows are passed over.
    pub fn parse(bytes: &[u8]) -> Result<Self, LabelError> {
        let lines = Lines::new(bytes);
        let (start, start_segment) = lines.location(1, "START WAL LOCATION")?;
        lines.label(start, start_segment, 2)
    }

    /// Was it taken while the server itself was a standby? Then no end record exists; pg_control tells its end.
    pub fn is_from_standby(&self) -> bool {
        self.from.as_deref() == Some("standby")
    }
}

impl BackupHistoryFile {
    /// The content of `SEGMENT.XXXXXXXX.backup`.
    pub fn parse(bytes: &[u8]) -> Result<Self, LabelError> {
        let lines = Lines::new(bytes);
        let (start, start_segment) = lines.location(1, "START WAL LOCATION")?;
        let (stop, stop_segment) = lines.location(2, "STOP WAL LOCATION")?;
        Ok(BackupHistoryFile {
            label: lines.label(start, start_segment, 3)?,
            stop,
            stop_segment,
            stop_time: lines.text("STOP TIME"),
            stop_timeline: lines.timeline("STOP TIMELINE")?,
        })
    }
}

/// A time as the server prints it into these files: `2026-11-20 20:34:30 UTC`, cut to seconds. `None` unless the zone is
/// UTC by one of its names: other abbreviations mean several things.
pub fn server_time(text: &str) -> Option<jiff::Timestamp> {
    let (time, zone) = text.trim().rsplit_once(' ')?;
    if !matches!(zone, "UTC" | "GMT" | "Etc/UTC") {
        return None;
    }
    format!("{time}Z").parse().ok()
}

/// The lines of a label, none of them trusted.
struct Lines<'a>(Vec<&'a [u8]>);

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        // A label has nine lines; more than this many come from something else.
        Lines(bytes.split(|byte| *byte == b'\n').take(64).collect())
    }

    /// Value of `key` on this line, which must be there and ended.
    fn required(&self, line: usize, key: &'static str) -> Result<&'a str, LabelError> {
        let missing = || error(line, format!("`{key}` is missing"));
        // `split` gives one piece more than there are line ends; the last piece is not a line.
        if line >= self.0.len() {
            return Err(missing());
        }
        let text = self.0.get(line.wrapping_sub(1)).and_then(|text| std::str::from_utf8(text).ok());
        text.and_then(|text| value(text, key)).ok_or_else(missing)
    }

    fn location(&self, line: usize, key: &'static str) -> Result<(Lsn, SegmentName), LabelError> {
        let text = self.required(line, key)?;
        let parsed = text
            .split_once(" (file ")
            .and_then(|(lsn, file)| Some((lsn.parse().ok()?, file.strip_suffix(')')?.parse().ok()?)));
        parsed.ok_or_else(|| error(line, format!("`{key}: {text}` is not an LSN and a segment")))
    }

    /// Value of a line that may be missing, with its number; what is not UTF-8 is replaced.
    fn find(&self, key: &'static str) -> Option<(usize, String)> {
        self.0.iter().enumerate().find_map(|(index, line)| {
            let line = String::from_utf8_lossy(line);
            value(&line, key).map(|text| (index + 1, text.to_owned()))
        })
    }

    fn text(&self, key: &'static str) -> Option<String> {
        self.find(key).map(|(_, text)| text)
    }

    fn timeline(&self, key: &'static str) -> Result<Option<TimelineId>, LabelError> {
        let Some((line, text)) = self.find(key) else { return Ok(None) };
        TimelineId::parse_decimal(&text).map(Some).map_err(|cause| error(line, format!("{key}: {cause}")))
    }

    fn label(&self, start: Lsn, start_segment: SegmentName, next: usize) -> Result<BackupLabel, LabelError> {
        let checkpoint = self.required(next, "CHECKPOINT LOCATION")?;
        let checkpoint = checkpoint.parse().map_err(|cause| error(next, format!("CHECKPOINT LOCATION: {cause}")))?;
        let start_timeline = self.timeline("START TIMELINE")?;
        if let Some(timeline) = start_timeline.filter(|timeline| *timeline != start_segment.timeline()) {
            let (line, _) = self.find("START TIMELINE").unwrap_or_default();
            return Err(error(line, format!("START TIMELINE: {timeline} contradicts {start_segment}")));
        }
        let incremental_from = match (self.find("INCREMENTAL FROM LSN"), self.timeline("INCREMENTAL FROM TLI")?) {
            (None, None) => None,
            (Some((line, text)), Some(timeline)) => {
                let lsn = text.parse().map_err(|cause| error(line, format!("INCREMENTAL FROM LSN: {cause}")))?;
                Some((lsn, timeline))
            }
            _ => return Err(error(self.0.len(), "INCREMENTAL FROM needs both an LSN and a TLI")),
        };
        Ok(BackupLabel {
            start,
            start_segment,
            checkpoint,
            method: self.text("BACKUP METHOD"),
            from: self.text("BACKUP FROM"),
            start_time: self.text("START TIME"),
            label: self.text("LABEL"),
            start_timeline,
            incremental_from,
        })
    }
}

/// What stands behind `KEY: `.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.trim_end_matches('\r').strip_prefix(key)?.strip_prefix(": ")
}

/// `tablespace_map`: where each tablespace link led on the machine the backup was taken on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TablespaceMap {
    /// In the order of the file.
    pub entries: Vec<TablespaceLink>,
}

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablespaceLink {
    /// The tablespace's number, and the link's name in `pg_tblspc`.
    pub oid: u32,
    /// Where the link leads. Bytes, as file names are; never empty.
    pub path: Vec<u8>,
}

impl TablespaceMap {
    /// The content of `tablespace_map`. How a backslash is read depends on the version that wrote it; with `None` a
    /// backslash escapes only what every version escapes, a line end.
    pub fn parse(bytes: &[u8], version: Option<PgVersion>) -> Result<Self, LabelError> {
        let escapes = version.is_some_and(PgVersion::escapes_backslash);
        let mut map = TablespaceMap::default();
        let mut line = 1;
        let mut text = Vec::new();
        let mut rest = bytes.iter().copied().peekable();
        while let Some(byte) = rest.next() {
            match (byte, rest.peek().copied()) {
                (b'\\', Some(next)) if escapes || matches!(next, b'\n' | b'\r') => {
                    text.push(next);
                    rest.next();
                }
                (b'\n' | b'\r', _) => {
                    if !text.is_empty() {
                        map.entries.push(tablespace(&text).map_err(|what| error(line, what))?);
                        text.clear();
                    }
                    line += usize::from(byte == b'\n');
                }
                _ => text.push(byte),
            }
        }
        if text.is_empty() { Ok(map) } else { Err(error(line, "ends in the middle")) }
    }

    /// The file as `version` reads it.
    pub fn encode(&self, version: PgVersion) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in &self.entries {
            bytes.extend_from_slice(format!("{} ", entry.oid).as_bytes());
            for byte in &entry.path {
                if matches!(byte, b'\n' | b'\r') || (*byte == b'\\' && version.escapes_backslash()) {
                    bytes.push(b'\\');
                }
                bytes.push(*byte);
            }
            bytes.push(b'\n');
        }
        bytes
    }
}

fn tablespace(text: &[u8]) -> Result<TablespaceLink, String> {
    let wrong = || format!("`{}` is not a number and a path", String::from_utf8_lossy(text));
    let blank = text.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
    let (digits, path) = text.split_at_checked(blank).ok_or_else(wrong)?;
    let path = path.strip_prefix(b" ").filter(|path| !path.is_empty()).ok_or_else(wrong)?;
    let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let oid = digits.parse().ok().filter(|oid| *oid != 0).ok_or_else(wrong)?;
    Ok(TablespaceLink { oid, path: path.to_vec() })
}
