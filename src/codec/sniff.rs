//! What a stream really is, by its first bytes. Names can lie, and encryption shows in no name.
//!
//! In: the first bytes of a stream; [`WANTED`] of them are enough, fewer make the answer vaguer, never wrong.
//! Out: a [`Format`]. Never: decodes, or asserts what has no mark: libsodium's streams and brotli's look like noise, and
//! are only ever a "perhaps".
//! Source: RFC 1952, 4880, 8878, 9580; the format notes of lz4, xz and lzma; POSIX ustar; PostgreSQL `xlog_internal.h`.

use std::fmt;

/// Bytes from the start that the sniffer can use.
pub const WANTED: usize = 4096;

/// What a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// No bytes at all.
    Empty,
    /// Nothing but zero bytes (as far as they were shown).
    Zeros,
    /// The lzop container.
    Lzop,
    /// gzip.
    Gzip,
    /// A Zstandard frame.
    Zstd,
    /// An LZ4 frame.
    Lz4,
    /// LZ4's old frame format, without checksums and lengths.
    Lz4Legacy,
    /// A skippable frame, which LZ4 and Zstandard share.
    Skippable,
    /// xz.
    Xz,
    /// LZMA-alone (`.lzma`).
    LzmaAlone,
    /// bzip2.
    Bzip2,
    /// An OpenPGP message to a public key.
    PgpPublicKey,
    /// An OpenPGP message under a passphrase.
    PgpSymmetric,
    /// An OpenPGP message whose first packet does not tell which.
    Pgp,
    /// An OpenPGP message in ASCII armor.
    PgpArmored,
    /// `openssl enc` with a salt.
    OpenSsl,
    /// An HTML page, such as a proxy's error.
    Html,
    /// An XML document, such as a store's error answer.
    Xml,
    /// JSON.
    Json,
    /// A page of PostgreSQL WAL.
    WalPage,
    /// A page of WAL from a big-endian machine.
    WalPageSwapped,
    /// An uncompressed tar archive.
    Tar,
    /// Readable text: history files, labels.
    Text,
    /// No mark, and bytes that look like noise.
    Noise,
    /// None of the above.
    Unknown,
}

impl Format {
    /// Its mark says that a key is needed.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Format::PgpPublicKey | Format::PgpSymmetric | Format::Pgp | Format::PgpArmored | Format::OpenSsl)
    }

    /// It has no mark of encryption, but could be of a scheme that leaves none (libsodium).
    pub fn is_perhaps_encrypted(self) -> bool {
        self == Format::Noise
    }
}

impl fmt::Display for Format {
    /// A phrase for the place behind "it is".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Format::Empty => "empty",
            Format::Zeros => "nothing but zero bytes",
            Format::Lzop => "an lzop file",
            Format::Gzip => "a gzip file",
            Format::Zstd => "a Zstandard frame",
            Format::Lz4 => "an LZ4 frame",
            Format::Lz4Legacy => "an LZ4 frame of the legacy format",
            Format::Skippable => "a skippable frame of LZ4 or Zstandard",
            Format::Xz => "an xz file",
            Format::LzmaAlone => "an LZMA-alone file",
            Format::Bzip2 => "a bzip2 file",
            Format::PgpPublicKey => "an OpenPGP message to a public key",
            Format::PgpSymmetric => "an OpenPGP message under a passphrase",
            Format::Pgp => "an OpenPGP message",
            Format::PgpArmored => "an OpenPGP message in ASCII armor",
            Format::OpenSsl => "a file encrypted by openssl",
            Format::Html => "an HTML page",
            Format::Xml => "an XML document, perhaps a store's error answer",
            Format::Json => "JSON",
            Format::WalPage => "a page of PostgreSQL WAL",
            Format::WalPageSwapped => "a page of PostgreSQL WAL from a big-endian machine",
            Format::Tar => "a tar archive",
            Format::Text => "text",
            Format::Noise => "of no known format, perhaps encrypted by libsodium, which leaves no mark, or brotli",
            Format::Unknown => "of no known format",
        })
    }
}

/// Do they begin as an lzop file whose mark was hit? A flipped bit or two in it do not make noise of it; real noise differs
/// in half of its bits.
pub fn is_nearly_lzop(bytes: &[u8]) -> bool {
    let mark = super::lzo::MAGIC;
    let differ: u32 = bytes.iter().zip(mark).map(|(byte, mark)| (byte ^ mark).count_ones()).sum();
    bytes.len() >= mark.len() && differ <= 8
}

/// Names the format of a stream that begins with these bytes.
pub fn sniff(bytes: &[u8]) -> Format {
    let bytes = bytes.get(..WANTED).unwrap_or(bytes);
    if bytes.is_empty() {
        return Format::Empty;
    }
    magic(bytes)
        .or_else(|| wal_page(bytes))
        .or_else(|| openpgp(bytes))
        .or_else(|| lzma_alone(bytes))
        .or_else(|| tar(bytes))
        .or_else(|| text(bytes))
        .unwrap_or_else(|| {
            if bytes.iter().all(|byte| *byte == 0) {
                Format::Zeros
            } else if looks_random(bytes) {
                Format::Noise
            } else {
                Format::Unknown
            }
        })
}

/// Marks that need nothing but comparing.
fn magic(bytes: &[u8]) -> Option<Format> {
    const MARKS: [(&[u8], Format); 10] = [
        (&super::lzo::MAGIC, Format::Lzop),
        (&[0x1F, 0x8B, 0x08], Format::Gzip),
        (&[0x28, 0xB5, 0x2F, 0xFD], Format::Zstd),
        (&[0x04, 0x22, 0x4D, 0x18], Format::Lz4),
        (&[0x02, 0x21, 0x4C, 0x18], Format::Lz4Legacy),
        (&[0xFD, b'7', b'z', b'X', b'Z', 0x00], Format::Xz),
        (b"-----BEGIN PGP MESSAGE-----", Format::PgpArmored),
        (b"Salted__", Format::OpenSsl),
        (b"BZh", Format::Bzip2),
        // `89 4C 5A 4F` is lzop's alone; the rest of its magic may have suffered from a line-end conversion.
        (&[0x89, b'L', b'Z', b'O'], Format::Lzop),
    ];
    if let [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] = bytes {
        return Some(Format::Skippable);
    }
    let (_, format) = MARKS.iter().find(|(mark, _)| bytes.starts_with(mark))?;
    if *format == Format::Bzip2 {
        // Three letters are not enough. Behind the level, the mark of the first block, or of the end of an empty file.
        let level = matches!(bytes.get(3), Some(b'1'..=b'9'));
        let block = bytes.get(4..10).is_some_and(|block| {
            block == [0x31, 0x41, 0x59, 0x26, 0x53, 0x59] || block == [0x17, 0x72, 0x45, 0x38, 0x50, 0x90]
        });
        return (level && block).then_some(Format::Bzip2);
    }
    Some(*format)
}

/// The first packet of an encrypted message: a session key for a public key (tag 1) or a passphrase (tag 3), or the
/// encrypted data itself (9, 18, 20). Its length and version must fit, since one byte in four looks like a packet tag.
fn openpgp(bytes: &[u8]) -> Option<Format> {
    let (&head, rest) = bytes.split_first()?;
    let (tag, len, body) = match head {
        0xC0.. => {
            let (len, body) = new_length(rest)?;
            (head & 0x3F, len, body)
        }
        0x80..0xC0 => {
            let (len, body) = match head & 3 {
                0 => rest.split_first().map(|(len, body)| (Some(u32::from(*len)), body))?,
                1 => rest.split_first_chunk().map(|(len, body)| (Some(u32::from(u16::from_be_bytes(*len))), body))?,
                2 => rest.split_first_chunk().map(|(len, body)| (Some(u32::from_be_bytes(*len)), body))?,
                _ => (None, rest),
            };
            ((head >> 2) & 0x0F, len, body)
        }
        _ => return None,
    };
    let (version, second) = (*body.first()?, body.get(1).copied());
    let within = |range: std::ops::RangeInclusive<u32>| len.is_some_and(|len| range.contains(&len));
    match tag {
        // Version 3: key id (8), algorithm, numbers. Version 6: length, key version, fingerprint.
        1 => match version {
            3 => {
                let algorithm = *body.get(9)?;
                (within(14..=4096) && matches!(algorithm, 1 | 2 | 16 | 18..=20 | 25 | 26))
                    .then_some(Format::PgpPublicKey)
            }
            6 => (within(20..=4096) && matches!(second?, 0 | 21 | 33)).then_some(Format::PgpPublicKey),
            _ => None,
        },
        // Version, cipher, string-to-key.
        3 => (within(4..=256) && matches!(version, 4..=6) && matches!(second?, 1..=64)).then_some(Format::PgpSymmetric),
        18 => match version {
            1 => Some(Format::Pgp),
            2 => matches!(second?, 1..=13).then_some(Format::Pgp),
            _ => None,
        },
        _ => None,
    }
}

/// A new-format packet length: one, two or five bytes, or the first part of a partial body (no length).
fn new_length(bytes: &[u8]) -> Option<(Option<u32>, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    match first {
        0..192 => Some((Some(u32::from(first)), rest)),
        192..224 => {
            let (&second, rest) = rest.split_first()?;
            Some((Some((u32::from(first) - 192) * 256 + u32::from(second) + 192), rest))
        }
        224..255 => Some((None, rest)),
        255 => rest.split_first_chunk().map(|(len, body)| (Some(u32::from_be_bytes(*len)), body)),
    }
}

/// A WAL page: a magic of the family `D0xx`/`D1xx`, flags that exist, an address on a page boundary; a long header also
/// has sizes that can be.
fn wal_page(bytes: &[u8]) -> Option<Format> {
    let header: &[u8; 24] = bytes.first_chunk()?;
    let [m0, m1, i0, i1, ..] = *header;
    let address: [u8; 8] = *header.get(8..)?.first_chunk()?;
    let long: Option<&[u8; 8]> = bytes.get(32..).and_then(|sizes| sizes.first_chunk());
    let fits = |magic: u16, info: u16, address: u64, sizes: Option<(u32, u32)>| {
        matches!(magic, 0xD060..=0xD1FF)
            && info <= 0x0F
            && address.is_multiple_of(1024)
            && (info & 2 == 0
                || sizes.is_none_or(|(segment, page)| segment.is_power_of_two() && page.is_power_of_two()))
    };
    let split = |sizes: &[u8; 8]| {
        let [a, b, c, d, e, f, g, h] = *sizes;
        ([a, b, c, d], [e, f, g, h])
    };
    let little = long.map(split).map(|(a, b)| (u32::from_le_bytes(a), u32::from_le_bytes(b)));
    let big = long.map(split).map(|(a, b)| (u32::from_be_bytes(a), u32::from_be_bytes(b)));
    if fits(u16::from_le_bytes([m0, m1]), u16::from_le_bytes([i0, i1]), u64::from_le_bytes(address), little) {
        Some(Format::WalPage)
    } else if fits(u16::from_be_bytes([m0, m1]), u16::from_be_bytes([i0, i1]), u64::from_be_bytes(address), big) {
        Some(Format::WalPageSwapped)
    } else {
        None
    }
}

/// LZMA-alone has no magic: properties, dictionary size, length. What encoders write: 5D, a size that is 2^n or
/// 2^n + 2^(n-1), and a length that is unknown (all ones) or below 2^48; and the first byte of its data is 0.
fn lzma_alone(bytes: &[u8]) -> Option<Format> {
    let (&properties, rest) = bytes.split_first()?;
    let (dictionary, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let dictionary = u32::from_le_bytes(*dictionary);
    let length = u64::from_le_bytes(*length);
    let rounded = dictionary >= 4096 && {
        let top = 1u64 << dictionary.ilog2();
        let rest = u64::from(dictionary) - top;
        rest == 0 || rest * 2 == top
    };
    let fits = properties < 9 * 5 * 5
        && (rounded || dictionary == u32::MAX)
        && (length == u64::MAX || length < 1 << 48)
        && rest.first() == Some(&0);
    fits.then_some(Format::LzmaAlone)
}

/// A tar header: its checksum is the sum of its bytes with the checksum's own field as spaces.
fn tar(bytes: &[u8]) -> Option<Format> {
    let header: &[u8; 512] = bytes.first_chunk()?;
    let (field, _) = header.get(148..)?.split_first_chunk::<8>()?;
    let digits = field.iter().skip_while(|byte| **byte == b' ').take_while(|byte| byte.is_ascii_digit());
    let stored = digits.fold(0u32, |sum, digit| sum.wrapping_mul(8).wrapping_add(u32::from(digit.wrapping_sub(b'0'))));
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = field.iter().map(|byte| u32::from(*byte)).sum();
    let computed = sum - own + 8 * u32::from(b' ');
    (stored == computed).then_some(Format::Tar)
}

/// Text, and which kind by its first characters.
fn text(bytes: &[u8]) -> Option<Format> {
    let bytes = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // Cut within a character at the end is still text.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok().filter(|text| !text.is_empty())?
        }
        Err(_) => return None,
    };
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\x0C')) {
        return None;
    }
    let start = text.trim_start();
    let tag: String = start.chars().take(16).flat_map(char::to_lowercase).collect();
    let inside = start.get(1..).unwrap_or_default().trim_start();
    if tag.starts_with("<!doctype html") || tag.starts_with("<html") || tag.starts_with("<head") {
        Some(Format::Html)
    } else if tag.starts_with('<') {
        let named =
            start.get(1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_alphabetic() || "?!".contains(c)));
        Some(if named { Format::Xml } else { Format::Text })
    } else if (start.starts_with('{') && (inside.is_empty() || inside.starts_with(['"', '}'])))
        || (start.starts_with('[') && (inside.is_empty() || inside.starts_with(['"', ']', '{', '['])))
    {
        Some(Format::Json)
    } else {
        Some(Format::Text)
    }
}

/// Whether bytes are spread as evenly as noise: chi-squared over the values of the high and low half-bytes. Wants 256
/// bytes to say anything.
fn looks_random(bytes: &[u8]) -> bool {
    if bytes.len() < 256 {
        return false;
    }
    let mut high = [0u32; 16];
    let mut low = [0u32; 16];
    for byte in bytes {
        for (counts, half) in [(&mut high, byte >> 4), (&mut low, byte & 15)] {
            if let Some(count) = counts.get_mut(usize::from(half)) {
                *count += 1;
            }
        }
    }
    // 15 degrees of freedom: noise is above 45 once in ten thousand times.
    let expected = bytes.len() as f64 / 16.0;
    let even = |counts: &[u32; 16]| {
        counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum::<f64>() < 45.0
    };
    even(&high) && even(&low)
}

#[cfg(test)]
mod tests;
