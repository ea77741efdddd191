//! Bytes to lines, in bounded memory.
//!
//! In: pieces of a text, cut anywhere. Out: its lines, without their ends. Never: holds more than [`MAX`] bytes: of a longer
//! line that much is handed over, the rest passed over and counted.

use memchr::memchr;

/// Bytes of a line that are looked at.
pub const MAX: usize = 1 << 20;

/// Cuts a text into lines.
#[derive(Debug, Default)]
pub struct Lines {
    /// The beginning of a line whose end has not come; at most [`MAX`] bytes.
    begun: Vec<u8>,
    /// Bytes of that line that were passed over.
    over: u64,
    lines: u64,
    cut: u64,
}

impl Lines {
    /// At the beginning of a text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lines that were handed over.
    pub fn count(&self) -> u64 {
        self.lines
    }

    /// Lines that were longer than [`MAX`].
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// More bytes. Each line that ends in them is handed over.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(end) = memchr(b'\n', rest) {
            let (line, behind) = rest.split_at(end);
            if self.begun.is_empty() && line.len() <= MAX {
                self.lines += 1;
                each(trimmed(line));
            } else {
                self.keep(line);
                self.end(&mut each);
            }
            rest = behind.get(1..).unwrap_or_default();
        }
        self.keep(rest);
    }

    /// No more will come: a last line without an end is a line too.
    pub fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            self.end(&mut each);
        }
    }

    fn keep(&mut self, part: &[u8]) {
        let room = MAX - self.begun.len().min(MAX);
        let (kept, over) = part.split_at(part.len().min(room));
        self.begun.extend_from_slice(kept);
        self.over = self.over.saturating_add(over.len() as u64);
    }

    fn end(&mut self, each: &mut impl FnMut(&[u8])) {
        self.lines += 1;
        self.cut += u64::from(self.over > 0);
        each(trimmed(&self.begun));
        self.begun.clear();
        self.over = 0;
    }
}

/// Without the carriage return of a text that came from elsewhere.
fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}
