//! One LZO1X block: the C decoder and lzokay accept the same streams with the same bytes.
//!
//! In: room for the output (two bytes), then the block. Out: a crash where they differ, or where bytes beyond the buffer
//! are touched. Never: compares error kinds; that both refuse is enough.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_r::codec::lzo1x;

fuzz_target!(|bytes: &[u8]| {
    let Some((room, block)) = bytes.split_first_chunk::<2>() else { return };
    let room = usize::from(u16::from_le_bytes(*room));
    let mut out = vec![0xA5; room + 64];
    let ours = lzo1x::decompress(block, &mut out[..room]);
    assert!(out[room..].iter().all(|byte| *byte == 0xA5), "written beyond the buffer");
    let mut judged = vec![0; room];
    match (ours, lzokay::decompress::decompress(block, &mut judged)) {
        (Ok(ours), Ok(judge)) => assert!(out[..ours] == judged[..judge], "other bytes"),
        (Err(_), Err(_)) => {}
        // The one known difference: an end marker with other length bits.
        (Ok(_), Err(lzokay::Error::Error)) => {}
        (ours, judge) => panic!("we say {ours:?}, the judge {judge:?}"),
    }
});
