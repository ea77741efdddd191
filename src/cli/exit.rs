//! The one table of exit codes.
//!
//! In: the code of a failure (its class, mostly), who asks, what was found. Out: a `u8` for the system.
//! Never: looks at anything else; every function is pure. README and docs show the same table.
//!
//! PostgreSQL takes 1..=125 from a restore_command as "not in the archive": a point-in-time recovery then ends early
//! and may promote with data missing; above 125 it stops. A standby asks again after 1..=125 and goes down above.
//! So one failure has two codes, by [`Asker`]. Source: PostgreSQL `RestoreArchivedFile`, observed on 9.5 to 18.
//!
//! ```text
//!                                              point in time     standby, pg_rewind, a person
//! delivered and validated                            0                     0
//! absent                                            74                    74    (`--absent-exit N`)
//! usage, configuration, no archive at all          200                   100
//! credentials                                      201                   101
//! store not reachable in time                      202                   102
//! damaged                                          203                   103
//! local file                                       204                   104
//! decryption                                       205                   105
//! gap                                              206                    74    (and a warning)
//! a bug                                            207                   107
//! ```
//!
//! Audits: 0 ok, 1 warning, 2 critical, 3 could not complete. All else: 0, or sysexits.

use crate::error::{Class, Code};
use crate::feed::mode::Who;
use crate::proof::verdict::Verdict;
use std::ffi::OsString;

/// It went well.
pub const OK: u8 = 0;
/// What wal-fetch says for "not in the archive" unless told otherwise: WAL-G's code.
pub const ABSENT: u8 = 74;

/// Who asks for a WAL file, as far as the exit code goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asker {
    /// A recovery that ends, and promotes, when a file is "not there": failures must stop it.
    PointInTime,
    /// Somebody who asks again or sees the error: a standby, pg_rewind, a person.
    Patient,
}

impl From<Who> for Asker {
    fn from(who: Who) -> Self {
        match who {
            Who::PointInTime => Asker::PointInTime,
            Who::Standby | Who::Rewind | Who::Other => Asker::Patient,
        }
    }
}

/// `wal-fetch` failed with this code. `absent_exit` is what stands for "not in the archive": [`ABSENT`] or the flag's.
pub fn wal_fetch(code: Code, asker: Asker, absent_exit: u8) -> u8 {
    let class = match code.class() {
        // Not one file but the whole archive is missing: a typing error, or a directory that is not mounted.
        Class::Absent if code == Code::AbsentPrefix => 0,
        Class::Absent => return absent_exit,
        Class::Gap if asker == Asker::Patient => return absent_exit,
        Class::Usage | Class::Config => 0,
        Class::Credentials => 1,
        Class::Store => 2,
        Class::Damaged => 3,
        Class::Local | Class::Target => 4,
        Class::Crypt => 5,
        Class::Gap => 6,
        Class::Internal => 7,
    };
    match asker {
        Asker::PointInTime => 200 + class,
        Asker::Patient => 100 + class,
    }
}

/// What an audit came to: [`Verdict::of`] its findings.
pub fn audit(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Ok => OK,
        Verdict::Warning => 1,
        Verdict::Critical => 2,
        Verdict::Unknown => AUDIT_INCOMPLETE,
    }
}

/// An audit could not complete: UNKNOWN in the words of monitoring.
pub const AUDIT_INCOMPLETE: u8 = 3;

/// Any other verb failed with this code: the numbers of BSD's `sysexits.h`.
pub fn sysexit(code: Code) -> u8 {
    match code {
        // Finer than the class: nothing can be created there, and "try again" is the whole advice.
        Code::LocalSpace | Code::LocalTarget | Code::LocalTablespace => 73,
        Code::StoreThrottled | Code::StoreTimeout | Code::StoreChanged | Code::TargetBusy => 75,
        _ => match code.class() {
            Class::Usage => 64,
            Class::Damaged | Class::Gap => 65,
            Class::Absent => 66,
            Class::Store => 69,
            Class::Internal => 70,
            Class::Target => 73,
            Class::Local => 74,
            Class::Credentials | Class::Crypt => 77,
            Class::Config => 78,
        },
    }
}

/// A failure before the verb is known, told from the words of the command line alone.
///
/// In the data directory of a point-in-time recovery a mistyped restore_command, or a bug, must not pass for the end of
/// the archive, whatever verb was meant.
pub fn before_verb(code: Code, argv: &[OsString], asker: Asker) -> u8 {
    let fetches = argv.iter().skip(1).any(|word| word == "wal-fetch");
    match asker {
        Asker::Patient if !fetches => sysexit(code),
        _ => wal_fetch(code, asker, ABSENT),
    }
}

#[cfg(test)]
mod tests;
