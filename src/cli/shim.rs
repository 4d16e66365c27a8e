//! Programs that a playbook or a probe finds first on its path: `sleep`, `timeout`, `date`, `kubectl` and `sudo` are
//! links to this program, told apart by the name they are called with.
//!
//! With `SIM_CLOCK` set, waits, time limits and the present are those of the embedded cluster's clock; without it the
//! real program takes over. `sudo` only drops its own options: inside the sandbox there is nobody else to become. Input: the
//! command line and the environment; output: the exit code, or nothing when this is no shim.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

mod ages;
mod clock;
mod duration;
mod kubectl;
mod race;
mod timeout;

/// Runs as one of the shims if that is the name we were called by. Call it first thing in `main`.
pub fn dispatch(argv: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut argv = argv.into_iter();
    let called = argv.next()?;
    let name = Path::new(&called).file_name()?.to_str()?.to_owned();
    let args: Vec<OsString> = argv.collect();
    let clock = clock::SimClock::from_environment();
    match (name.as_str(), clock) {
        ("sleep", Some(clock)) => Some(sleep(&clock, &args)),
        ("timeout", Some(clock)) => Some(timeout::run(clock, &args)),
        ("kubectl", clock) => Some(kubectl::run(clock, args)),
        ("sudo", _) => Some(sudo(&args)),
        ("date", Some(clock)) => Some(exec_real("date", &dated(args, clock.date()))),
        ("sleep" | "timeout" | "date", None) => Some(exec_real(&name, &args)),
        _ => None,
    }
}

/// Operands add up, as GNU's do; what we do not understand is left to the real one.
fn sleep(clock: &clock::SimClock, args: &[OsString]) -> ExitCode {
    let total = args.iter().map(|a| duration::gnu(a.to_str()?)).sum::<Option<std::time::Duration>>();
    match total {
        Some(total) if !args.is_empty() => {
            clock.sleep(total);
            ExitCode::SUCCESS
        }
        _ => exec_real("sleep", args),
    }
}

/// `date` of the cluster's present, unless it is asked for another moment; BSD has no words for that.
fn dated(args: Vec<OsString>, now: Option<String>) -> Vec<OsString> {
    let another = |a: &OsString| {
        let a = a.to_string_lossy();
        let long = ["--date", "--reference", "--file", "--set", "--help", "--version", "--resolution"];
        let short = a.starts_with('-') && !a.starts_with("--") && a.contains(['d', 'r', 'f', 's']) && !a.starts_with("-I");
        short || long.iter().any(|l| a.starts_with(l))
    };
    match now {
        Some(now) if cfg!(target_os = "linux") && !args.iter().any(another) => {
            ["-d".into(), format!("@{now}").into()].into_iter().chain(args).collect()
        }
        _ => args,
    }
}

/// Options of sudo that take a value.
const SUDO_VALUES: [&str; 18] = [
    "-u",
    "-g",
    "-p",
    "-h",
    "-C",
    "-D",
    "-R",
    "-T",
    "-U",
    "-r",
    "-t",
    "--user",
    "--group",
    "--prompt",
    "--host",
    "--chdir",
    "--chroot",
    "--close-from",
];

fn sudo(args: &[OsString]) -> ExitCode {
    let command = sudo_command(args);
    let Some(((program, args), settings)) = command.program.split_first().map(|c| (c, command.settings)) else {
        // `sudo -i`, `sudo -s`: a shell, which ends at once without input. `sudo -v`, `sudo -l`: nothing to say.
        return if command.shell { exec(Command::new("/bin/sh")) } else { ExitCode::SUCCESS };
    };
    let mut child = Command::new(program);
    child.args(args).envs(settings);
    exec(child)
}

#[derive(Debug, PartialEq)]
struct SudoCommand<'a> {
    settings: Vec<(&'a str, &'a str)>,
    program: &'a [OsString],
    shell: bool,
}

fn sudo_command(args: &[OsString]) -> SudoCommand<'_> {
    let (mut at, mut settings, mut shell) = (0, Vec::new(), false);
    while let Some(arg) = args.get(at).and_then(|a| a.to_str()) {
        if arg == "--" {
            at += 1;
            break;
        } else if SUDO_VALUES.contains(&arg) {
            at += 2;
        } else if arg.starts_with('-') {
            shell |= matches!(arg, "-i" | "-s" | "--login" | "--shell");
            at += 1;
        } else if let Some(setting) = arg.split_once('=') {
            settings.push(setting);
            at += 1;
        } else {
            break;
        }
    }
    SudoCommand { settings, program: args.get(at..).unwrap_or_default(), shell }
}

/// Becomes the real program of that name: the next on the path that is not this one.
fn exec_real(name: &str, args: &[OsString]) -> ExitCode {
    match real(name) {
        Some(program) => {
            let mut command = Command::new(program);
            command.args(args);
            exec(command)
        }
        None => not_found(name),
    }
}

fn exec(mut command: Command) -> ExitCode {
    let error = command.exec();
    let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
    say(&format!("{}: {error}", Path::new(command.get_program()).display()));
    ExitCode::from(code)
}

fn not_found(name: &str) -> ExitCode {
    say(&format!("{name}: command not found"));
    ExitCode::from(127)
}

fn real(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let own = std::env::current_exe().and_then(std::fs::canonicalize).ok();
    find(&path, name, own.as_deref())
}

fn find(path: &OsStr, name: &str, own: Option<&Path>) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(name)).find(|candidate| {
        let Ok(target) = std::fs::canonicalize(candidate) else { return false };
        Some(target.as_path()) != own && target.is_file()
    })
}

fn say(text: &str) {
    // Standard error is gone: nobody is left to tell.
    let _gone = writeln!(std::io::stderr(), "{text}");
}

fn code_of(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

#[cfg(test)]
mod tests;
