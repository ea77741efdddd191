//! Notes and warnings of the library as lines on stderr, or in the file `WALG_LOG_DESTINATION` names.
//!
//! In: `tracing` events. Out: one line each. Errors that end the program go to stderr whatever is set here. Never: writes to stdout, shows what the SDK logs below warnings unless
//! everything was asked for (its debug output is long, and no place for secrets to leak from).

use super::context::{Context, Verbosity};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context as Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// The file that lines go to, and its name.
static FILE: OnceLock<(PathBuf, Arc<Mutex<File>>)> = OnceLock::new();

/// From here on events are lines on stderr.
pub fn start(context: &Context) {
    let (ours, others) = match context.verbosity() {
        Verbosity::Errors => (LevelFilter::ERROR, LevelFilter::OFF),
        Verbosity::Quiet => (LevelFilter::WARN, LevelFilter::OFF),
        Verbosity::Normal => (LevelFilter::INFO, LevelFilter::OFF),
        Verbosity::Verbose => (LevelFilter::DEBUG, LevelFilter::WARN),
        Verbosity::Debug => (LevelFilter::TRACE, LevelFilter::INFO),
    };
    let filter = Targets::new().with_default(others).with_target("wal_r", ours);
    let (destination, trouble) = match context.log_file() {
        None => (Destination::Stderr, None),
        Some(path) => match open(&path) {
            Ok(file) => {
                let file = Arc::new(Mutex::new(file));
                let _ = FILE.set((path, file.clone()));
                (Destination::File(file), None)
            }
            Err(error) => (Destination::Stderr, Some(format!("cannot write log lines to {}: {error}", path.display()))),
        },
    };
    let times = matches!(destination, Destination::File(_)) || !io::stderr().is_terminal();
    let lines = Lines { times, destination };
    // A second call in one process (tests) keeps the first.
    let _ = Registry::default().with(lines.with_filter(filter)).try_init();
    if let Some(trouble) = trouble {
        tracing::warn!("{trouble}");
    }
}

/// Open the file by its name once more: the old one was moved away by whoever rotates logs.
pub fn reopen() {
    let Some((path, file)) = FILE.get() else { return };
    match open(path) {
        Ok(new) => *file.lock().unwrap_or_else(PoisonError::into_inner) = new,
        Err(error) => tracing::warn!("log lines go on into the old file: cannot open {}: {error}", path.display()),
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

enum Destination {
    Stderr,
    File(Arc<Mutex<File>>),
}

/// `warning: text, key: value`. With a time in front where nobody watches: server logs have none of their own.
struct Lines {
    times: bool,
    destination: Destination,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Layered<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            Level::INFO => "",
            Level::DEBUG => "debug: ",
            Level::TRACE => "trace: ",
        };
        let time = if self.times {
            format!("{} wal-r: ", jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ"))
        } else {
            String::new()
        };
        let text =
            format!("{time}{level}{}{}\n", super::render::plain(&line.message), super::render::plain(&line.fields));
        // A log that cannot be written is no reason to fail.
        let _ = match &self.destination {
            Destination::Stderr => io::stderr().lock().write_all(text.as_bytes()),
            // In one write, as several processes append.
            Destination::File(file) => file.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes()),
        };
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.fields.push_str(&format!(" {}={value:?}", field.name()));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned();
        } else {
            self.fields.push_str(&format!(" {}={value}", field.name()));
        }
    }
}
