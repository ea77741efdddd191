//! Being built.

use crate::shell::Outcome;

pub(crate) fn run(_arguments: &[String]) -> Outcome {
    Err("not yet".into())
}
