//! Archives as text: a few lines become objects in a store, and an [`Inventory`] becomes such lines again.
//!
//! In and out, one thing a line; segments by their number in hex (16 MiB each), stored as `.lzo` unless said:
//!
//! ```text
//! 1: 01..07 09 0A.zst 0B.plain 0C.partial 0D.empty      an empty one is an .lzo without bytes
//! 2.history: 1@0/A000000                      parent@switch point, oldest first; `damaged` for one that is no history
//! backup base_000000010000000000000003_00000040 parts 0..2 version
//! backup base_000000010000000000000006_00000040 unfinished parts 0
//! key wal_005/000000010000000000000001.lzo.bak
//! ```
//!
//! Never: forgives a line it does not understand.

use crate::catalog::Inventory;
use crate::layout::entry::PartName;
use crate::layout::{self, Compression};
use crate::pg::{Lsn, SegmentNo, SegmentSize, TimelineId};
use crate::storage::memory::MemoryStore;

const SIZE: SegmentSize = SegmentSize::DEFAULT;

/// A store that holds what the text says; segments and parts with a few bytes that are none.
///
/// # Panics
/// On a line that cannot be understood.
pub fn store(text: &str) -> MemoryStore {
    let store = MemoryStore::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        fill(&store, line).unwrap_or_else(|| panic!("not a line of a fixture: {line}"));
    }
    store
}

fn fill(store: &MemoryStore, line: &str) -> Option<()> {
    if let Some(key) = line.strip_prefix("key ") {
        store.insert(key, "x");
        return Some(());
    }
    if let Some(rest) = line.strip_prefix("backup ") {
        return backup(store, rest);
    }
    let (head, items) = line.split_once(':')?;
    if let Some(timeline) = head.strip_suffix(".history") {
        let timeline = TimelineId::parse_decimal(timeline).ok()?;
        let lines = items.split_whitespace().map(|item| match item.split_once('@') {
            Some((parent, switch)) => format!("{parent}\t{switch}\tno recovery target specified\n"),
            None => format!("{item}\n"),
        });
        store.insert(&format!("{}{}", layout::WAL, timeline.history_name()), lines.collect::<String>());
        return Some(());
    }
    let timeline = TimelineId::parse_decimal(head).ok()?;
    for item in items.split_whitespace() {
        let (first, last) = item.split_once("..").unwrap_or((item, item));
        let (last, kind) = last.split_once('.').unwrap_or((last, "lzo"));
        let first = first.split('.').next()?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        for number in number(first)?..=number(last)? {
            let name = SegmentNo(number).name(timeline, SIZE)?;
            let file = match kind {
                "partial" => Compression::Lzo.apply(&format!("{name}.partial")),
                "plain" => name.to_string(),
                "empty" => {
                    store.insert(&format!("{}{name}.lzo", layout::WAL), "");
                    continue;
                }
                suffix => Compression::from_suffix(suffix)?.apply(&name.to_string()),
            };
            store.insert(&format!("{}{file}", layout::WAL), "x");
        }
    }
    Some(())
}

fn backup(store: &MemoryStore, text: &str) -> Option<()> {
    let mut words = text.split_whitespace();
    let name: layout::BackupName = words.next()?.parse().ok()?;
    let mut finished = true;
    while let Some(word) = words.next() {
        match word {
            "unfinished" => finished = false,
            "version" => store.insert(&format!("{}{name}/extended_version.txt", layout::BACKUPS), "PostgreSQL 13.23"),
            "parts" => {
                let range = words.next()?;
                let (first, last) = range.split_once("..").unwrap_or((range, range));
                for number in first.parse::<u32>().ok()?..=last.parse().ok()? {
                    store.insert(&format!("{}part_{number:08}.tar.lzo", name.partitions_prefix()), "x");
                }
            }
            _ => return None,
        }
    }
    if finished {
        let stop = name.start();
        let sentinel = format!(
            r#"{{"wal_segment_backup_stop": "{stop}", "wal_segment_offset_backup_stop": "00000312", "expanded_size_bytes": 1}}"#
        );
        store.insert(name.sentinel_key().as_str(), sentinel);
    }
    Some(())
}

/// The lines of an inventory. Histories show only that they are there: an inventory does not read them.
pub fn show(inventory: &Inventory) -> String {
    let mut lines = Vec::new();
    for timeline in inventory.timelines() {
        if inventory.histories.contains_key(&timeline) {
            lines.push(format!("{timeline}.history"));
        }
        let mut items: Vec<(u64, u64, String)> = Vec::new();
        for one in inventory.on(timeline) {
            let Ok(number) = one.name.number(SIZE) else {
                lines.push(format!("misfit {}", one.name));
                continue;
            };
            let kind = match one.form.stored {
                Compression::Lzo => String::new(),
                other => format!(".{other}"),
            };
            match items.last_mut() {
                Some(last) if last.1 + 1 == number.0 && last.2 == kind => last.1 = number.0,
                _ => items.push((number.0, number.0, kind)),
            }
        }
        for name in inventory.partials.keys().filter(|name| name.timeline() == timeline) {
            if let Ok(number) = name.number(SIZE) {
                items.push((number.0, number.0, ".partial".to_owned()));
            }
        }
        if !items.is_empty() {
            let item = |(first, last, kind): &(u64, u64, String)| match first == last {
                true => format!("{first:02X}{kind}"),
                false => format!("{first:02X}..{last:02X}{kind}"),
            };
            lines.push(format!("{timeline}: {}", items.iter().map(item).collect::<Vec<_>>().join(" ")));
        }
    }
    for (name, backup) in &inventory.backups {
        let mut line = format!("backup {name}");
        if !backup.is_finished() {
            line += " unfinished";
        }
        let numbers: Vec<u32> = backup
            .parts
            .iter()
            .filter_map(|part| match part.name {
                PartName::Part(number) => Some(number),
                _ => None,
            })
            .collect();
        if let (Some(first), Some(last)) = (numbers.first(), numbers.last()) {
            line += &if first == last { format!(" parts {first}") } else { format!(" parts {first}..{last}") };
        }
        if backup.version.is_some() {
            line += " version";
        }
        lines.push(line);
        lines.extend(backup.foreign.iter().map(|key| format!("key {key}")));
    }
    lines.extend(inventory.system_id.iter().map(|object| format!("key {}", object.key)));
    lines.extend(inventory.old_layouts.iter().map(|folder| format!("old {folder}")));
    lines.extend(inventory.foreign.iter().map(|key| format!("key {key}")));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// An LSN in a fixture's segments: this many bytes into segment `number`.
pub fn place(number: u64, offset: u64) -> Lsn {
    Lsn(number * SIZE.bytes() + offset)
}
