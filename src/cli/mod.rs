//! The program around the library: argv, environment, rendering, exit code.
//!
//! In: argv, the environment. Out: text on stdout (results) and stderr (everything else), and one exit code.
//! Never: decides what a verb does (that is `commands`); anything here that prints goes through [`console::Console`].
//!
//! How a verb is added: its options and its report in `commands/<verb>.rs` (no clap there), its flags in
//! `cli/args/<verb>.rs`, its text and JSON in `cli/render/<verb>.rs`, one variant of [`args::Verb`] and one arm of
//! [`Call::dispatch`]. `explain` is the smallest example, `st` the ordinary one.

pub mod args;
pub mod config;
pub mod console;
pub mod context;
pub mod docs;
pub mod exit;
pub mod feeding;
pub mod files;
pub mod logging;
pub mod progress;
pub mod render;

pub use config::Environment;
pub use context::Context;

use crate::commands;
use crate::commands::config_check::Step;
use crate::error::{Answer, Class, Code, Error};
use crate::feed::client::What;
use crate::feed::detach;
use crate::feed::mode::Mode;
use crate::feed::walg_client::{self, Patience, Told};
use crate::layout::WalFile;
use crate::proof::facts::{Forgetful, Level, Memory};
use crate::proof::ledger::Ended;
use args::{Output, Verb};
use clap::Parser;
use exit::Asker;
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long a person at a terminal waits for a store before being told what is wrong with it.
const PATIENCE: Duration = Duration::from_secs(30);

/// One parsed call of the program, ready to run.
#[derive(Debug)]
pub struct Call {
    verb: Verb,
    context: Context,
    argv: Vec<OsString>,
    /// What a feeder already said to a wal-fetch.
    asked: Option<feeding::Asked>,
}

/// Parse argv and start logging. `Err` is an exit code: help was printed, or the line is wrong.
pub fn prepare(argv: Vec<OsString>, environment: Environment) -> Result<Call, u8> {
    let refused =
        |error: clap::Error| console::clap_ended(&error, before_verb(Code::UsageArgument, &argv), wants_json(&argv));
    let mut command = args::command();
    let verbs: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    let taken = args::settings::take(argv.clone(), &verbs);
    let (rest, settings) = taken.map_err(|what| refused(command.error(clap::error::ErrorKind::InvalidValue, what)))?;
    let cli = args::Cli::try_parse_from(rest).map_err(refused)?;
    if matches!(cli.global.format, Some(Output::Nagios | Output::Prometheus)) && !matches!(cli.verb, Verb::Audit(_)) {
        let what = "--format nagios and --format prometheus are for `wal-r audit`";
        return Err(refused(command.error(clap::error::ErrorKind::InvalidValue, what)));
    }
    let flags = config::Flags {
        prefix: cli.global.prefix.clone(),
        config: cli.global.config.clone(),
        envdir: cli.global.envdir.clone(),
        settings,
    };
    let context = Context::new(cli.global, flags, environment);
    logging::start(&context);
    Ok(Call { verb: cli.verb, context, argv, asked: None })
}

impl Call {
    /// With what a feeder already said.
    #[must_use]
    pub fn having_asked(self, asked: Option<feeding::Asked>) -> Call {
        Call { asked, ..self }
    }

    /// What needs no runtime: a wal-fetch that a daemon serves. `None`: there is more to do.
    pub fn at_once(&self) -> Option<u8> {
        let Verb::WalFetch(args) = &self.verb else { return None };
        // JSON tells what only the archive's own answer holds.
        let socket = args.socket().filter(|_| self.context.format() == args::Format::Table)?;
        // What is wrong with the name, the ordinary way says.
        let answer = self.context.deadline().unwrap_or(args::wal_fetch::DEADLINE);
        let options = args.options(jiff::Timestamp::now(), answer).ok()?;
        let patience = Patience { connect: args::wal_fetch::CONNECT, answer };
        match walg_client::fetch(socket, &options.file, &options.destination, patience) {
            Ok(Told::Delivered) => Some(exit::OK),
            Ok(Told::Absent) if args.judges_absence() => None,
            Ok(Told::Absent) => {
                tracing::info!("{} is not in the archive, says the daemon at {}", options.file, socket.display());
                Some(args.absent_exit)
            }
            Err(why) => {
                let why = Error::new(Code::LocalIo, "this daemon").on(socket.display()).because(why);
                tracing::warn!("{}; asking the archive itself", why.chain());
                None
            }
        }
    }

    /// The runtime this verb needs: one thread where little is done at once, all cores where much is.
    pub fn runtime(&self) -> Answer<tokio::runtime::Runtime> {
        let mut builder = match self.verb.heavy() || detach::is_feeder(&self.argv) {
            false => tokio::runtime::Builder::new_current_thread(),
            true => tokio::runtime::Builder::new_multi_thread(),
        };
        builder
            .enable_all()
            .build()
            .map_err(|error| Error::new(Code::LocalIo, "cannot start the runtime's threads").because(error))
    }

    /// Run the verb to its exit code. Errors are printed here and nowhere else.
    pub async fn run(self) -> u8 {
        if let (Verb::WalFetch(args), true) = (&self.verb, detach::is_feeder(&self.argv)) {
            return feeding::run(&self.context, args, &self.argv).await;
        }
        match self.dispatch().await {
            Ok(code) => code,
            Err(error) => self.fail(&error),
        }
    }

    /// Print an error and give its exit code.
    pub fn fail(&self, error: &Error) -> u8 {
        // Whoever closed the pipe has read enough.
        if console::reader_gone(error) {
            return exit::OK;
        }
        let code = self.exit(error.code());
        self.context.console().error(error, code);
        code
    }

    /// What a failure costs, by verb.
    fn exit(&self, code: Code) -> u8 {
        match &self.verb {
            Verb::WalFetch(args) => {
                // A gap is a failure only where it was decided that recovery must stop.
                let asker = match code.class() {
                    Class::Gap => Asker::PointInTime,
                    _ => Asker::from(args.mode().who),
                };
                exit::wal_fetch(code, asker, args.absent_exit)
            }
            Verb::BackupVerify(_) | Verb::WalVerify(_) | Verb::Audit(_) => exit::AUDIT_INCOMPLETE,
            Verb::CopyVerify(_) if code.class() != Class::Usage => exit::AUDIT_INCOMPLETE,
            Verb::RecoveryWindows(_) if code.class() != Class::Usage => exit::AUDIT_INCOMPLETE,
            Verb::RecoveryWindows(_)
            | Verb::BackupList(_)
            | Verb::BackupShow(_)
            | Verb::WalShow(_)
            | Verb::FeedStatus(_)
            | Verb::BackupFetch(_)
            | Verb::Daemon(_)
            | Verb::Copy(_)
            | Verb::CopyVerify(_)
            | Verb::Locate(_)
            | Verb::St(_)
            | Verb::Config(_)
            | Verb::Explain(_)
            | Verb::GenerateDocs { .. }
            | Verb::Version => exit::sysexit(code),
        }
    }

    async fn dispatch(&self) -> Answer<u8> {
        let context = &self.context;
        match &self.verb {
            Verb::WalFetch(args) => return self.wal_fetch(args).await,
            Verb::FeedStatus(args) => self.feed_status(args).await?,
            Verb::Daemon(args) => return self.daemon(args).await,
            Verb::BackupList(args) => return self.backup_list(args).await,
            Verb::BackupShow(args) => return self.backup_show(args).await,
            Verb::BackupVerify(args) => return self.backup_verify(args).await,
            Verb::WalShow(args) => return self.wal_show(args).await,
            Verb::WalVerify(args) => return self.wal_verify(args).await,
            Verb::BackupFetch(args) => return self.backup_fetch(args).await,
            Verb::RecoveryWindows(args) => return self.recovery_windows(args).await,
            Verb::Audit(args) => return self.audit(args).await,
            Verb::Copy(args) => return self.copy(args).await,
            Verb::CopyVerify(args) => return self.copy_verify(args).await,
            Verb::Locate(args) => return self.locate(args).await,
            Verb::St(args) => return self.st(&args.verb).await,
            Verb::Config(args) => match &args.verb {
                args::config::Verb::Check { offline } => return self.config_check(*offline).await,
                args::config::Verb::Explain { name } => {
                    context.console().print(&render::config::explain(name.as_deref(), context.format())?)?;
                }
            },
            Verb::Explain(args) => {
                let report = commands::explain::run(&args.options())?;
                context.console().print(&render::explain::render(&report, context.format())?)?;
            }
            Verb::GenerateDocs { directory } => docs::generate(directory)?,
            Verb::Version => context.console().print(&format!("wal-r {}\n", args::long_version()))?,
        }
        Ok(exit::OK)
    }
}

impl Call {
    /// A page that does not match its checksum is a finding: the restore is whole, the exit code says damaged.
    async fn backup_fetch(&self, args: &args::backup_fetch::Args) -> Answer<u8> {
        let context = &self.context;
        context.warn()?;
        let store = context.store().await?;
        let command = context.restore_command(&store.url())?;
        let workers = context.config()?.count(config::Id::WALG_DOWNLOAD_CONCURRENCY)?;
        let options = args.options(command, workers.and_then(|count| usize::try_from(count).ok()))?;
        let plan = commands::backup_fetch::plan(&*store, &options).await?;
        if args.plan_only() {
            context.console().print(&render::backup_fetch::plan(&plan, context.format())?)?;
            return Ok(exit::OK);
        }
        let report = commands::backup_fetch::run(store, &options, plan, context.progress()).await?;
        context.console().print(&render::backup_fetch::report(&report, context.format())?)?;
        let damaged = report.restored.pages.as_ref().is_some_and(|pages| !pages.damaged.is_empty());
        Ok(if damaged { self.exit(Code::DamagedPage) } else { exit::OK })
    }

    async fn recovery_windows(&self, args: &args::recovery_windows::Args) -> Answer<u8> {
        let context = &self.context;
        context.warn()?;
        let store = context.store().await?;
        let options = args.options(context.again(&store.url())?)?;
        let survey = commands::recovery_windows::look(&*store).await?;
        let (now, progress) = (jiff::Timestamp::now(), context.progress());
        let mut ledger = match args.ledger() {
            Some((path, anew)) => Some(context.ledger(path, anew, &survey, "recovery-windows", now)?),
            None => None,
        };
        let memory: &mut dyn Memory = match &mut ledger {
            Some(ledger) => ledger,
            None => &mut Forgetful,
        };
        let report = commands::recovery_windows::run(store, &survey, &options, memory, progress).await?;
        let (code, outcome) = match report.verdict() {
            commands::recovery_windows::Verdict::Yes => (exit::OK, "yes"),
            commands::recovery_windows::Verdict::No => (1, "no"),
            commands::recovery_windows::Verdict::Unknown => (exit::AUDIT_INCOMPLETE, "unknown"),
        };
        if let Some(mut ledger) = ledger {
            let (read, at) = (report.read, jiff::Timestamp::now());
            let (objects, bytes, remembered) = (read.objects, read.bytes, read.remembered);
            ledger.finish(&Ended { level: Level::Records, outcome, objects, bytes, remembered, at });
            ledger.trouble().iter().for_each(|trouble| tracing::warn!("{}", trouble.chain()));
        }
        let zone = jiff::tz::TimeZone::system();
        context.console().print(&render::recovery_windows::render(&report, context.format(), &zone)?)?;
        Ok(code)
    }

    /// The verdict is printed whatever it is, and whatever becomes of the files it also goes to.
    async fn audit(&self, args: &args::audit::Args) -> Answer<u8> {
        let context = &self.context;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let effort = crate::backup::restore::Effort { workers: cores, cores };
        let options = |ledger| args.options(ledger, effort, jiff::Timestamp::now());
        let store = match context.warn() {
            Ok(()) => context.store().await,
            Err(error) => Err(error),
        };
        let report = match store {
            Ok(store) => {
                let own = if args.since_ledger() { Some(context.ledger_place(&store.url())?) } else { None };
                commands::audit::run(store, &options(own), context.progress()).await?
            }
            Err(error) => {
                let location = context.config().and_then(|config| config.location());
                let archive = location.map_or_else(|_| "no archive".to_owned(), |location| location.to_string());
                commands::audit::unreached(&archive, &error, &options(None))
            }
        };
        let verdict = report.verdict.failing_on(args.fail_on());
        let text = match args.ack_template() {
            true => crate::proof::ack::template(&report.findings, report.began),
            false => render::audit::render(&report, context.output(), args.fail_on())?,
        };
        let said = match args.output() {
            Some(path) => files::write_whole(path, &text),
            None => context.console().print(&text),
        };
        let page = args.html().map(|path| files::write_whole(path, &render::audit::html::render(&report)));
        let mut code = exit::audit(verdict);
        for error in [said, page.unwrap_or(Ok(()))].into_iter().filter_map(Result::err) {
            // Whoever closed the pipe has read enough; the verdict stands.
            if !console::reader_gone(&error) {
                code = exit::audit(verdict.max(crate::proof::verdict::Verdict::Unknown));
                context.console().error(&error, code);
            }
        }
        Ok(code)
    }

    async fn copy(&self, args: &args::copy::Args) -> Answer<u8> {
        let context = &self.context;
        let options = args.options()?;
        let ends = context.ends(args.ends()).await?;
        let plan = commands::copy::plan(&ends, &options).await?;
        if args.dry_run() {
            context.console().print(&render::copy::plan(&plan, &options, context.format())?)?;
            return Ok(exit::OK);
        }
        for problem in &plan.problems {
            tracing::warn!("{problem}");
        }
        let report = commands::copy::run(&ends, &options, plan, context.progress()).await?;
        context.console().print(&render::copy::report(&report, context.format())?)?;
        // All else was copied; what differs waits for somebody to decide.
        Ok(if report.conflicts.is_empty() { exit::OK } else { self.exit(Code::TargetConflict) })
    }

    /// What was read is printed, whatever could not be; that decides the exit code.
    async fn locate(&self, args: &args::locate::Args) -> Answer<u8> {
        let context = &self.context;
        if let Some(under) = args.under() {
            context.warn()?;
            let store = context.store_at(under)?;
            let report = commands::locate::below::run(store, args.instance(), context.progress()).await?;
            context.console().print(&render::locate::below(&report, args.format(context.format()))?)?;
            report.remarks().iter().for_each(|remark| tracing::warn!("{remark}"));
            return Ok(report.shortfall().map_or(exit::OK, |code| self.exit(code)));
        }
        let input = |path: &Path| match path.to_str() {
            Some("-") => commands::locate::Input::Stream("stdin".to_owned(), Box::new(std::io::stdin())),
            _ => commands::locate::Input::File(path.to_owned()),
        };
        let inputs = args.files().map(input).collect();
        let report = commands::locate::logs(inputs, args.options(), context.progress()).await?;
        context.console().print(&render::locate::logs(&report, args.format(context.format()))?)?;
        report.remarks().iter().for_each(|remark| tracing::warn!("{remark}"));
        Ok(report.shortfall().map_or(exit::OK, |code| self.exit(code)))
    }

    /// The verdict is printed whatever it is, and whatever becomes of the files.
    async fn copy_verify(&self, args: &args::copy_verify::Args) -> Answer<u8> {
        let context = &self.context;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let effort = crate::backup::restore::Effort { workers: cores, cores };
        let options = args.options(effort, jiff::Timestamp::now())?;
        let sides = context.sides(args.ends()).await?;
        let report = commands::copy_verify::run(&sides, &options, context.progress()).await?;
        let (text, seal) = commands::copy_verify::certificate::certificate(&report, args.signed_off_by())?;
        let certified = args.certificate().map(|path| (path, files::write_whole(path, &text)));
        let listed = args.digest_list().map(|path| files::write_whole(path, &report.lines));
        let written = certified.as_ref().filter(|(_, done)| done.is_ok()).map(|(path, _)| (*path, seal));
        let said = context.console().print(&render::copy_verify::render(&report, written, context.format())?);
        let mut code = exit::audit(report.verdict);
        let outcomes = [said, certified.map_or(Ok(()), |(_, done)| done), listed.unwrap_or(Ok(()))];
        for error in outcomes.into_iter().filter_map(Result::err) {
            if !console::reader_gone(&error) {
                code = exit::audit(report.verdict.max(crate::proof::verdict::Verdict::Unknown));
                context.console().error(&error, code);
            }
        }
        Ok(code)
    }

    async fn st(&self, verb: &args::st::Verb) -> Answer<u8> {
        let (context, console) = (&self.context, self.context.console());
        context.warn()?;
        let store = context.store().await?;
        match verb {
            args::st::Verb::Ls { path, recursive } => {
                let options = commands::st::Ls { path: path.clone(), recursive: *recursive };
                let mut out = console.lines();
                let mut listing = render::st::Listing::new(context.format());
                commands::st::ls(&*store, &options, &mut |line| out.print(&listing.line(&line)?)).await?;
                out.print(listing.end())?;
                out.finish()?;
            }
            args::st::Verb::Cat { path, decompress } => {
                let options = commands::st::Cat { path: path.clone(), decompress: *decompress };
                // The bytes go to a terminal or a pipe that shows how far it is.
                commands::st::cat(&*store, &options, &mut console::Out, &commands::Silent)
                    .await
                    .map_err(console::at_stdout)?;
            }
            args::st::Verb::Get { path, destination, no_decompress, .. } => {
                let cat = commands::st::Cat { path: path.clone(), decompress: !no_decompress };
                let options = commands::st::Get { cat, destination: destination.clone() };
                let report = commands::st::get(&*store, &options, &*context.progress()).await?;
                console.print(&render::st::fetched(&report, context.format())?)?;
            }
            args::st::Verb::Stat { path } => {
                let report = commands::st::stat(&*store, path).await?;
                console.print(&render::st::stat(&report, context.format())?)?;
                if let Some(error) = report.trouble {
                    return Err(error);
                }
            }
        }
        Ok(exit::OK)
    }

    async fn wal_fetch(&self, args: &args::wal_fetch::Args) -> Answer<u8> {
        let context = &self.context;
        if let Some(asked) = &self.asked {
            asked.told.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            asked.told.notes.iter().for_each(|note| tracing::info!("{note}"));
            match &asked.told.what {
                What::Delivered => return Ok(exit::OK),
                What::Absent => return Ok(args.absent_exit),
                What::Refused(error) => return Err(Error::new(error.code(), error.what())),
                What::Alone { why, .. } => {
                    why.iter().for_each(|why| tracing::debug!("fetched without the feeder: {why}"));
                }
            }
        }
        context.warn()?;
        let deadline = context.deadline().unwrap_or(args::wal_fetch::DEADLINE);
        let options = args.options(jiff::Timestamp::now(), deadline)?;
        let mode = args.mode();
        if let Some(asked) = &self.asked {
            asked.start_feeder(&self.argv, args, &mode, feeding::parallel(context)?);
        }
        // What was waited for the feeder counts.
        let waited = self.asked.as_ref().map_or(Duration::ZERO, feeding::Asked::waited);
        let stores = context.stores_after(waited, args::wal_fetch::DEADLINE).await?;
        let mut report = commands::wal_fetch::run(&stores, &options, &mode).await?;
        if let (Some(asked), commands::wal_fetch::Outcome::Delivered { .. }) = (&self.asked, &report.outcome) {
            asked.report(report.segment.take().and_then(|segment| segment.carry));
        }
        report.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        report.notes.iter().for_each(|note| tracing::info!("{note}"));
        tracing::debug!("asked by {} ({})", report.who.words(), report.because);
        if let Some(unchecked) = &report.unchecked {
            // A person looks at this one file; a server brings the next one.
            match mode.transient {
                true => tracing::debug!("not checked, as it takes the neighbouring segments: {unchecked}"),
                false => tracing::info!("not checked, as it takes the neighbouring segments: {unchecked}"),
            }
        }
        if context.format() == args::Format::Json {
            // The file is what was asked for, and it is there or not whoever can read of it.
            if let Err(error) = context.console().print(&render::document("wal-r.wal-fetch", 1, &report)?)
                && !console::reader_gone(&error)
            {
                tracing::warn!("{}", error.chain());
            }
        }
        Ok(match report.outcome {
            commands::wal_fetch::Outcome::Delivered { .. } => exit::OK,
            commands::wal_fetch::Outcome::Absent => args.absent_exit,
        })
    }

    /// Once for a script, every second for somebody who looks on, until the feeder has gone.
    async fn feed_status(&self, args: &args::feed_status::Args) -> Answer<()> {
        let (console, format) = (self.context.console(), self.context.format());
        console.print(&render::feed_status::render(&commands::feed_status::run(&args.directory)?, format)?)?;
        if args.once || format == args::Format::Json || !console::is_terminal() {
            return Ok(());
        }
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            match commands::feed_status::run(&args.directory) {
                // From the upper left corner on, and nothing of before behind it.
                Ok(status) => {
                    console.print(&format!("\x1b[H\x1b[2J{}", render::feed_status::render(&status, format)?))?
                }
                Err(error) if error.code() == Code::AbsentFeeder => {
                    console.note("the feeder has gone: the recovery is over, or nobody asked for long\n");
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Serve until a signal ends it. What it did is in the log: stdout has no reader.
    async fn daemon(&self, args: &args::daemon::Args) -> Answer<u8> {
        let context = &self.context;
        context.warn()?;
        let data = match args.data() {
            Some(path) => path.to_owned(),
            None => context.config()?.path(config::Id::PGDATA).ok_or_else(|| {
                Error::new(Code::ConfigValue, "destinations belong to a data directory, and none is named")
                    .on("PGDATA")
                    .hint("Give --pgdata DIR, or set PGDATA.")
            })?,
        };
        let mut limits = commands::daemon::Limits::USUAL;
        limits.deadline = context.deadline().unwrap_or(limits.deadline);
        let serves = feeding::serves(context, args, &data, limits.deadline).await?;
        let options =
            commands::daemon::Options { socket: args.socket.clone(), data, limits, manager: context.manager() };
        let of_system = |error| Error::new(Code::LocalIo, "cannot be told to open the log anew").because(error);
        let mut rotated = signal(SignalKind::user_defined1()).map_err(of_system)?;
        let mut hung_up = signal(SignalKind::hangup()).map_err(of_system)?;
        let rotations = async {
            loop {
                tokio::select! {
                    _ = rotated.recv() => {}
                    _ = hung_up.recv() => {}
                }
                logging::reopen();
            }
        };
        let report = tokio::select! {
            report = commands::daemon::run(&options, serves) => report?,
            () = rotations => commands::daemon::Report::default(),
        };
        tracing::info!("stopped: {report}");
        Ok(exit::OK)
    }

    async fn backup_list(&self, args: &args::backup_list::Args) -> Answer<u8> {
        let context = &self.context;
        context.warn()?;
        let store = context.store().await?;
        let report = commands::backup_list::run(&*store, &args.options(context.format())).await?;
        context.console().print(&render::backup_list::render(&report, args.flavour(context.format()))?)?;
        report.remarks().iter().for_each(|remark| tracing::warn!("{remark}"));
        // What could not be asked leaves the list incomplete; what is damaged is shown, and complete.
        Ok(report.unknown().map_or(exit::OK, |code| self.exit(code)))
    }

    async fn backup_show(&self, args: &args::backup_show::Args) -> Answer<u8> {
        let context = &self.context;
        context.warn()?;
        let store = context.store().await?;
        let report = commands::backup_show::run(&*store, &args.name).await?;
        context.console().print(&render::backup_show::render(&report, context.format())?)?;
        Ok(exit::OK)
    }

    /// The report is printed whatever it says; its worst finding is the exit code.
    async fn backup_verify(&self, args: &args::backup_verify::Args) -> Answer<u8> {
        let context = &self.context;
        context.warn()?;
        let store = context.store().await?;
        let workers = context.config()?.count(config::Id::WALG_DOWNLOAD_CONCURRENCY)?;
        let options = args.options(workers.and_then(|count| usize::try_from(count).ok()));
        let report = commands::backup_verify::run(store, &options, context.progress()).await?;
        context.console().print(&render::backup_verify::render(&report, context.format())?)?;
        Ok(exit::audit(report.verdict))
    }

    async fn wal_show(&self, args: &args::wal_show::Args) -> Answer<u8> {
        let context = &self.context;
        context.warn()?;
        let store = context.store().await?;
        let report = commands::wal_show::run(&*store).await?;
        context.console().print(&render::wal_show::render(&report, args.flavour(context.format()))?)?;
        Ok(exit::OK)
    }

    /// The details are printed whatever the verdict is, also where the store cannot be opened.
    async fn wal_verify(&self, args: &args::wal_verify::Args) -> Answer<u8> {
        let context = &self.context;
        context.warn()?;
        let config = context.config()?;
        let asked = match args.server() {
            Some(connection) => Some(commands::server::place(connection, PATIENCE).await?),
            None => None,
        };
        let delayed = config.count(config::Id::WALG_INTEGRITY_MAX_DELAYED_WALS)?.unwrap_or(0);
        let uploading = config.count(config::Id::WALG_UPLOAD_CONCURRENCY)?.unwrap_or(16);
        let workers = config.count(config::Id::WALG_DOWNLOAD_CONCURRENCY)?;
        let workers = workers.and_then(|count| usize::try_from(count).ok());
        let options = args.options(asked, delayed, uploading, workers);
        let report = match context.store().await {
            Ok(store) => commands::wal_verify::run(store, &options, context.progress()).await?,
            Err(error) => {
                let prefix =
                    config.location().map_or_else(|_| "the prefix".to_owned(), |location| location.to_string());
                commands::wal_verify::Report::unread(&prefix, &options, &error)
            }
        };
        context.console().print(&render::wal_verify::render(&report, args.flavour(context.format()))?)?;
        Ok(exit::audit(report.verdict()))
    }

    /// The settings are shown whatever becomes of them; the first step that failed fixes the exit code.
    async fn config_check(&self, offline: bool) -> Answer<u8> {
        let context = &self.context;
        let config = context.config()?;
        let mut urls = Vec::new();
        let mut steps = Vec::new();
        let wrong = |error: &Error| vec![Step::failed("settings", error)];
        if offline {
            match config.storages() {
                Ok(all) => urls.extend(all.into_iter().map(|storage| storage.location.to_string())),
                Err(error) => steps = wrong(&error),
            }
        } else {
            let each = context.each_store(PATIENCE).await.unwrap_or_else(|error| {
                steps = wrong(&error);
                Vec::new()
            });
            let several = each.len() > 1;
            for (name, store) in each {
                let tried = match store {
                    Ok(store) => {
                        urls.push(store.url());
                        commands::config_check::run(&*store, &*context.progress()).await
                    }
                    Err(error) => wrong(&error),
                };
                steps.extend(tried.into_iter().map(|step| step.of(several.then_some(name.as_str()))));
            }
        }
        let url = (!urls.is_empty()).then(|| urls.join(", "));
        context.console().print(&render::config::check(config, url.as_deref(), &steps, context.format())?)?;
        Ok(steps.iter().find_map(|step| step.failed).map_or(exit::OK, |code| self.exit(code)))
    }
}

/// The exit code of a failure of which the verb is not known. Who asks is looked for in the working directory: PostgreSQL
/// runs a restore_command in its data directory.
fn before_verb(code: Code, argv: &[OsString]) -> u8 {
    let any: Result<WalFile, _> = "000000010000000000000001".parse();
    let who = any.map(|file| Mode::find(Path::new("."), &file, Path::new("pg_wal/RECOVERYXLOG"), None).who);
    exit::before_verb(code, argv, who.map_or(Asker::PointInTime, Asker::from))
}

/// Run the program; a panic becomes `internal.bug` and its exit code instead of a backtrace and 101. In a
/// restore_command that code must not look like the end of the archive.
pub fn guarded(argv: Vec<OsString>, program: impl FnOnce(Vec<OsString>) -> u8) -> u8 {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(|s| &**s));
        let what = format!("panicked at {place}: {}", text.unwrap_or("no message"));
        console::plain(&Error::new(Code::InternalBug, what));
    }));
    caught(argv, program)
}

fn caught(argv: Vec<OsString>, program: impl FnOnce(Vec<OsString>) -> u8) -> u8 {
    let again = argv.clone();
    catch_unwind(AssertUnwindSafe(|| program(argv))).unwrap_or_else(|_| before_verb(Code::InternalBug, &again))
}

/// Was JSON asked for, on a command line that cannot be understood?
fn wants_json(argv: &[OsString]) -> bool {
    let mut before = None;
    argv.iter().any(|word| {
        let json = word == "--format=json" || (before == Some("--format") && word == "json");
        before = word.to_str();
        json
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_has_an_exit_code_of_ours() {
        let exit = |line: &str| caught(line.split(' ').map(OsString::from).collect(), |_| panic!("on purpose"));
        assert_eq!(exit("wal-r st ls"), 70);
        // The tests do not run in a data directory: nobody would be promoted.
        assert_eq!(exit("wal-r wal-fetch a b"), 107);
        assert_eq!(caught(Vec::new(), |_| 3), 3);
    }
}
