//! The outer error, its codes, and the four answers.
//!
//! In: failures of every layer, each already knowing which object it is about.
//! Out: one [`Error`] that says what failed, on which object, why, and what to do next.
//! Never: decides an exit code (that is `cli::exit`), prints, or turns "could not ask" into "is not there".
//!
//! Everything that asks a store for something ends in one of four answers. `Ok` is **Present**; an [`Error`] is one of
//! the other three, told apart by the class of its [`Code`]: **Absent** (the store said so, with authority),
//! **Unknown** (it could not be asked) and **Damaged** (it is there and it is wrong).

use std::error::Error as StdError;
use std::fmt;

mod codes;

pub use codes::{Code, Explained};

/// What asking for something gives: the thing (Present), or one of the three other answers.
pub type Answer<T> = Result<T, Error>;

/// The class of a failure: the first word of its code. It alone fixes the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The store said, with authority, that it is not there.
    Absent,
    /// Absent, but the archive goes on behind it: recovery would end early.
    Gap,
    /// The command line cannot be understood.
    Usage,
    /// Settings are missing, contradict each other or cannot be read.
    Config,
    /// The store refused us: keys, rights, clock.
    Credentials,
    /// The store could not be asked: network, DNS, TLS, deadline, its own failure.
    Store,
    /// It is there and it is wrong.
    Damaged,
    /// This machine: disk, permissions, processes.
    Local,
    /// Where a copy is to go holds something that must not be lost, or is still being written.
    Target,
    /// Sealed, and no key of ours opens it.
    Crypt,
    /// wal-r itself is wrong; always a bug.
    Internal,
}

/// One of the four answers, without its reasons. Present is `Ok`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The store said so, with authority.
    Absent,
    /// It could not be asked, or what came could not be judged here.
    Unknown,
    /// It is there and it is wrong.
    Damaged,
}

impl Class {
    /// The first word of the codes of this class.
    pub fn word(self) -> &'static str {
        match self {
            Class::Absent => "absent",
            Class::Gap => "gap",
            Class::Usage => "usage",
            Class::Config => "config",
            Class::Credentials => "credentials",
            Class::Store => "store",
            Class::Damaged => "damaged",
            Class::Local => "local",
            Class::Target => "target",
            Class::Crypt => "crypt",
            Class::Internal => "internal",
        }
    }

    /// Which answer a failure of this class is. Only `Absent` and `Gap` say that something is not there.
    pub fn verdict(self) -> Verdict {
        match self {
            Class::Absent | Class::Gap => Verdict::Absent,
            Class::Damaged => Verdict::Damaged,
            Class::Usage
            | Class::Config
            | Class::Credentials
            | Class::Store
            | Class::Local
            | Class::Target
            | Class::Crypt
            | Class::Internal => Verdict::Unknown,
        }
    }
}

/// What failed, on which object, why, and what to do next.
///
/// `Display` gives the sentence with its object and without its causes; [`Error::chain`] gives the causes, each once.
/// Sentences are lower case without a full stop; hints are whole sentences.
pub struct Error(Box<Inner>);

struct Inner {
    code: Code,
    what: String,
    object: Option<String>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    beside: Vec<String>,
}

impl Error {
    /// A failure: its code and one sentence, lower case, no full stop, naming what was being done.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Error(Box::new(Inner { code, what: what.into(), object: None, hint: None, source: None, beside: Vec::new() }))
    }

    /// Name the object: a URL of the store, a path, a segment.
    #[must_use]
    pub fn on(mut self, object: impl fmt::Display) -> Self {
        self.0.object = Some(object.to_string());
        self
    }

    /// What to do next, as a whole sentence.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The cause, printed behind the sentence. Do not also put it into the sentence.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What else was found out while it failed, as a clause: printed behind the causes.
    #[must_use]
    pub fn beside(mut self, clause: impl Into<String>) -> Self {
        self.0.beside.push(clause.into());
        self
    }

    /// The dotted code, for scripts and `wal-r explain`.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Shorthand for `code().class()`.
    pub fn class(&self) -> Class {
        self.0.code.class()
    }

    /// Which of the answers this is.
    pub fn verdict(&self) -> Verdict {
        self.class().verdict()
    }

    /// The store said, with authority, that it is not there.
    pub fn is_absent(&self) -> bool {
        self.verdict() == Verdict::Absent
    }

    /// The sentence, without the object.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// The object it is about, when one was named.
    pub fn object(&self) -> Option<&str> {
        self.0.object.as_deref()
    }

    /// What else was found out while it failed.
    pub fn besides(&self) -> &[String] {
        &self.0.beside
    }

    /// What to do next: the hint given on the spot, else the one that belongs to the code.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref().or_else(|| self.0.code.hint())
    }

    /// The sentence, every cause behind it, and what stands beside it, in one line: `what: cause: cause; beside`.
    pub fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = StdError::source(self);
        while let Some(source) = cause {
            let text = source.to_string();
            // Some libraries repeat their cause in their own text; say each thing once.
            if !text.is_empty() && !line.ends_with(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            cause = source.source();
        }
        for clause in &self.0.beside {
            line.push_str("; ");
            line.push_str(clause);
        }
        line
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.object {
            Some(object) => write!(f, "{object}: {}", self.0.what),
            None => f.write_str(&self.0.what),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.0.code, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests;
