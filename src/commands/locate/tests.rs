use super::*;
use crate::commands::Silent;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Cursor, Write};

const DINGO: &[u8] = include_bytes!("../../../testdata/logs/dingo.log");
const OLD: &str = "6e101b27-ee1b-4f4d-a032-4401a3709ec3";

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn stream(bytes: impl AsRef<[u8]> + Send + 'static) -> Input {
    Input::Stream("stream".to_owned(), Box::new(Cursor::new(bytes)))
}

fn ask(inputs: Vec<Input>, options: &Options) -> Answer<Report> {
    read(inputs, options, &Silent)
}

#[test]
fn plain_gzip_and_members_are_the_same() {
    let instances = |input| serde_json::to_value(ask(vec![input], &Options::default()).unwrap().instances).unwrap();
    let plain = instances(stream(DINGO));
    assert_eq!(plain[0]["id"], OLD);
    assert_eq!(instances(stream(gzip(DINGO))), plain);
    // Cut in the middle of a line.
    let (one, other) = DINGO.split_at(DINGO.len() / 2);
    assert_eq!(instances(stream([gzip(one), gzip(other)].concat())), plain);
}

/// Gives a byte at a time, is interrupted now and then, and fails at the end.
struct Slow(&'static [u8], bool, usize);

impl Read for Slow {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.2 += 1;
        if self.2.is_multiple_of(7) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                into[0] = *byte;
                Ok(1)
            }
            None if self.1 => Err(io::Error::other("the disk is gone")),
            None => Ok(0),
        }
    }
}

#[test]
fn a_slow_stream_is_the_same_and_a_failing_one_is_said() {
    let slow = |fails| Input::Stream("slow".to_owned(), Box::new(Slow(DINGO, fails, 0)));
    let report = ask(vec![slow(false)], &Options::default()).unwrap();
    assert_eq!((report.logs[0].lines, report.shortfall()), (12, None));
    let report = ask(vec![slow(true)], &Options::default()).unwrap();
    assert_eq!((report.logs[0].lines, report.shortfall()), (12, Some(Code::LocalIo)));
    assert!(report.remarks()[0].contains("slow: cannot read this log: the disk is gone"), "{:?}", report.remarks());
}

#[test]
fn what_is_not_read_is_not_absent() {
    let folder = tempfile::tempdir().unwrap();
    let code = |inputs| ask(inputs, &Options::default()).unwrap_err().code();
    assert_eq!(code(vec![stream("nothing\n")]), Code::AbsentArchive);
    assert_eq!(code(vec![Input::File(folder.path().to_owned())]), Code::LocalIo);
    assert_eq!(code(vec![stream("nothing\n"), Input::File(folder.path().join("none"))]), Code::LocalIo);
    assert_eq!(code(vec![stream(b"\xFD7zXZ\0rest".to_vec())]), Code::DamagedCodec);
    let cut = gzip(b"nothing\n");
    assert_eq!(code(vec![stream(cut[..cut.len() - 3].to_vec())]), Code::DamagedObject);
    // What came before the cut counts, and the cut is told.
    let noise: Vec<u8> = (0..200_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
    let long = gzip(&[DINGO, &noise].concat());
    let report = ask(vec![stream(long[..long.len() / 2].to_vec())], &Options::default()).unwrap();
    assert_eq!((report.instances.len(), report.shortfall()), (1, Some(Code::DamagedObject)));
    assert!(report.remarks()[0].contains("cut short"), "{:?}", report.remarks());
}

#[test]
fn only_what_is_asked_for() {
    let ask = |instance: Option<&str>, deleted| {
        let options = Options { instance: instance.map(str::to_owned), deleted };
        let seen =
            "        DETAIL: Uploading \"a\" to \"s3://b/spilo/acid/wal/wal_005/000000010000000000000001.lzo\".\n";
        ask(vec![stream(DINGO), stream(seen)], &options).map(|report| (report.instances.len(), report.others))
    };
    assert_eq!(ask(None, false).unwrap(), (2, 0));
    assert_eq!(ask(None, true).unwrap(), (1, 1));
    for name in [OLD, &OLD.to_uppercase(), "cf-c8ce128e-7b4c-4fe7-a533-e9379356f906", "acid"] {
        assert_eq!(ask(Some(name), false).unwrap(), (1, 1), "{name}");
    }
    let error = ask(Some("acid"), true).unwrap_err();
    assert_eq!(error.code(), Code::AbsentArchive);
    assert_eq!(error.what(), "no line tells of the instance acid; 2 others are seen (13 lines read)");
}

#[test]
fn the_younger_one_is_named_and_not_chosen() {
    let new = "78218ded-7d88-4d69-bd44-6f478c300134";
    let line = |bucket: &str, instance: &str, time: &str| {
        format!(
            "        STRUCTURED: time={time}-00 pid=1 action=push-wal key=s3://{bucket}/backups/{instance}/wal/wal_005/000000010000000000000001.lzo \
             prefix=backups/{instance}/wal/ seg=000000010000000000000001 state=complete\n"
        )
    };
    let of = |lines: String| {
        let report = ask(vec![stream(DINGO), stream(lines)], &Options::default()).unwrap();
        let deleted = &report.instances[0];
        assert_eq!(deleted.instance.id.unwrap().to_string(), OLD);
        assert!(
            deleted.copies[0]
                .command
                .ends_with("--to s3://our-postgresql-backups/backups/NEW_GUID/wal/ --replace aside")
        );
        deleted.younger.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(of(line("our-postgresql-backups", new, "2016-03-17T17:37:38")), [new]);
    assert_eq!(of(line("our-postgresql-backups", new, "2016-03-17T01:00:00")), [""; 0], "it was there before");
    assert_eq!(of(line("elsewhere", new, "2016-03-17T17:37:38")), [""; 0], "another bucket");
}

#[test]
fn what_a_log_says_stays_one_word_of_the_command() {
    let hostile =
        "        DETAIL: Uploading \"a\" to \"s3://b/x;rm -rf $HOME'`/wal_005/000000010000000000000001.lzo\".\n";
    let report = ask(vec![stream(hostile)], &Options::default()).unwrap();
    assert_eq!(
        report.instances[0].copies[0].command,
        "wal-r copy --from 's3://b/x;rm -rf $HOME'\\''`/' --to NEW_PREFIX --replace aside"
    );
}

#[test]
fn a_long_line_is_said() {
    let long = [DINGO, &vec![b'x'; crate::locate::lines::MAX + 1], b"\n"].concat();
    let report = ask(vec![stream(long)], &Options::default()).unwrap();
    assert_eq!(report.remarks(), ["stream: lines longer than 1 MiB, of which only the beginning was looked at: 1"]);
    assert_eq!(report.shortfall(), None);
}
