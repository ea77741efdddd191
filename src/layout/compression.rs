//! How an object is stored, by the suffix of its name.
//!
//! In: the text behind the last dot of a key. Out: [`Compression`]. Never: looks at bytes (that is `codec::sniff`:
//! names can lie, and encryption shows in no name).

use std::fmt;

/// What a suffix promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    /// `.lzo`: the lzop container; all that WAL-E wrote.
    Lzo,
    /// `.lz4`: LZ4 frame; WAL-G's default.
    Lz4,
    /// `.zst`
    Zstd,
    /// `.br`: a raw brotli stream.
    Brotli,
    /// `.lzma`: LZMA-alone.
    Lzma,
    /// `.gz`
    Gzip,
    /// `.xz`; other tools than ours wrote it.
    Xz,
    /// No suffix, or WAL-G's dangling dot (`part_001.tar.`).
    Plain,
}

impl Compression {
    /// All of them, in the order in which suffixes are tried.
    pub const ALL: [Compression; 8] = [
        Compression::Lzo,
        Compression::Lz4,
        Compression::Zstd,
        Compression::Brotli,
        Compression::Lzma,
        Compression::Gzip,
        Compression::Xz,
        Compression::Plain,
    ];

    /// The suffix without its dot; empty for plain.
    pub fn suffix(self) -> &'static str {
        match self {
            Compression::Lzo => "lzo",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zst",
            Compression::Brotli => "br",
            Compression::Lzma => "lzma",
            Compression::Gzip => "gz",
            Compression::Xz => "xz",
            Compression::Plain => "",
        }
    }

    /// From a suffix without its dot. Empty is plain: a dangling dot.
    pub fn from_suffix(suffix: &str) -> Option<Self> {
        Compression::ALL.into_iter().find(|one| one.suffix() == suffix)
    }

    /// The name of an object stored this way.
    pub fn apply(self, name: &str) -> String {
        match self.suffix() {
            "" => name.to_owned(),
            suffix => format!("{name}.{suffix}"),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Compression::Plain => "plain",
            other => other.suffix(),
        })
    }
}
