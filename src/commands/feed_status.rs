//! `feed-status`: how a server that recovers is fed just now.
//!
//! In: a data directory, or its WAL directory. Out: [`Status`], as the feeder tells it. Never: starts a feeder, asks a store.

use crate::error::{Answer, Code, Error};
use crate::feed::client;
use crate::feed::spool::Meeting;
use crate::feed::status::Status;
use std::path::{Path, PathBuf};

/// Ask the feeder of this data directory; `absent.feeder` when there is none.
pub fn run(directory: &Path) -> Answer<Status> {
    let places = meetings(directory)?;
    for meeting in &places {
        if let Some(line) = client::status(meeting)? {
            return serde_json::from_str(&line).map_err(|cause| {
                Error::new(Code::LocalIo, "its feeder is of another version of wal-r")
                    .on(directory.display())
                    .because(cause)
            });
        }
    }
    Err(Error::new(Code::AbsentFeeder, "no feeder runs for it").on(directory.display()))
}

/// Where a feeder would be met.
fn meetings(directory: &Path) -> Answer<Vec<Meeting>> {
    if !directory.is_dir() {
        let hint = "Give the server's data directory.";
        return Err(Error::new(Code::UsageArgument, "is no directory").on(directory.display()).hint(hint));
    }
    let inside = ["pg_wal", "pg_xlog"].map(|name| directory.join(name));
    let places = inside.into_iter().filter(|place| place.is_dir()).chain([PathBuf::from(directory)]);
    Ok(places.map(|place| Meeting::in_wal_directory(&place)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_there() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("pg_wal")).unwrap();
        assert_eq!(run(folder.path()).unwrap_err().code(), Code::AbsentFeeder);
        assert_eq!(run(&folder.path().join("no/such")).unwrap_err().code(), Code::UsageArgument);
        assert_eq!(std::fs::read_dir(folder.path().join("pg_wal")).unwrap().count(), 0, "nothing is made");
    }

    #[test]
    fn what_it_tells_comes_through() {
        let folder = tempfile::tempdir().unwrap();
        let meeting = Meeting::in_wal_directory(folder.path());
        meeting.prepare().unwrap();
        let listener = meeting.listen().unwrap();
        let told = Status { hits: 7, segments_per_second: Some(3.5), ..Status::default() };
        let text = serde_json::to_string(&told).unwrap() + "\n";
        let serving = std::thread::spawn(move || {
            for answer in [text.as_bytes(), b"{\"other\": 1}\n"] {
                std::io::Write::write_all(&mut listener.accept().unwrap().0, answer).unwrap();
            }
        });
        assert_eq!(run(folder.path()).unwrap(), told);
        assert_eq!(run(folder.path()).unwrap_err().code(), Code::LocalIo);
        serving.join().unwrap();
    }
}
