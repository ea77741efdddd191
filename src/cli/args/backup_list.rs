//! Flags of `backup-list`.
//!
//! In: argv. Out: [`Options`](crate::commands::backup_list::Options) and the flavour of the text. Never: asks a store.

use super::Format;
use crate::cli::render::backup_list::Flavour;
use crate::commands::backup_list::{Options, Query};
use crate::layout::BackupName;

/// The base backups, oldest first.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without --json or --pretty the text is WAL-E's, byte for byte, which Patroni and its like read: tabs, \
                        CRLF, one header line always.\nUnfinished and unreadable backups are named on stderr.\n\nExamples:\n  \
                        wal-r backup-list\n  wal-r backup-list --pretty --detail\n  wal-r backup-list --json\n  \
                        wal-r backup-list LATEST"
)]
pub struct Args {
    /// Read each sentinel: sizes and where the backup stopped
    #[arg(long)]
    detail: bool,
    /// WAL-G's JSON: an array, one element a backup
    #[arg(long)]
    json: bool,
    /// A table for people; with --json, indented
    #[arg(long)]
    pretty: bool,
    /// Only this one: a name, or LATEST
    #[arg(value_name = "NAME", value_parser = query)]
    query: Option<Query>,
}

fn query(text: &str) -> Result<Query, String> {
    match text {
        "LATEST" => Ok(Query::Latest),
        name => name.parse::<BackupName>().map(Query::Named).map_err(|error| error.to_string()),
    }
}

impl Args {
    /// What the verb takes.
    pub fn options(&self, format: Format) -> Options {
        // WAL-E's plain list opens no sentinel, so it costs one request.
        let read = self.detail || self.json || self.pretty || format == Format::Json;
        Options { read_sentinels: read || self.query == Some(Query::Latest), query: self.query.clone() }
    }

    /// Which text.
    pub fn flavour(&self, format: Format) -> Flavour {
        match (self.json, self.pretty) {
            (true, pretty) => Flavour::WalGJson { pretty, detail: self.detail },
            (false, true) => Flavour::Table { detail: self.detail },
            (false, false) if format == Format::Json => Flavour::Document,
            (false, false) => Flavour::WalE { detail: self.detail },
        }
    }
}
