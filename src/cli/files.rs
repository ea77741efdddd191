//! Results that go into files.
//!
//! In: a path, text. Out: a file that holds all of the text, or the one that was there before. Never: half a file under
//! its name: readers such as a textfile collector come at any time; replaces what is no file (a device, a pipe).

use crate::error::{Answer, Code, Error};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Write a file: beside it, synced, then renamed. What is no regular file is written to.
pub fn write_whole(path: &Path, text: &str) -> Answer<()> {
    let failed = |error: io::Error| {
        let code = if error.kind() == io::ErrorKind::StorageFull { Code::LocalSpace } else { Code::LocalIo };
        Error::new(code, "cannot be written").on(path.display()).because(error)
    };
    // Through links: the file they lead to is the one that is replaced.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(failed);
    }
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(failed(io::ErrorKind::InvalidFilename.into()));
    };
    let beside = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&beside, path)).map_err(|error| {
        let _ = fs::remove_file(&beside);
        failed(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verdict.prom");
        write_whole(&path, "one").unwrap();
        write_whole(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write_whole(&link, "three").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "three");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        for nowhere in [folder.path().join("no/such/folder"), folder.path().to_owned(), "/dev/full".into(), "/".into()]
        {
            let error = write_whole(&nowhere, "x").unwrap_err();
            assert!(error.code().as_str().starts_with("local."), "{error}");
        }
        write_whole(Path::new("/dev/null"), "x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
