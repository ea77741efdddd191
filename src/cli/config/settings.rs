//! The one table of settings.
//!
//! In: nothing. Out: [`Setting`]s. Resolution, `config check`, `config explain` and docs/configuration.md all come from
//! here; a setting is added here and nowhere else. Never: reads a value.
//! Source: WAL-G's configuration (storage settings are looked up by their plain name, then with `WALG_`, then `WALE_`
//! before it) and WAL-E's environment.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Which one.
    pub id: Id,
    /// Its first name.
    pub name: &'static str,
    /// Other names it has, besides those that [`Setting::names`] derives.
    pub twins: &'static [&'static str],
    /// What it takes.
    pub kind: Kind,
    /// Who reads it, or why nobody does.
    pub read: Read,
    /// What holds when nobody says anything; empty: nothing.
    pub default: &'static str,
    /// What it is, as a clause.
    pub meaning: &'static str,
}

/// What a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Text that is never printed.
    Secret,
    /// Where an archive is.
    Prefix,
    /// A file or directory of this machine.
    Path,
    /// An endpoint: a URL or `host:port`.
    Endpoint,
    /// WAL-E's `protocol+convention://host:port`.
    WaleEndpoint,
    /// `true` or `false`, `1` or `0`, `yes` or `no`, `on` or `off`.
    Switch,
    /// A whole number from here on.
    Count(u64),
    /// A length of time: `90s`, `5m`.
    Time,
    /// One of these words, in any case.
    Word(&'static [&'static str]),
}

/// Who reads a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Here, by this part.
    By(&'static str),
    /// The AWS SDK reads it by itself, from the environment only.
    Sdk,
    /// Known; it comes with a later version, with this.
    Later(&'static str),
    /// Known; nobody needs to say it, because of this.
    Needless(&'static str),
    /// Known; it steers writing, and nothing is written here.
    Writing,
}

impl Read {
    /// Does its value change anything here?
    pub fn counts(self) -> bool {
        matches!(self, Read::By(_) | Read::Sdk)
    }

    /// For people.
    pub fn text(self) -> String {
        match self {
            Read::By(who) => who.to_owned(),
            Read::Sdk => "the AWS SDK, from the environment only".to_owned(),
            Read::Later(what) => format!("recognised; comes with a later version ({what})"),
            Read::Needless(why) => format!("recognised; not needed: {why}"),
            Read::Writing => "recognised; only writers need it".to_owned(),
        }
    }
}

macro_rules! settings {
    ($( $name:ident [$($twin:ident)*] $kind:expr, $read:expr, $default:literal, $meaning:literal; )*) => {
        /// The settings by their first names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "they are the names as people write them")]
        pub enum Id { $( #[doc = $meaning] $name, )* }

        /// Every setting, grouped: the archive, S3, reading, decryption, other stores, logging, writing.
        pub static ALL: &[Setting] = &[ $( Setting {
            id: Id::$name,
            name: stringify!($name),
            twins: &[ $( stringify!($twin), )* ],
            kind: $kind,
            read: $read,
            default: $default,
            meaning: $meaning,
        }, )* ];
    };
}

use Kind::{Count, Endpoint, Path, Prefix, Secret, Switch, Text, Time, WaleEndpoint, Word};
use Read::{By, Later, Needless, Sdk, Writing};

const EVERY: Read = By("every verb that reads an archive");
/// What the settings of S3 are read by.
pub const S3: Read = By("S3");
const CRYPT: Read = Later("decryption");
/// What the settings of Azure are read by.
pub const AZURE: Read = By("Azure");
const GCS: Read = Later("Google Cloud Storage");
const SWIFT: Read = Later("Swift");
const SSH: Read = Later("SSH");
const OSS: Read = Later("Alibaba OSS");
const FAILOVER: Read = Needless("every store is asked, and its latest answer counts");
const DATABASE: Read = Later("verbs that ask a database");
const RETRIES: Read = Needless("requests are tried again until --deadline");

settings! {
    // The archive
    WALG_S3_PREFIX [] Prefix, EVERY, "", "where the archive is: s3://BUCKET/PATH";
    WALG_FILE_PREFIX [] Prefix, EVERY, "", "where the archive is: a directory, file:///PATH or file://localhost/PATH";
    WALG_AZ_PREFIX [WALE_WABS_PREFIX WALG_WABS_PREFIX] Prefix, EVERY, "", "where the archive is: azure:// or wabs://CONTAINER/PATH";
    WALG_GS_PREFIX [] Prefix, GCS, "", "where the archive is: gs://BUCKET/PATH";
    WALG_SWIFT_PREFIX [] Prefix, SWIFT, "", "where the archive is: swift://CONTAINER/PATH";
    WALG_OSS_PREFIX [] Prefix, OSS, "", "where the archive is: oss://BUCKET/PATH";
    WALG_SSH_PREFIX [] Prefix, SSH, "", "where the archive is: ssh://HOST/PATH";
    WALG_STORAGE_PREFIX [] Text, EVERY, "", "a folder below the prefix in which the archive is";
    WALG_CONFIG_PATH [] Path, By("every verb"), "~/.walg.json, .yaml, .yml, .toml, .env", "the settings file, as --config";

    // S3
    AWS_ACCESS_KEY_ID [AWS_ACCESS_KEY] Text, S3, "the AWS SDK's own chain", "the key's name";
    AWS_SECRET_ACCESS_KEY [AWS_SECRET_KEY] Secret, S3, "the AWS SDK's own chain", "the key's secret";
    AWS_SESSION_TOKEN [AWS_SECURITY_TOKEN] Secret, S3, "", "the token of temporary keys";
    AWS_INSTANCE_PROFILE [] Switch, S3, "false", "ask the instance's metadata for keys, and nothing else";
    AWS_PROFILE [AWS_DEFAULT_PROFILE] Text, S3, "default", "which profile of ~/.aws/config and ~/.aws/credentials";
    AWS_ROLE_ARN [] Text, S3, "", "a role to take on with these keys, or with AWS_WEB_IDENTITY_TOKEN_FILE";
    AWS_ROLE_SESSION_NAME [] Text, S3, "", "what that session is called";
    AWS_WEB_IDENTITY_TOKEN_FILE [] Path, Sdk, "", "a token that is exchanged for keys (Kubernetes service accounts)";
    AWS_CONTAINER_CREDENTIALS_RELATIVE_URI [] Text, Sdk, "", "where a container gets its keys";
    AWS_CONTAINER_CREDENTIALS_FULL_URI [] Text, Sdk, "", "where a container gets its keys";
    AWS_CONTAINER_AUTHORIZATION_TOKEN [] Secret, Sdk, "", "what a container shows to get its keys";
    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE [] Path, Sdk, "", "the file with what a container shows to get its keys";
    AWS_EC2_METADATA_DISABLED [] Switch, Sdk, "false", "do not ask the instance's metadata";
    AWS_CONFIG_FILE [] Path, Sdk, "~/.aws/config", "where profiles are";
    AWS_SHARED_CREDENTIALS_FILE [] Path, Sdk, "~/.aws/credentials", "where the profiles' keys are";
    AWS_REGION [AWS_DEFAULT_REGION] Text, S3, "the AWS SDK's own chain, else us-east-1", "the region of the bucket";
    AWS_ENDPOINT_URL_S3 [] Endpoint, S3, "Amazon's", "another S3: https://HOST:PORT";
    AWS_ENDPOINT_URL [] Endpoint, S3, "Amazon's", "another S3: https://HOST:PORT";
    AWS_ENDPOINT [] Endpoint, S3, "Amazon's", "another S3, by WAL-G's name for it";
    WALE_S3_ENDPOINT [] WaleEndpoint, S3, "Amazon's", "another S3, in WAL-E's form: https+path://HOST:PORT; conventions are path, virtualhost, subdomain";
    AWS_S3_FORCE_PATH_STYLE [] Switch, S3, "true with an endpoint", "https://HOST/BUCKET/KEY instead of https://BUCKET.HOST/KEY";
    AWS_CA_BUNDLE [S3_CA_CERT_FILE] Path, S3, "the system's", "a PEM file of certificate authorities";
    AWS_REQUEST_PAYER [] Word(&["requester", "true", "false"]), S3, "", "`requester`: pay for requests to somebody else's bucket";
    AWS_NO_SIGN_REQUEST [AWS_SKIP_SIGNATURE] Switch, S3, "false", "ask without keys: public buckets";
    AWS_DUAL_STACK [] Switch, Later("S3 by IPv6"), "false", "use the endpoints that speak IPv6";
    S3_SSE_C [] Secret, Later("S3 with keys of the customer"), "", "the customer's key the objects are sealed with";
    S3_USE_LIST_OBJECTS_V1 [] Switch, Later("old S3 servers"), "false", "list by the first version of the protocol";
    S3_ENDPOINT_SOURCE [] Text, Later("S3 behind a locator"), "", "a URL that answers with the host to ask";
    S3_ENDPOINT_PORT [] Count(1), Later("S3 behind a locator"), "443", "the port of that host";
    S3_ENDPOINT_PROTOCOL [] Word(&["http", "https"]), Later("S3 behind a locator"), "", "the protocol of that host";
    S3_REQUEST_ADDITIONAL_HEADERS [] Secret, Later("S3 behind a proxy"), "", "headers for every request";
    S3_USE_YC_SESSION_TOKEN [] Switch, Later("Yandex Cloud"), "false", "a token from Yandex Cloud's metadata";
    S3_MAX_RETRIES [] Count(0), RETRIES, "", "how often a request is tried";
    S3_MIN_THROTTLING_RETRY_DELAY [] Count(0), RETRIES, "", "shortest wait after SlowDown, in ms";
    S3_MAX_THROTTLING_RETRY_DELAY [] Count(0), RETRIES, "", "longest wait after SlowDown, in ms";
    S3_RANGE_BATCH_ENABLED [] Switch, Needless("broken reads are always resumed"), "", "resume broken downloads";
    S3_RANGE_MAX_RETRIES [] Count(0), RETRIES, "", "how often a broken download is resumed";
    S3_ENABLE_VERSIONING [] Text, Needless("reads never need the versions API"), "", "whether the bucket keeps versions";
    S3_LOG_LEVEL [] Text, Needless("--verbose"), "", "WAL-G's debug output";
    S3_SKIP_VALIDATION [] Switch, Needless("`config check` asks"), "", "whether WAL-G tries the bucket first";
    WALE_RETRIES [] Count(0), RETRIES, "100", "how often WAL-E tried a request";

    // Reading
    WALG_DOWNLOAD_CONCURRENCY [] Count(1), By("backup-fetch, wal-fetch, daemon"), "by this machine's cores; wal-fetch: 10", "how many objects are fetched at once; wal-fetch: 1 looks at nothing ahead";
    WALG_PREFETCH_DIR [] Path, By("wal-fetch, daemon"), "beside the destination", "where segments wait that were fetched ahead";
    WALG_NETWORK_RATE_LIMIT [] Count(1), Later("a rate limit"), "none", "bytes per second";
    WALG_FETCH_TARGET_USER_DATA [] Text, Later("WAL-G's user data"), "", "choose the base backup with this user data";
    WALG_TARGET_STORAGE [] Text, EVERY, "", "the only one of several stores to use: `default`, or a name of WALG_FAILOVER_STORAGES";
    WALG_FAILOVER_STORAGES [] Secret, By("wal-fetch, daemon, config check"), "", "stores to ask besides: a map of names to settings, in the settings file";
    WALG_FAILOVER_STORAGES_CHECK [] Switch, FAILOVER, "", "whether stores are tried first";
    WALG_FAILOVER_STORAGES_CHECK_TIMEOUT [] Time, FAILOVER, "", "how long such a try may take";
    WALG_FAILOVER_STORAGES_CHECK_SIZE [] Text, FAILOVER, "", "how much is written for it";
    WALG_FAILOVER_STORAGES_CACHE_LIFETIME [] Time, FAILOVER, "", "how long its outcome holds";
    WALG_FAILOVER_STORAGES_CACHE_EMA_ALIVE_LIMIT [] Text, FAILOVER, "", "a figure of WAL-G's judgement";
    WALG_FAILOVER_STORAGES_CACHE_EMA_DEAD_LIMIT [] Text, FAILOVER, "", "a figure of WAL-G's judgement";
    WALG_FAILOVER_STORAGES_CACHE_EMA_ALPHA_ALIVE_MAX [] Text, FAILOVER, "", "a figure of WAL-G's judgement";
    WALG_FAILOVER_STORAGES_CACHE_EMA_ALPHA_ALIVE_MIN [] Text, FAILOVER, "", "a figure of WAL-G's judgement";
    WALG_FAILOVER_STORAGES_CACHE_EMA_ALPHA_DEAD_MAX [] Text, FAILOVER, "", "a figure of WAL-G's judgement";
    WALG_FAILOVER_STORAGES_CACHE_EMA_ALPHA_DEAD_MIN [] Text, FAILOVER, "", "a figure of WAL-G's judgement";
    WALG_DOWNLOAD_FILE_RETRIES [] Count(0), RETRIES, "15", "how often a partition is tried";
    WALG_PG_WAL_SIZE [] Count(1), Needless("pg_control or the segment says it"), "16", "segment size in MiB";
    WALG_PG_WAL_PAGE_SIZE [] Count(1), Needless("the segment says it"), "8192", "page size of WAL";
    WALG_PG_BLOCK_SIZE [] Count(1), Needless("pg_control says it"), "8192", "page size of relations";
    WALG_TAR_DISABLE_FSYNC [] Switch, Needless("each file system is synced once, at the end"), "false", "extract without fsync";
    WALG_USE_REVERSE_UNPACK [] Switch, Later("delta backups"), "false", "apply a delta chain newest first";
    WALG_SKIP_REDUNDANT_TARS [] Switch, Later("delta backups"), "false", "leave out partitions that newer ones replace";
    WALG_USE_WAL_DELTA [] Switch, Needless("from 15 on the server itself reads the pages ahead"), "false", "read changed pages ahead";
    WALG_INTEGRITY_MAX_DELAYED_WALS [] Count(0), By("wal-verify"), "0", "how many segments may still be on their way";
    WALG_DAEMON_WAL_UPLOAD_TIMEOUT [] Time, Writing, "60s", "of WAL-G's daemon";
    PGDATA [] Path, By("daemon"), "", "the data directory";
    PGHOST [] Text, DATABASE, "", "libpq's";
    PGPORT [] Count(1), DATABASE, "5432", "libpq's";
    PGUSER [] Text, DATABASE, "", "libpq's";
    PGPASSWORD [] Secret, DATABASE, "", "libpq's";
    PGPASSFILE [] Path, DATABASE, "", "libpq's";
    PGDATABASE [] Text, DATABASE, "", "libpq's";

    // Decryption
    WALG_GPG_KEY_ID [GPG_KEY_ID] Text, CRYPT, "", "the OpenPGP key the archive was sealed for, in a gpg key ring";
    WALG_PGP_KEY [] Secret, CRYPT, "", "an armoured OpenPGP key, its newlines written as \\n";
    WALG_PGP_KEY_PATH [] Path, CRYPT, "", "the file with an armoured OpenPGP key";
    WALG_PGP_KEY_PASSPHRASE [] Secret, CRYPT, "", "what opens that key";
    WALG_ENVELOPE_PGP_KEY [] Secret, CRYPT, "", "an OpenPGP key sealed by a key service, in base64";
    WALG_ENVELOPE_PGP_KEY_PATH [] Path, CRYPT, "", "the file with such a key";
    WALG_ENVELOPE_PGP_YC_CSE_KMS_KEY_ID [] Text, CRYPT, "", "which key of that service";
    WALG_ENVELOPE_PGP_YC_SERVICE_ACCOUNT_KEY_FILE [] Path, CRYPT, "", "who asks that service";
    WALG_ENVELOPE_PGP_YC_ENDPOINT [] Text, CRYPT, "", "where that service is";
    WALG_ENVELOPE_CACHE_EXPIRATION [] Time, CRYPT, "0", "how long opened keys are kept";
    WALG_LIBSODIUM_KEY [] Secret, CRYPT, "", "a libsodium key";
    WALG_LIBSODIUM_KEY_PATH [] Path, CRYPT, "", "the file with a libsodium key";
    WALG_LIBSODIUM_KEY_TRANSFORM [] Word(&["none", "hex", "base64"]), CRYPT, "none", "how that key is written";
    WALG_CSE_KMS_ID [] Text, CRYPT, "", "a key of Amazon's key service";
    WALG_CSE_KMS_REGION [] Text, CRYPT, "", "its region";
    YC_CSE_KMS_KEY_ID [] Text, CRYPT, "", "a key of Yandex Cloud's key service";
    YC_SERVICE_ACCOUNT_KEY_FILE [] Path, CRYPT, "", "who asks that service";
    GNUPGHOME [] Path, CRYPT, "~/.gnupg", "gpg's key ring";

    // Other stores
    AZURE_STORAGE_ACCOUNT [WABS_ACCOUNT_NAME] Text, AZURE, "", "the storage account";
    AZURE_STORAGE_ACCESS_KEY [AZURE_STORAGE_KEY WABS_ACCESS_KEY] Secret, AZURE, "", "its key";
    AZURE_STORAGE_SAS_TOKEN [WABS_SAS_TOKEN] Secret, AZURE, "", "a shared access signature";
    AZURE_STORAGE_CONNECTION_STRING [] Secret, AZURE, "", "account, endpoint, and key or signature in one";
    AZURE_STORAGE_ENDPOINT [AZURE_STORAGE_BLOB_ENDPOINT AZURE_STORAGE_SERVICE_ENDPOINT] Text, AZURE, "", "the URL of the account's blobs: https://ACCOUNT.blob.DOMAIN, http://HOST:PORT/ACCOUNT";
    AZURE_ENDPOINT_SUFFIX [] Text, AZURE, "", "the domain of the account; unsaid: the cloud's, core.windows.net";
    AZURE_ENVIRONMENT_NAME [] Text, AZURE, "AzurePublicCloud", "which of Azure's clouds: AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, AzureGermanCloud";
    AZURE_TRY_TIMEOUT [] Count(0), RETRIES, "5", "minutes for one try";
    AZURE_BUFFER_SIZE [] Count(1024), Writing, "8388608", "bytes of an upload buffer";
    AZURE_MAX_BUFFERS [] Count(1), Writing, "4", "how many of them";
    AZURE_BLOB_STORE_API_VERSION [] Text, AZURE, "", "version of the protocol";
    AZURE_TENANT_ID [] Text, AZURE, "", "the directory of a service principal or workload identity";
    AZURE_CLIENT_ID [] Text, AZURE, "", "a service principal, a workload identity, or which of the machine's identities";
    AZURE_CLIENT_SECRET [] Secret, AZURE, "", "its secret";
    AZURE_FEDERATED_TOKEN_FILE [] Path, AZURE, "", "its token";
    GOOGLE_APPLICATION_CREDENTIALS [] Path, GCS, "", "the file with the service account's key";
    GCS_CONTEXT_TIMEOUT [] Count(0), RETRIES, "3600", "seconds for one request";
    GCS_NORMALIZE_PREFIX [] Switch, GCS, "true", "whether double slashes of the prefix are made single";
    GCS_ENCRYPTION_KEY [] Secret, GCS, "", "the customer's key the objects are sealed with";
    GCS_MAX_CHUNK_SIZE [] Count(1), Writing, "52428800", "bytes of an upload's chunk";
    GCS_MAX_RETRIES [] Count(0), RETRIES, "16", "how often an upload is tried";
    SWIFT_AUTHURL [OS_AUTH_URL] Text, SWIFT, "", "where keys are checked";
    SWIFT_USER [OS_USERNAME] Text, SWIFT, "", "the user";
    SWIFT_PASSWORD [OS_PASSWORD] Secret, SWIFT, "", "the password";
    SWIFT_TENANT [OS_TENANT_NAME] Text, SWIFT, "", "the tenant";
    SWIFT_REGION [OS_REGION_NAME] Text, SWIFT, "", "the region";
    SWIFT_ENDPOINT_TYPE [] Text, SWIFT, "publicURL", "which of the catalogue's endpoints";
    SWIFT_AUTH_VERSION [] Text, SWIFT, "2", "version of the protocol";
    SWIFT_DOMAIN_ID [] Text, SWIFT, "", "the domain";
    SWIFT_DOMAIN_NAME [] Text, SWIFT, "", "the domain";
    SWIFT_TENANT_ID [] Text, SWIFT, "", "the tenant";
    SWIFT_USER_ID [] Text, SWIFT, "", "the user";
    SWIFT_USER_DOMAIN_ID [] Text, SWIFT, "", "the user's domain";
    SWIFT_USER_DOMAIN_NAME [] Text, SWIFT, "", "the user's domain";
    SWIFT_PROJECT_ID [] Text, SWIFT, "", "the project";
    SWIFT_PROJECT_NAME [] Text, SWIFT, "", "the project";
    SWIFT_PROJECT_DOMAIN_ID [] Text, SWIFT, "", "the project's domain";
    SWIFT_PROJECT_DOMAIN_NAME [] Text, SWIFT, "", "the project's domain";
    SSH_PORT [] Count(1), SSH, "22", "the port";
    SSH_USERNAME [] Text, SSH, "", "the user";
    SSH_PASSWORD [] Secret, SSH, "", "the password";
    SSH_PRIVATE_KEY_PATH [] Path, SSH, "", "the file with the key";
    OSS_ACCESS_KEY_ID [] Text, OSS, "", "the key's name";
    OSS_ACCESS_KEY_SECRET [] Secret, OSS, "", "the key's secret";
    OSS_SESSION_TOKEN [] Secret, OSS, "", "the token of temporary keys";
    OSS_REGION [] Text, OSS, "", "the region";
    OSS_ENDPOINT [] Text, OSS, "", "another endpoint";
    OSS_ROLE_ARN [] Text, OSS, "", "a role to take on";
    OSS_ROLE_SESSION_NAME [] Text, OSS, "", "what that session is called";
    OSS_SKIP_VALIDATION [] Switch, Needless("`config check` asks"), "false", "whether WAL-G tries the bucket first";
    OSS_MAX_RETRIES [] Count(0), RETRIES, "5", "how often a request is tried";
    OSS_CONNECT_TIMEOUT [] Count(0), RETRIES, "5", "seconds to connect";

    // Logging
    WALG_LOG_LEVEL [] Word(&["NORMAL", "DEVEL", "ERROR"]), By("every verb"), "NORMAL", "how much is said: ERROR as -qq, DEVEL as -v";
    WALG_LOG_DESTINATION [] Path, By("every verb"), "stderr", "a file to which log lines are appended instead";
    WALE_LOG_DESTINATION [] Text, Needless("log lines go to stderr"), "stderr,syslog", "where WAL-E's log lines went";
    WALE_SYSLOG_FACILITY [] Text, Needless("log lines go to stderr"), "user", "what syslog filed WAL-E's lines under";
    WALG_STATSD_ADDRESS [] Text, Later("metrics"), "", "where figures are sent";
    WALG_STATSD_EXTRA_TAGS [] Text, Later("metrics"), "", "tags for them";
    HTTP_LISTEN [] Text, Needless("there is no debug server"), "", "of WAL-G's debug server";
    HTTP_EXPOSE_PPROF [] Switch, Needless("there is no debug server"), "", "of WAL-G's debug server";
    HTTP_EXPOSE_EXPVAR [] Switch, Needless("there is no debug server"), "", "of WAL-G's debug server";
    PROFILE_SAMPLING_RATIO [] Text, Needless("there is no profiler"), "", "of WAL-G's profiler";
    PROFILE_MODE [] Text, Needless("there is no profiler"), "", "of WAL-G's profiler";
    PROFILE_PATH [] Path, Needless("there is no profiler"), "", "of WAL-G's profiler";

    // Writing
    WALG_COMPRESSION_METHOD [] Text, Writing, "lz4", "how objects are compressed; readers go by the name and the first bytes";
    WALG_ZSTD_LEVEL [] Count(1), Writing, "", "how hard";
    WALG_UPLOAD_CONCURRENCY [] Count(1), By("wal-verify: how many may be on their way"), "16", "how many uploads at once";
    WALG_UPLOAD_DISK_CONCURRENCY [] Count(1), Writing, "1", "how many files are read at once";
    WALG_UPLOAD_QUEUE [] Count(1), Writing, "2", "how many partitions wait";
    WALG_UPLOAD_WAL_METADATA [] Text, Writing, "NOMETADATA", "whether segments get metadata objects";
    WALG_DISK_RATE_LIMIT [] Count(1), Writing, "", "bytes per second read from disk";
    WALG_TAR_SIZE_THRESHOLD [] Count(1), Writing, "1073741823", "bytes of a partition";
    WALG_DELTA_MAX_STEPS [] Count(0), Writing, "0", "how long delta chains get";
    WALG_DELTA_ORIGIN [] Text, Writing, "LATEST", "where delta chains begin";
    WALG_DELTA_FROM_NAME [] Text, Writing, "", "the parent of the next delta backup";
    WALG_DELTA_FROM_USER_DATA [] Text, Writing, "", "the parent of the next delta backup";
    WALG_FORCE_WAL_DELTA [] Switch, Writing, "", "of WAL-G's delta recorder";
    WALG_SENTINEL_USER_DATA [] Text, Writing, "", "what goes into the sentinel";
    WALG_PREVENT_WAL_OVERWRITE [] Switch, Writing, "false", "whether segments are looked up before they are written";
    WALG_VERIFY_PAGE_CHECKSUMS [] Switch, Writing, "false", "whether pages are checked while backing up";
    WALG_STORE_ALL_CORRUPT_BLOCKS [] Switch, Writing, "false", "how many bad pages are listed";
    WALG_USE_RATING_COMPOSER [] Switch, Writing, "false", "how files are put into partitions";
    WALG_USE_COPY_COMPOSER [] Switch, Writing, "false", "how files are put into partitions";
    WALG_USE_DATABASE_COMPOSER [] Switch, Writing, "false", "how files are put into partitions";
    WALG_WITHOUT_FILES_METADATA [] Switch, Writing, "false", "whether the list of files is written";
    WALG_DISABLE_PARTIAL_RESTORE [] Switch, Writing, "false", "whether databases are named in it";
    WALG_DIRECT_IO [] Switch, Writing, "false", "how files are read";
    WALG_DIRECT_IO_BLOCK_COUNT [] Count(1), Writing, "32", "how files are read";
    WALG_SLOTNAME [] Text, Writing, "walg", "of WAL-G's WAL receiver";
    WALG_ALIVE_CHECK_INTERVAL [] Time, Writing, "1m", "of the connection while backing up";
    WALG_STOP_BACKUP_TIMEOUT [] Time, Writing, "", "how long the end of a backup may take";
    WALG_SERIALIZER_TYPE [] Text, Writing, "", "of the sentinel";
    TOTAL_BG_UPLOADED_LIMIT [] Count(0), Writing, "32", "how many segments go along with one";
    PG_READY_RENAME [] Switch, Writing, "false", "of the archiver's status files";
    S3_SSE [] Text, Writing, "", "how objects are sealed by the store";
    S3_SSE_KMS_ID [] Text, Writing, "", "with which key";
    S3_STORAGE_CLASS [] Text, Writing, "STANDARD", "the storage class of new objects";
    S3_MAX_PART_SIZE [] Count(1), Writing, "20971520", "bytes of an upload's part";
    S3_RETENTION_PERIOD [] Text, Writing, "-1", "how long objects are locked";
    S3_RETENTION_MODE [] Text, Writing, "GOVERNANCE", "how they are locked";
    S3_DELETE_BATCH_SIZE [] Count(1), Writing, "1000", "keys in one request";
    S3_DISABLE_100_CONTINUE [] Switch, Writing, "false", "of uploads";
    OSS_UPLOAD_PART_SIZE [] Count(1), Writing, "", "bytes of an upload's part";
    OSS_COPY_PART_SIZE [] Count(1), Writing, "", "bytes of a copy's part";
}

impl Setting {
    /// Of this id.
    pub fn of(id: Id) -> &'static Setting {
        // The enum and the table come from one list, in one order.
        &ALL[id as usize]
    }

    /// The one with this name, in any case.
    pub fn named(name: &str) -> Option<&'static Setting> {
        INDEX.by_name.get(&name.to_ascii_uppercase()).and_then(|&at| ALL.get(at))
    }

    /// All its names, the first one that is set wins: its own, its twins, then with `WALG_` and `WALE_` before what is
    /// left without them. A name that is another setting's own is not derived.
    pub fn names(&self) -> &'static [String] {
        &INDEX.names[self.id as usize]
    }

    /// Flags by which WAL-E takes it, besides `--its-name`.
    pub fn flags(&self) -> &'static [&'static str] {
        match self.id {
            Id::WALG_S3_PREFIX => &["--s3-prefix"],
            Id::WALG_FILE_PREFIX => &["--file-prefix"],
            Id::WALG_GS_PREFIX => &["--gs-prefix"],
            Id::WALG_AZ_PREFIX => &["--wabs-prefix"],
            Id::AWS_ACCESS_KEY_ID => &["-k"],
            Id::AZURE_STORAGE_ACCOUNT => &["-a"],
            Id::WALG_GPG_KEY_ID => &["--gpg-key-id"],
            _ => &[],
        }
    }

    /// All flags by which it can be given.
    pub fn all_flags(&self) -> Vec<String> {
        let own = self.names().iter().map(|name| format!("--{}", name.to_ascii_lowercase().replace('_', "-")));
        // One word alone is no flag: verbs may have such of their own.
        own.filter(|flag| flag.matches('-').count() > 2)
            .chain(self.flags().iter().map(|&flag| flag.to_owned()))
            .collect()
    }

    /// Is its value never printed?
    pub fn is_secret(&self) -> bool {
        self.kind == Kind::Secret
    }
}

/// Names to settings and back, made once.
struct Index {
    names: Vec<Vec<String>>,
    by_name: HashMap<String, usize>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let own = |setting: &Setting| std::iter::once(setting.name).chain(setting.twins.iter().copied());
    let mut by_name: HashMap<String, usize> = HashMap::new();
    for (at, setting) in ALL.iter().enumerate() {
        by_name.extend(own(setting).map(|name| (name.to_owned(), at)));
    }
    let mut names = Vec::with_capacity(ALL.len());
    for (at, setting) in ALL.iter().enumerate() {
        let mut mine: Vec<String> = own(setting).map(str::to_owned).collect();
        // What belongs to others (libpq, gpg) has their names only.
        if !setting.name.starts_with("PG") && setting.name != "GNUPGHOME" {
            let stem = setting.name.strip_prefix("WALG_").or_else(|| setting.name.strip_prefix("WALE_"));
            let stem = stem.unwrap_or(setting.name);
            for derived in [format!("WALG_{stem}"), format!("WALE_{stem}")] {
                if !by_name.contains_key(&derived) {
                    by_name.insert(derived.clone(), at);
                    mine.push(derived);
                }
            }
        }
        names.push(mine);
    }
    Index { names, by_name }
});

impl Kind {
    /// Is this a value it takes? Else what it takes, for people. Never repeats the value.
    pub fn check(self, value: &str) -> Result<(), String> {
        let ok = match self {
            Kind::Text | Kind::Secret | Kind::Path | Kind::Prefix | Kind::Endpoint | Kind::WaleEndpoint => true,
            Kind::Switch => switch(value).is_some(),
            Kind::Count(least) => value.trim().parse::<u64>().is_ok_and(|count| count >= least),
            Kind::Time => time(value).is_some(),
            Kind::Word(words) => words.iter().any(|word| word.eq_ignore_ascii_case(value.trim())),
        };
        if ok { Ok(()) } else { Err(self.takes()) }
    }

    /// What it takes, for people.
    pub fn takes(self) -> String {
        match self {
            Kind::Text => "text".to_owned(),
            Kind::Secret => "text; never printed".to_owned(),
            Kind::Prefix => "a URL or path".to_owned(),
            Kind::Path => "a path".to_owned(),
            Kind::Endpoint => "https://HOST:PORT, http://HOST:PORT or HOST:PORT".to_owned(),
            Kind::WaleEndpoint => "PROTOCOL+CONVENTION://HOST:PORT".to_owned(),
            Kind::Switch => "true or false".to_owned(),
            Kind::Count(0) => "a whole number".to_owned(),
            Kind::Count(least) => format!("a whole number, at least {least}"),
            Kind::Time => "a length of time: 90s, 5m, 1h".to_owned(),
            Kind::Word(words) => words.join(", "),
        }
    }
}

/// A switch's value.
pub fn switch(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" | "y" | "on" => Some(true),
        "false" | "f" | "0" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

/// A length of time's value.
pub fn time(value: &str) -> Option<Duration> {
    crate::cli::args::duration(value.trim()).ok()
}

/// The name that looks most like this one, if any does: for `did you mean`.
pub fn nearest(name: &str) -> Option<String> {
    let name = name.to_ascii_uppercase();
    let near = |known: &str| distance(&name, known);
    let all = ALL.iter().flat_map(Setting::names).map(|known| (near(known), known));
    // A third of the name may be wrong, or it is another word.
    all.min().filter(|(wrong, known)| *wrong <= 3 && wrong * 3 <= known.len()).map(|(_, known)| known.clone())
}

/// How many characters have to be put in, taken out or replaced.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (slot, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let above = *slot;
            left = (left + 1).min(above + 1).min(diagonal + usize::from(x != y));
            diagonal = above;
            *slot = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn every_name_belongs_to_one_setting() {
        let mut owners: HashMap<String, &str> = HashMap::new();
        for setting in ALL {
            assert_eq!(Setting::of(setting.id).name, setting.name);
            for name in setting.names() {
                if let Some(other) = owners.insert(name.clone(), setting.name) {
                    panic!("{name} is {other}'s and {}'s", setting.name);
                }
                assert_eq!(Setting::named(&name.to_lowercase()).map(|one| one.name), Some(setting.name), "{name}");
            }
        }
    }

    #[test]
    fn names_of_both_originals() {
        let names = |id| Setting::of(id).names().join(" ");
        assert_eq!(names(Id::WALG_S3_PREFIX), "WALG_S3_PREFIX WALE_S3_PREFIX");
        assert_eq!(names(Id::WALG_AZ_PREFIX), "WALG_AZ_PREFIX WALE_WABS_PREFIX WALG_WABS_PREFIX WALE_AZ_PREFIX");
        assert_eq!(names(Id::AWS_REGION), "AWS_REGION AWS_DEFAULT_REGION WALG_AWS_REGION WALE_AWS_REGION");
        assert_eq!(names(Id::WALG_GPG_KEY_ID), "WALG_GPG_KEY_ID GPG_KEY_ID WALE_GPG_KEY_ID");
        assert_eq!(names(Id::WALG_LOG_DESTINATION), "WALG_LOG_DESTINATION", "WAL-E's takes other words");
        assert_eq!(names(Id::PGDATA), "PGDATA");
    }

    #[test]
    fn whatever_sounds_secret_is() {
        for setting in ALL {
            let sounds = ["SECRET", "PASSWORD", "PASSPHRASE", "TOKEN", "SAS_TOKEN", "ACCESS_KEY", "CONNECTION_STRING"]
                .iter()
                .any(|word| setting.name.ends_with(word) && setting.name != "S3_USE_YC_SESSION_TOKEN");
            assert!(!sounds || setting.is_secret(), "{}", setting.name);
        }
        assert!(Setting::of(Id::WALG_LIBSODIUM_KEY).is_secret() && Setting::of(Id::WALG_PGP_KEY).is_secret());
    }

    #[test]
    fn every_default_that_is_a_value_is_one_the_setting_takes() {
        for setting in ALL {
            if matches!(setting.kind, Kind::Switch | Kind::Count(_) | Kind::Time | Kind::Word(_)) {
                let value = setting.default;
                let prose = value.is_empty() || value.contains(' ') || value == "none";
                assert!(prose || setting.kind.check(value).is_ok(), "{}: {value}", setting.name);
            }
        }
    }

    #[test]
    fn values() {
        let rows: [(Kind, &[&str], &[&str]); 4] = [
            (Kind::Switch, &["true", "1", "Yes", "off", "F"], &["maybe", "2", ""]),
            (Kind::Count(1), &["1", " 10 "], &["0", "-1", "1.5", "ten", "18446744073709551616"]),
            (Kind::Time, &["90", "90s", "5m", "1h30m", "500ms"], &["soon", "-5s", ""]),
            (Kind::Word(&["NORMAL", "DEVEL"]), &["normal", "DEVEL"], &["DEBUG"]),
        ];
        for (kind, good, bad) in rows {
            for value in good {
                assert_eq!(kind.check(value), Ok(()), "{value}");
            }
            for value in bad {
                assert!(kind.check(value).is_err(), "{value}");
            }
        }
    }

    #[test]
    fn typing_errors_find_their_name() {
        let rows = [
            ("WALG_S3_PERFIX", Some("WALG_S3_PREFIX")),
            ("WALE_S3_PREFX", Some("WALE_S3_PREFIX")),
            ("WALG_DOWNLOAD_CONCURENCY", Some("WALG_DOWNLOAD_CONCURRENCY")),
            ("WALG_COMPLETELY_OTHER_THING", None),
            ("", None),
        ];
        for (typed, meant) in rows {
            assert_eq!(nearest(typed).as_deref(), meant, "{typed}");
        }
    }

    #[test]
    fn distances() {
        for (a, b, wrong) in [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)] {
            assert_eq!(distance(a, b), wrong, "{a} {b}");
            assert_eq!(distance(b, a), wrong, "{b} {a}");
        }
    }
}
