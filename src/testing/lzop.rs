//! Writes lzop files of every variant the format has, for tests, benches and forged archives.
//!
//! In: plain bytes and a [`Writer`] that says how. Out: the file; and back. Never: used by the program, which only reads.
//! Compression is LZO1X-1 by minilzo-rs, so sizes are those of `lzop -1` to `-6`.

use crate::codec::decode_all;
use crate::codec::lzo::{LzopDecoder, MAGIC};

/// Which checksums a file carries. `*_c` without `*_d` makes a file that readers refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksums {
    /// Adler-32 of plain blocks.
    pub adler_d: bool,
    /// CRC-32 of plain blocks.
    pub crc_d: bool,
    /// Adler-32 of compressed blocks.
    pub adler_c: bool,
    /// CRC-32 of compressed blocks.
    pub crc_c: bool,
    /// CRC-32 instead of Adler-32 over headers.
    pub header_crc: bool,
}

impl Checksums {
    /// What lzop writes.
    pub const ADLER_D: Checksums =
        Checksums { adler_d: true, crc_d: false, adler_c: false, crc_c: false, header_crc: false };
    /// What `lzop --crc32` writes.
    pub const CRC_D: Checksums =
        Checksums { adler_d: false, crc_d: true, adler_c: false, crc_c: false, header_crc: true };
}

/// How to write. The default is what WAL-E's pipe through lzop 1.04 gives.
#[derive(Debug, Clone)]
pub struct Writer {
    /// Below `0x0940` the header is the short one.
    pub version: u16,
    /// The format a reader must know.
    pub needed: u16,
    /// 1..=3 are known.
    pub method: u8,
    /// 0..=9 are known.
    pub level: u8,
    /// Or-ed to the flags that the other fields ask for.
    pub extra_flags: u32,
    /// Checksums.
    pub sums: Checksums,
    /// Distance of the delta filter; the field is written also for 0.
    pub filter: Option<u32>,
    /// Name of the file compressed, at most 255 bytes.
    pub name: Vec<u8>,
    /// Content of an extra field.
    pub extra: Option<Vec<u8>>,
    /// Plain bytes of a block.
    pub block: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Writer {
            version: 0x1040,
            needed: 0x0940,
            method: 1,
            level: 5,
            extra_flags: 0x0300_000C,
            sums: Checksums::ADLER_D,
            filter: None,
            name: Vec::new(),
            extra: None,
            block: 256 << 10,
        }
    }
}

/// As WAL-E stores bytes.
pub fn lzop(plain: &[u8]) -> Vec<u8> {
    Writer::default().file(plain)
}

/// The plain bytes of a file that is good. Panics otherwise.
pub fn unlzop(stored: &[u8]) -> Vec<u8> {
    decode_all(&mut LzopDecoder::new(), stored, 1 << 30).expect("checked: testdata decode")
}

impl Writer {
    fn flags(&self) -> u32 {
        let bit = |on: bool, bit: u32| if on { bit } else { 0 };
        self.extra_flags
            | bit(self.sums.adler_d, 0x0001)
            | bit(self.sums.adler_c, 0x0002)
            | bit(self.sums.crc_d, 0x0100)
            | bit(self.sums.crc_c, 0x0200)
            | bit(self.sums.header_crc, 0x1000)
            | bit(self.extra.is_some(), 0x0040)
            | bit(self.filter.is_some(), 0x0800)
    }

    fn header_sum(&self, bytes: &[u8]) -> [u8; 4] {
        let sum = if self.sums.header_crc { crc32fast::hash(bytes) } else { simd_adler32::adler32(&bytes) };
        sum.to_be_bytes()
    }

    /// One member with its blocks and end marker.
    pub fn file(&self, plain: &[u8]) -> Vec<u8> {
        let mut header = Vec::new();
        header.extend(self.version.to_be_bytes());
        header.extend(0x20A0u16.to_be_bytes());
        if self.version >= 0x0940 {
            header.extend(self.needed.to_be_bytes());
        }
        header.push(self.method);
        if self.version >= 0x0940 {
            header.push(self.level);
        }
        header.extend(self.flags().to_be_bytes());
        header.extend(self.filter.iter().flat_map(|distance| distance.to_be_bytes()));
        header.extend([0; 4]); // mode
        header.extend(0x6B00_A3ECu32.to_be_bytes());
        if self.version >= 0x0940 {
            header.extend([0; 4]); // the high half of the time
        }
        header.push(self.name.len() as u8);
        header.extend(&self.name);
        let mut file = MAGIC.to_vec();
        file.extend(&header);
        file.extend(self.header_sum(&header));
        if let Some(extra) = &self.extra {
            let mut field = (extra.len() as u32).to_be_bytes().to_vec();
            field.extend(extra);
            file.extend(&field);
            file.extend(self.header_sum(&field));
        }
        for block in plain.chunks(self.block) {
            self.block(block, &mut file);
        }
        file.extend([0; 4]);
        file
    }

    fn block(&self, plain: &[u8], file: &mut Vec<u8>) {
        let distance = self.filter.unwrap_or(0) as usize;
        let filtered: Vec<u8> = if distance == 0 {
            plain.to_vec()
        } else {
            let before = |at: usize| at.checked_sub(distance).map_or(0, |before| plain[before]);
            (0..plain.len()).map(|at| plain[at].wrapping_sub(before(at))).collect()
        };
        let packed = minilzo_rs::LZO::init()
            .and_then(|mut lzo| lzo.compress(&filtered))
            .expect("checked: LZO compression fails only on wrong C types");
        let (data, stored) = if packed.len() < plain.len() { (packed, false) } else { (filtered, true) };
        file.extend((plain.len() as u32).to_be_bytes());
        file.extend((data.len() as u32).to_be_bytes());
        let mut word = |on: bool, sum: u32| {
            if on {
                file.extend(sum.to_be_bytes());
            }
        };
        word(self.sums.adler_d, simd_adler32::adler32(&plain));
        word(self.sums.crc_d, crc32fast::hash(plain));
        word(self.sums.adler_c && !stored, simd_adler32::adler32(&&data[..]));
        word(self.sums.crc_c && !stored, crc32fast::hash(&data));
        file.extend(data);
    }
}
