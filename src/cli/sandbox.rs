//! The launcher of a trial's children: this program under other names. Input: a policy's file and a command line; output:
//! the exit code of the program that was started inside.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use super::failure::{Code, Failure};
use crate::ansible::sandbox::{Confinement, LAUNCHER, Limits, detect, follow, inner, outer};

/// The inner half of the launcher, which the outer half starts.
const INNER: &str = "microremed-inside";
/// The launcher itself failed; the runner finds the reason in a file.
const FAILED: u8 = 125;

/// Runs as a launcher if that is the name we were called by. Call it first thing in `main`, before there are threads.
pub fn dispatch(argv: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut argv = argv.into_iter();
    let called = argv.next()?;
    let name = Path::new(&called).file_name()?.to_str()?.to_owned();
    if name != LAUNCHER && name != INNER {
        return None;
    }
    let policy = argv.next()?;
    let policy = Path::new(&policy);
    let command: Vec<OsString> = argv.skip_while(|a| a == "--").collect();
    let code = if name == LAUNCHER { outer(policy, INNER, &command).map(follow) } else { inner(policy, &command).map(|()| 0) };
    Some(ExitCode::from(code.unwrap_or(FAILED)))
}

/// What the children of a run are confined by.
pub(super) fn confinement(off: bool) -> Result<Option<Confinement>, Failure> {
    if off {
        return Ok(None);
    }
    let program = std::env::current_exe().map_err(|e| Failure::harness(format!("failed to find this program: {e}")))?;
    let found = detect(&program);
    if !found.layers.suffice() {
        return Err(
            Failure::new(Code::Dependency, "the sandbox for playbooks and probes does not hold on this machine").help("microremed doctor")
        );
    }
    Ok(Some(Confinement { layers: found.layers, limits: Limits::default(), program }))
}
