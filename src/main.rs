//! The program: parse, build the runtime the verb needs, run, hand the exit code to the system.
//!
//! In: argv and the environment. Out: an exit code from `cli::exit`. Never: decides anything else.

use std::process::ExitCode;
use wal_r::cli::{self, Environment};

fn main() -> ExitCode {
    ExitCode::from(cli::guarded(std::env::args_os().collect(), |argv| {
        let call = match cli::prepare(argv, Environment::of_process()) {
            Ok(call) => call,
            Err(code) => return code,
        };
        let runtime = match call.runtime() {
            Ok(runtime) => runtime,
            Err(error) => return call.fail(&error),
        };
        let code = runtime.block_on(call.run());
        // A blocking read that hangs in the kernel must not keep us from saying how it ended.
        runtime.shutdown_background();
        code
    }))
}
