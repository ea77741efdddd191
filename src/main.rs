//! The program: parse, build the runtime the verb needs, run, hand the exit code to the system.
//!
//! In: argv and the environment. Out: an exit code from `cli::exit`. Never: decides anything else.
//!
//! What PostgreSQL asks for thousands of times in a row comes first: a segment that lies ready is handed over before the
//! command line is parsed.

use std::process::ExitCode;
use wal_r::cli::{self, Environment, feeding};
use wal_r::feed::detach;

fn main() -> ExitCode {
    let argv: Vec<_> = std::env::args_os().collect();
    let feeder = detach::is_feeder(&argv);
    if feeder {
        detach::leave();
    }
    let code = cli::guarded(argv, |argv| {
        let environment = Environment::of_process();
        let asked = if feeder { None } else { feeding::ask(&argv, &environment) };
        if asked.as_ref().is_some_and(feeding::Asked::is_done) {
            return cli::exit::OK;
        }
        let call = match cli::prepare(argv, environment) {
            Ok(call) => call.having_asked(asked),
            Err(code) => return code,
        };
        if let Some(code) = call.at_once() {
            return code;
        }
        let runtime = match call.runtime() {
            Ok(runtime) => runtime,
            Err(error) => return call.fail(&error),
        };
        let code = runtime.block_on(call.run());
        // A blocking read that hangs in the kernel must not keep us from saying how it ended.
        runtime.shutdown_background();
        code
    });
    // How a feeder ended concerns nobody, least of all a server that is the first process of a container.
    ExitCode::from(if feeder { code.min(1) } else { code })
}
