//! A log never panics, and gives the same events however it is cut.
//!
//! In: any bytes; the first two say where the second reading cuts them. Out: a crash if a promise is broken.
//! Never: judges what the events mean.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_r::locate::{Event, Log, Sightings};

fn read(pieces: &[&[u8]]) -> (Vec<Event>, Log) {
    let (mut log, mut events) = (Log::new(0), Vec::new());
    pieces.iter().for_each(|piece| log.push(piece, &mut |event| events.push(event)));
    log.finish(&mut |event| events.push(event));
    (events, log)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first_chunk::<2>() else { return };
    let cut = usize::from(u16::from_le_bytes(*cut)) % (bytes.len() + 1);
    let (whole, log) = read(&[bytes]);
    assert!(read(&[&bytes[..cut], &bytes[cut..]]).0 == whole);
    let mut sightings = Sightings::new();
    whole.into_iter().for_each(|event| sightings.add(event));
    sightings.settle(log.setting());
    for instance in sightings.instances() {
        assert!(instance.id.is_some() || !instance.archives.is_empty());
    }
});
