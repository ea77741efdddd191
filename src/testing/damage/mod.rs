//! Damage done to an archive on purpose: every kind that people met, by seed, with what an audit owes us for it.
//!
//! In: a whole archive ([`Archive`]), a [`Kind`], a seed. Out: a [`Damage`]: which objects change and how, and an
//! [`Expect`]: who must find it, under which codes, how bad it is and which base backups it hurts. The same seed gives the
//! same damage. Never: asks `proof` anything (what is expected comes from [`model`], which is naive on purpose); changes
//! the archive it was given.

mod archive;
mod backups;
mod model;
mod names;
mod raw;
mod stored;
#[cfg(test)]
mod tests;
mod wal;

pub use archive::Archive;
pub use model::{Base, Hurt, Model};

use crate::proof::{FindingCode, Severity};
use crate::testing::lzop::unlzop;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Who says that it would find a damage: the levels in their order, then the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// One listing, histories and sentinels.
    Names,
    /// Every byte decodes to the right size.
    Decode,
    /// Every page stands where it belongs.
    Headers,
    /// Every record is whole and linked.
    Records,
    /// `backup-verify`.
    Backup,
    /// Only who remembers the object as it was.
    Ledger,
    /// Nobody need say a word: it breaks nothing.
    Nobody,
}

/// What an audit owes us for a damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// Who must find it.
    pub claim: Claim,
    /// At least one finding has one of these codes.
    pub codes: Vec<FindingCode>,
    /// Findings above harmless may have these codes, too.
    pub also: Vec<FindingCode>,
    /// The worst finding is not milder than the first and not worse than the second.
    pub worst: (Severity, Severity),
    /// Base backups that must be named as hurt.
    pub certainly: Vec<String>,
    /// Base backups that may be named as hurt; holds `certainly`.
    pub perhaps: Vec<String>,
}

impl Expect {
    /// No finding above harmless, whoever looks.
    pub fn nothing() -> Expect {
        Expect {
            claim: Claim::Nobody,
            codes: Vec::new(),
            also: Vec::new(),
            worst: (Severity::Harmless, Severity::Harmless),
            certainly: Vec::new(),
            perhaps: Vec::new(),
        }
    }

    fn new(claim: Claim, codes: &[FindingCode], hurt: Hurt) -> Expect {
        Expect {
            claim,
            codes: codes.to_vec(),
            also: Vec::new(),
            worst: hurt.worst,
            certainly: hurt.certainly,
            perhaps: hurt.perhaps,
        }
    }

    fn also(mut self, codes: &[FindingCode]) -> Expect {
        self.also.extend(codes);
        self
    }

    /// May a finding above harmless have this code?
    pub fn allows(&self, code: FindingCode) -> bool {
        self.codes.contains(&code) || self.also.contains(&code)
    }
}

/// One damage.
#[derive(Debug, Clone)]
pub struct Damage {
    /// Name of its [`Kind`].
    pub kind: &'static str,
    /// Its seed.
    pub seed: u64,
    /// What was done, for people.
    pub what: String,
    /// Objects that change: their new bytes, or gone.
    pub changes: Vec<(String, Option<Bytes>)>,
    /// What an audit owes us.
    pub expect: Expect,
}

/// A damage without its kind and seed.
struct Made {
    what: String,
    changes: Vec<(String, Option<Bytes>)>,
    expect: Expect,
}

impl Made {
    fn new(what: impl Into<String>, expect: Expect) -> Made {
        Made { what: what.into(), changes: Vec::new(), expect }
    }

    fn put(mut self, key: impl Into<String>, bytes: impl Into<Bytes>) -> Made {
        self.changes.push((key.into(), Some(bytes.into())));
        self
    }

    fn remove(mut self, key: impl Into<String>) -> Made {
        self.changes.push((key.into(), None));
        self
    }
}

/// A clean archive with what is true of it.
#[derive(Debug)]
pub struct Scene {
    /// Its objects.
    pub archive: Archive,
    /// What the naive reader makes of them.
    pub model: Model,
    /// Objects that were decoded before.
    plain: Mutex<BTreeMap<String, Bytes>>,
}

impl Scene {
    /// Of a clean archive. `None`: it holds no segment, or what the naive reader does not understand.
    pub fn new(archive: Archive) -> Option<Scene> {
        let model = Model::read(&archive)?;
        Some(Scene { archive, model, plain: Mutex::default() })
    }

    /// An object's plain bytes.
    fn plain(&self, key: &str) -> Option<Bytes> {
        let mut known = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(key) {
            known.insert(key.to_owned(), unlzop(self.archive.get(key)?).into());
        }
        known.get(key).cloned()
    }
}

type Make = fn(&Scene, &mut fastrand::Rng) -> Option<Made>;

/// A kind of damage.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Its name: `segment-missing`.
    pub name: &'static str,
    make: Make,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Kind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Kind> {
        let kinds = [names::KINDS, stored::KINDS, wal::KINDS, backups::KINDS];
        kinds.into_iter().flatten().map(|(name, make)| Kind { name, make: *make })
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::all().find(|kind| kind.name == name)
    }

    /// Damage of this kind. `None`: the archive has no place for it.
    pub fn damage(self, scene: &Scene, seed: u64) -> Option<Damage> {
        // Kinds differ also for one seed.
        let salt = self.name.bytes().fold(seed, |salt, byte| salt.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let made = (self.make)(scene, &mut fastrand::Rng::with_seed(salt))?;
        Some(Damage { kind: self.name, seed, what: made.what, changes: made.changes, expect: made.expect })
    }
}
