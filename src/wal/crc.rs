//! CRC-32C in PostgreSQL's order: a record's body first, then the first 20 bytes of its header.
//!
//! In: the body in any pieces, then the header. Out: the sum that stands in the header's last four bytes.
//! Never: covers page headers within a record or the padding behind it. The order is what lets a record of any length
//! be checked in one pass with 24 bytes kept. Source: `XLogRecordAssemble`, `ValidXLogRecord`.

/// The running sum of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct RecordCrc(u32);

impl RecordCrc {
    /// Nothing yet.
    pub fn new() -> Self {
        RecordCrc(0)
    }

    /// More bytes of the body (offset 24 and up).
    pub fn body(&mut self, bytes: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, bytes);
    }

    /// The sum, once the whole body went in. The last four bytes of the header are its place and not part of it.
    pub fn finish(self, header: &[u8; 24]) -> u32 {
        let covered: &[u8; 20] = header.first_chunk().expect("checked: 20 is less than 24");
        crc32c::crc32c_append(self.0, covered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_first_then_header() {
        let header: [u8; 24] = std::array::from_fn(|n| n as u8);
        let mut crc = RecordCrc::new();
        crc.body(b"12345");
        crc.body(b"6789");
        let mut whole = b"123456789".to_vec();
        whole.extend(&header[..20]);
        assert_eq!(crc.finish(&header), crc32c::crc32c(&whole));
        // The polynomial's own check value.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283);
    }
}
