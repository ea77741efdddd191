//! Every code a failure can carry: its text, its class, its page for `wal-r explain`.
//!
//! In: nothing. Out: [`Code`], and through [`Code::explain`] what it means, what it leads to and what to do.
//! Never: more than one page per code; a code is added here and nowhere else. Codes are an API: scripts match them.

use super::Class;
use std::fmt;

/// A page of `wal-r explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explained {
    /// What happened, in one or two sentences.
    pub meaning: &'static str,
    /// What to do next, in order.
    pub next: &'static str,
}

macro_rules! codes {
    ($( $name:ident, $class:ident, $text:literal, $meaning:literal, $next:literal; )*) => {
        /// The dotted code of a failure. Its first word is its [`Class`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code { $( #[doc = $meaning] $name, )* }

        impl Code {
            /// All codes, in the order of their classes.
            pub const ALL: &'static [Code] = &[ $( Code::$name, )* ];

            /// The dotted text.
            pub fn as_str(self) -> &'static str {
                match self { $( Code::$name => $text, )* }
            }

            /// The class, which fixes the exit code.
            pub fn class(self) -> Class {
                match self { $( Code::$name => Class::$class, )* }
            }

            /// The page `wal-r explain` prints.
            pub fn explain(self) -> Explained {
                match self { $( Code::$name => Explained { meaning: $meaning, next: $next }, )* }
            }
        }
    };
}

codes! {
    AbsentSegment, Absent, "absent.segment",
        "The archive was reached and does not hold this WAL file.",
        "At the end of an archive this is normal: PostgreSQL asks for one segment more than there is. Elsewhere see `wal-r wal-show`.";
    AbsentBackup, Absent, "absent.backup",
        "The archive was reached and holds no base backup of this name, or none at all.",
        "Look at `wal-r backup-list`, and at the prefix with `wal-r config check`.";
    AbsentObject, Absent, "absent.object",
        "The store was reached and holds no object of this name.",
        "Look at what is there with `wal-r st ls`.";
    AbsentPrefix, Absent, "absent.prefix",
        "The store was reached and nothing lies under this prefix, or the directory or bucket does not exist.",
        "Check the prefix for a typing error: `wal-r config check` prints it with its origin; `wal-r st ls` shows what is beside it.";
    AbsentArchive, Absent, "absent.archive",
        "No archive was found: the logs name none, or not that of the instance asked for, or none lies below the prefix.",
        "Give older logs too, rotated ones with their .gz; or look in the bucket: `wal-r locate --under URL`.";
    AbsentFeeder, Absent, "absent.feeder",
        "No feeder runs for this data directory: no recovery of it asks for WAL just now.",
        "It starts with the first wal-fetch of a recovery and goes when the recovery is over, or when nobody asked for ten minutes.";
    GapSegment, Gap, "gap.segment",
        "This segment is absent, but the same timeline goes on behind it, or a history file says that it must exist. Recovery would end here in silence, with later transactions missing.",
        "Look for the segment elsewhere: pg_wal of the old primary and its standbys, another bucket. To end recovery here on purpose: a recovery target before the gap, or `--on-gap absent`.";
    GapFork, Gap, "gap.fork",
        "The child timeline's segment at the switch point is absent while the parent's exists. Handing over the parent's would let PostgreSQL replay past the fork and open with another history's rows.",
        "Look for the child's segment in pg_wal of the server that was promoted; or recover on the parent's timeline with `--recovery-target-timeline`.";
    UsageArgument, Usage, "usage.argument",
        "The command line cannot be understood.",
        "See `wal-r help COMMAND`.";
    UsageName, Usage, "usage.name",
        "This is not a name that an archive holds.",
        "Segments are 24 upper-case hex digits; also TTTTTTTT.history, SEGMENT.XXXXXXXX.backup and SEGMENT.partial.";
    UsageTime, Usage, "usage.time",
        "The time can be read in more than one way.",
        "Give it a zone, as in '2026-11-20 20:34:38+00' or '2026-11-20T21:34:38+01:00'.";
    UsageTarget, Usage, "usage.target",
        "The recovery target contradicts itself or cannot be reached from this base backup.",
        "Give one target, and a base backup that is consistent before it: `wal-r backup-list --detail`.";
    ConfigPrefix, Config, "config.prefix",
        "No prefix says where the archive is, or it cannot be understood.",
        "Set WALG_S3_PREFIX, WALE_S3_PREFIX, WALG_FILE_PREFIX or one of their twins, or give --prefix; `wal-r config explain` lists them.";
    ConfigFile, Config, "config.file",
        "The configuration file cannot be read or understood.",
        "`wal-r config check` shows which file is used and why.";
    ConfigValue, Config, "config.value",
        "A setting has a value that cannot be understood.",
        "`wal-r config explain NAME` says what it takes.";
    ConfigUnsupported, Config, "config.unsupported",
        "A setting asks for something this build cannot do.",
        "`wal-r --version` lists what is built in.";
    CredentialsMissing, Credentials, "credentials.missing",
        "No credentials were found for the store.",
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role; `wal-r config check` says what was tried.";
    CredentialsRefused, Credentials, "credentials.refused",
        "The store refused the request (401 or 403). Whether the object exists is not known: without the right to list, some stores answer 403 for what is not there.",
        "Check key, secret, token, the clock of this machine, and that the key may read and list the prefix.";
    CredentialsExpired, Credentials, "credentials.expired",
        "The credentials have expired and could not be refreshed.",
        "Renew them, or use a role that refreshes itself.";
    StoreUnreachable, Store, "store.unreachable",
        "The store could not be reached in time: connection refused or reset, no route, or silence.",
        "Try `wal-r config check`. A recovery is stopped, not ended: start PostgreSQL again when the store is back.";
    StoreDns, Store, "store.dns",
        "The name of the store cannot be resolved.",
        "Check the endpoint for a typing error and this machine's DNS.";
    StoreTls, Store, "store.tls",
        "No trusted TLS connection to the store: unknown CA, wrong host name or expired certificate.",
        "Expired: the store's certificate must be renewed. Unknown issuer: give the CA with AWS_CA_BUNDLE. Another host: correct the endpoint. A recovery is stopped, not ended: start PostgreSQL again afterwards.";
    StoreThrottled, Store, "store.throttled",
        "The store asked to slow down (429 or 503) until the deadline passed.",
        "Lower the concurrency (WALG_DOWNLOAD_CONCURRENCY) or try later.";
    StoreFailed, Store, "store.failed",
        "The store answered with an error of its own (5xx, or something that is not the protocol).",
        "Try again; look at the store's own log.";
    StoreTimeout, Store, "store.timeout",
        "The deadline passed, or no byte came for the length of the stall timeout.",
        "Try again, or raise --deadline.";
    StoreChanged, Store, "store.changed",
        "The object was replaced while it was being read.",
        "Try again; find out who writes to the archive.";
    StoreArchived, Store, "store.archived",
        "The object lies in an archive tier and must be restored by the provider before it can be read.",
        "Restore it with the provider's tool (S3 Glacier: restore-object), then try again.";
    StoreRedirected, Store, "store.redirected",
        "The bucket answers from another region or endpoint.",
        "Set AWS_REGION (or the endpoint) to where the bucket is.";
    DamagedObject, Damaged, "damaged.object",
        "The object is there, but its bytes are not what its name and its container promise: cut short, flipped, or something else altogether.",
        "Look for another copy. Keep the damaged one: later findings may need it.";
    DamagedCodec, Damaged, "damaged.codec",
        "The object's content is in another format than its name says, or in one this build cannot read.",
        "`wal-r st stat` names what the stream really is.";
    DamagedSegment, Damaged, "damaged.segment",
        "The WAL segment does not validate: wrong size, a page that does not belong there, or a record whose checksum or link is wrong. PostgreSQL would take the first bad record for the end of WAL and open with rows missing.",
        "Look for another copy: pg_wal of the primary and its standbys, another bucket. To end recovery before it: a recovery target before the LSN named.";
    DamagedForeign, Damaged, "damaged.foreign",
        "The WAL segment is whole but belongs to another cluster, timeline or place.",
        "Check that the prefix is this cluster's, and that no other server archives into it.";
    DamagedHistory, Damaged, "damaged.history",
        "The timeline history file cannot be right: it does not parse, or its timelines do not ascend.",
        "Look for another copy in pg_wal of any server of that timeline.";
    DamagedSentinel, Damaged, "damaged.sentinel",
        "The sentinel of the base backup is not the JSON that WAL-E or WAL-G write.",
        "Look at it with `wal-r st cat`. The backup may be whole: restore another one, or repair the sentinel by hand in a copy.";
    DamagedBackup, Damaged, "damaged.backup",
        "The base backup is not complete or not consistent: partitions, members, label or pg_control do not fit.",
        "Restore another backup of `wal-r backup-list`; the WAL from it onward leads to the same states.";
    DamagedArchive, Damaged, "damaged.archive",
        "The archive does not hold what its base backups need: a copy of it could not be restored either.",
        "`wal-r audit` says what is wrong and since when. Copy it all the same with --damaged, or choose backups that are whole with --backup.";
    DamagedMember, Damaged, "damaged.member",
        "A member of the base backup's tar would leave the target directory or is of a kind that no data directory holds.",
        "Nothing was written for it. Find out who could write to the archive before you trust anything in it.";
    DamagedPage, Damaged, "damaged.page",
        "A relation page of the base backup does not match its checksum.",
        "Replay repairs it only if the WAL holds a full image of it; restore another backup if it does not.";
    LocalIo, Local, "local.io",
        "A file of this machine could not be read or written.",
        "The cause is named; correct it and run the same command again.";
    LocalSpace, Local, "local.space",
        "A file system of this machine is full or too small.",
        "Make room for the bytes named, or choose another directory.";
    LocalTarget, Local, "local.target",
        "The target directory is not empty, is in use by a server, or belongs to another restore.",
        "Give an empty directory; `--resume` continues an interrupted restore of the same backup.";
    LocalLedger, Local, "local.ledger",
        "The ledger, which remembers what was proven of an archive, cannot be used: it is in use, damaged, another archive's, or no ledger at all. Nothing is lost with it but time: it holds what reading the archive again would tell.",
        "Delete it (with its -wal and -shm), or begin anew with --rebuild-ledger: the next run reads everything again.";
    LocalTablespace, Local, "local.tablespace",
        "A tablespace of the backup has no place to go on this machine.",
        "Give each one a place: `--tablespace OID=DIR`, `--restore-spec FILE`, or `--blind-restore` to put them inside the data directory.";
    TargetOccupied, Target, "target.occupied",
        "The destination holds another archive. Two archives under one prefix are a trap: WAL segments of one name and of two clusters.",
        "Copy to another prefix; or, when the archive that is there is the young one of a service being recovered: --replace aside moves it to a sibling prefix, --replace delete --confirm removes it.";
    TargetConflict, Target, "target.conflict",
        "The destination holds an object of this name with other bytes. Nothing that exists is overwritten unasked.",
        "Find out which of the two is right: `wal-r st stat` on both sides. `--overwrite` takes the source's.";
    TargetBusy, Target, "target.busy",
        "Somebody is still writing to the destination: its newest object is younger than --quiet-for.",
        "Stop the server that archives there, wait, and run the same command again.";
    TargetUnconfirmed, Target, "target.unconfirmed",
        "This would remove objects, and --confirm was not given. Nothing was changed.",
        "Look at what is listed; then run the same command with --confirm.";
    CryptKey, Crypt, "crypt.key",
        "The object is encrypted and no configured key opens it.",
        "The message names the scheme and the key id, where the object tells.";
    CryptUnsupported, Crypt, "crypt.unsupported",
        "The object is encrypted, and this build cannot decrypt yet.",
        "Decrypt it with the original tool (gpg -d | lzop -d for WAL-E).";
    InternalBug, Internal, "internal.bug",
        "wal-r came to a place that should not exist. This is a bug.",
        "Report it with the whole output.";
}

impl Code {
    /// The code of a dotted text, if there is one.
    pub fn parse(text: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str() == text)
    }

    /// The advice that belongs to the code, for errors that carry no better one. The page's, so that both agree.
    pub fn hint(self) -> Option<&'static str> {
        // At the end of an archive an absent segment is ordinary: advice there would only frighten.
        (self != Code::AbsentSegment).then(|| self.explain().next)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
