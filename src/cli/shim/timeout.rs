//! `timeout` in the cluster's time, with the options, messages and exit codes of the coreutils.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::Signal;

use super::clock::SimClock;
use super::race::{Patience, Race, Won};
use super::{code_of, duration, exec, exec_real, say};

#[derive(Debug, PartialEq)]
struct Options<'a> {
    limit: Duration,
    kill_after: Option<Duration>,
    signal: Signal,
    preserve_status: bool,
    foreground: bool,
    command: &'a [OsString],
}

pub(super) fn run(clock: SimClock, args: &[OsString]) -> ExitCode {
    // Help, versions, mistakes: the real one words them best.
    let Some(options) = parse(args) else { return exec_real("timeout", args) };
    let Some((program, rest)) = options.command.split_first() else { return exec_real("timeout", args) };
    let mut command = std::process::Command::new(program);
    command.args(rest);
    if options.limit.is_zero() {
        return exec(command);
    }
    let race = Race {
        signal: options.signal,
        patience: options.kill_after.map_or(Patience::Endless, Patience::Cluster),
        group: !options.foreground,
        ..Race::new(command, options.limit)
    };
    match race.run(clock) {
        Ok(Won::Child(status, _)) => code_of(status),
        Ok(Won::Limit(status)) if options.preserve_status => code_of(status),
        Ok(Won::Limit(status)) => {
            use std::os::unix::process::ExitStatusExt;
            let killed = options.kill_after.is_some() || options.signal == Signal::KILL;
            ExitCode::from(if killed && status.signal() == Some(Signal::KILL.as_raw()) { 137 } else { 124 })
        }
        Err(error) => {
            say(&format!("timeout: failed to run command {}: {error}", program.display()));
            ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
        }
    }
}

fn parse(args: &[OsString]) -> Option<Options<'_>> {
    let mut options =
        Options { limit: Duration::ZERO, kill_after: None, signal: Signal::TERM, preserve_status: false, foreground: false, command: &[] };
    let mut at = 0;
    loop {
        let arg = args.get(at)?.to_str()?;
        at += 1;
        let mut value = |attached: &str| -> Option<String> {
            if !attached.is_empty() {
                return Some(attached.to_owned());
            }
            at += 1;
            Some(args.get(at - 1)?.to_str()?.to_owned())
        };
        match arg {
            "--" => {
                options.limit = duration::gnu(args.get(at)?.to_str()?)?;
                at += 1;
                break;
            }
            "-p" | "--preserve-status" => options.preserve_status = true,
            "-f" | "--foreground" => options.foreground = true,
            "-v" | "--verbose" => {}
            "--kill-after" => options.kill_after = Some(duration::gnu(&value("")?)?),
            "--signal" => options.signal = signal(&value("")?)?,
            _ => {
                if let Some(v) = arg.strip_prefix("--kill-after=").map(str::to_owned).or_else(|| value(arg.strip_prefix("-k")?)) {
                    options.kill_after = Some(duration::gnu(&v)?);
                } else if let Some(v) = arg.strip_prefix("--signal=").map(str::to_owned).or_else(|| value(arg.strip_prefix("-s")?)) {
                    options.signal = signal(&v)?;
                } else {
                    // Anything else that looks like an option is no number either.
                    options.limit = duration::gnu(arg)?;
                    break;
                }
            }
        }
    }
    options.command = args.get(at..)?;
    (!options.command.is_empty()).then_some(options)
}

fn signal(name: &str) -> Option<Signal> {
    Some(match name.strip_prefix("SIG").unwrap_or(name) {
        "TERM" | "15" => Signal::TERM,
        "KILL" | "9" => Signal::KILL,
        "INT" | "2" => Signal::INT,
        "HUP" | "1" => Signal::HUP,
        "QUIT" | "3" => Signal::QUIT,
        "USR1" | "10" => Signal::USR1,
        "USR2" | "12" => Signal::USR2,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn options_as_gnu_takes_them() {
        let args = words("-k 5 -sKILL --preserve-status 1m sleep -5");
        let o = parse(&args).unwrap();
        assert_eq!((o.limit.as_secs(), o.kill_after, o.signal, o.preserve_status), (60, Some(Duration::from_secs(5)), Signal::KILL, true));
        assert_eq!(o.command, words("sleep -5"));
        let args = words("--kill-after=2s --signal=INT -- 3 true");
        let o = parse(&args).unwrap();
        assert_eq!((o.limit.as_secs(), o.kill_after, o.signal), (3, Some(Duration::from_secs(2)), Signal::INT));
    }

    #[test]
    fn what_it_does_not_know_is_left_to_the_real_one() {
        for text in ["", "--help", "5", "-s WINCH 5 true", "--new-option 5 true", "soon true"] {
            assert_eq!(parse(&words(text)), None, "{text}");
        }
    }
}
