//! Tar archives as Python's writer makes them, and dishonest ones.
//!
//! In: members. Out: the archive's bytes, GNU or pax, filled to 10240. Never: checks what it is asked to write.

use tar::Header;

/// Time of every member: 2026-11-20 20:37:20.713175 UTC.
const MTIME: u64 = 1_795_202_240;

/// An archive being written.
#[derive(Debug, Clone)]
pub struct Tar {
    bytes: Vec<u8>,
    pax: bool,
}

impl Tar {
    /// Nothing yet. GNU as by Python before 3.8, or pax as since.
    pub fn new(pax: bool) -> Tar {
        Tar { bytes: Vec::new(), pax }
    }

    /// A file with mode 0600.
    #[must_use]
    pub fn file(self, path: &str, content: &[u8]) -> Tar {
        self.file_mode(path, content, 0o600)
    }

    /// A file.
    #[must_use]
    pub fn file_mode(self, path: &str, content: &[u8], mode: u32) -> Tar {
        self.member(path, b'0', mode, "", content)
    }

    /// A directory; Python ends its name in a slash.
    #[must_use]
    pub fn dir(self, path: &str, mode: u32) -> Tar {
        self.member(path, b'5', mode, "", b"")
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, to: &str) -> Tar {
        self.member(path, b'2', 0o777, to, b"")
    }

    /// A hard link.
    #[must_use]
    pub fn hard_link(self, path: &str, to: &str) -> Tar {
        self.member(path, b'1', 0o600, to, b"")
    }

    /// Anything else.
    #[must_use]
    pub fn other(self, path: &str, flag: u8) -> Tar {
        self.member(path, flag, 0o600, "", b"")
    }

    fn member(mut self, path: &str, flag: u8, mode: u32, to: &str, content: &[u8]) -> Tar {
        if self.pax {
            let mut records = record("mtime", "1795202240.713175");
            for (key, value) in [("path", path), ("linkpath", to)] {
                if value.len() > 100 {
                    records.push_str(&record(key, value));
                }
            }
            self.header("././@PaxHeader", b'x', 0, "", records.len());
            self.data(records.as_bytes());
        } else {
            for (flag, value) in [(b'L', path), (b'K', to)] {
                if value.len() > 100 {
                    self.header("././@LongLink", flag, 0, "", value.len() + 1);
                    self.data(format!("{value}\0").as_bytes());
                }
            }
        }
        self.header(path, flag, mode, to, content.len());
        self.data(content);
        self
    }

    fn header(&mut self, path: &str, flag: u8, mode: u32, to: &str, size: usize) {
        let mut header = if self.pax { Header::new_ustar() } else { Header::new_gnu() };
        let old = header.as_old_mut();
        for (field, text) in [(&mut old.name, path), (&mut old.linkname, to)] {
            let count = text.len().min(100);
            field[..count].copy_from_slice(&text.as_bytes()[..count]);
        }
        old.linkflag = [flag];
        header.set_mode(mode);
        header.set_uid(26);
        header.set_gid(26);
        header.set_mtime(MTIME);
        header.set_size(size as u64);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
    }

    fn data(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().div_ceil(512) * 512, 0);
    }

    /// Two zero blocks, and zeros to a multiple of 10240.
    pub fn finish(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes.resize(bytes.len().div_ceil(10240) * 10240, 0);
        bytes
    }
}

/// `LENGTH KEY=VALUE\n`, the length counting itself.
fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}
