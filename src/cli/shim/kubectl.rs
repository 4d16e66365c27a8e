//! `kubectl`, whose own limits are measured in the cluster's time.
//!
//! Commands without a limit become the real kubectl at once. One with a limit runs beside a wait in the cluster's
//! time; when that ends first, the real one is stopped and its message and exit code are given.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use super::clock::SimClock;
use super::race::{Race, Won};
use super::{ages, code_of, duration, exec, not_found, real, say};

/// Global flags whose value is a word of its own.
const VALUE_FLAGS: [&str; 21] = [
    "-n",
    "--namespace",
    "--context",
    "--kubeconfig",
    "--cluster",
    "--user",
    "--token",
    "-s",
    "--server",
    "--as",
    "--as-group",
    "--as-uid",
    "--request-timeout",
    "-v",
    "--v",
    "--cache-dir",
    "--certificate-authority",
    "--client-certificate",
    "--client-key",
    "--tls-server-name",
    "--profile",
];
/// Where the distribution that prompts speak of keeps its access file; in the sandbox that cluster is ours.
const USUAL_KUBECONFIG: &str = "/etc/rancher/k3s/k3s.yaml";
/// What `kubectl wait` waits without `--timeout`.
const WAIT_DEFAULT: Duration = Duration::from_secs(30);
/// "A negative number means wait for a week".
const A_WEEK: Duration = Duration::from_hours(7 * 24);
/// The time limit for the run that words the message.
const AT_ONCE: &str = "--timeout=10ms";

/// A limit, and how kubectl says that it was reached.
#[derive(Debug, PartialEq)]
enum Limit {
    None,
    /// None, but its output has ages, see [`ages`].
    Ages,
    /// Asked again with next to no time: its message names the object.
    Again(Duration),
    Message(Duration, String),
}

pub(super) fn run(clock: Option<SimClock>, args: Vec<OsString>) -> ExitCode {
    let Some(program) = real("kubectl") else { return not_found("kubectl") };
    let (args, usual) = with_usual_kubeconfig(args, Path::new(USUAL_KUBECONFIG).exists());
    let command = |args: &[OsString]| {
        let mut command = Command::new(&program);
        command.args(args);
        if usual && let Some(own) = own_kubeconfig() {
            command.env("KUBECONFIG", own);
        }
        command
    };
    let (Some(clock), limit) = (clock, limit_of(&args)) else { return exec(command(&args)) };
    let duration = match &limit {
        Limit::Ages => return ages::run(command(&args), &clock),
        Limit::None => return exec(command(&args)),
        Limit::Again(d) | Limit::Message(d, _) => *d,
    };
    let mut race = Race::new(command(&args), duration);
    race.hold_output = matches!(limit, Limit::Again(_));
    match race.run(clock) {
        Ok(Won::Child(status, output)) => {
            // Nobody reads: then nobody misses it.
            let _gone = std::io::stdout().write_all(&output);
            code_of(status)
        }
        Ok(Won::Limit(_)) => match limit {
            Limit::Message(_, text) => {
                say(&text);
                ExitCode::from(1)
            }
            Limit::None | Limit::Ages | Limit::Again(_) => {
                let mut again = args;
                again.push(AT_ONCE.into());
                exec(command(&again))
            }
        },
        Err(error) => {
            say(&format!("kubectl: {error}"));
            ExitCode::from(126)
        }
    }
}

/// The kubeconfig in the home folder, which the sandbox puts there.
fn own_kubeconfig() -> Option<std::path::PathBuf> {
    let own = Path::new(&std::env::var_os("HOME")?).join(".kube/config");
    own.exists().then_some(own)
}

/// Drops `--kubeconfig` when it names the usual place and there is no such file; says whether ours is meant.
fn with_usual_kubeconfig(args: Vec<OsString>, exists: bool) -> (Vec<OsString>, bool) {
    if exists {
        return (args, false);
    }
    let mut usual = std::env::var_os("KUBECONFIG").is_some_and(|v| v == USUAL_KUBECONFIG);
    let mut kept = Vec::with_capacity(args.len());
    let mut rest = args.into_iter().peekable();
    while let Some(arg) = rest.next() {
        if arg == "--kubeconfig" && rest.peek().is_some_and(|v| v == USUAL_KUBECONFIG) {
            rest.next();
            usual = true;
        } else if arg.to_str().and_then(|a| a.strip_prefix("--kubeconfig=")) == Some(USUAL_KUBECONFIG) {
            usual = true;
        } else {
            kept.push(arg);
        }
    }
    (kept, usual)
}

fn limit_of(args: &[OsString]) -> Limit {
    let args: Vec<&str> = args.iter().map(OsStr::new).map(|a| a.to_str().unwrap_or_default()).take_while(|a| *a != "--").collect();
    let mut words = Vec::new();
    let mut timeout = None;
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if *arg == "--timeout" {
            timeout = rest.next().copied();
        } else if let Some(value) = arg.strip_prefix("--timeout=") {
            timeout = Some(value);
        } else if VALUE_FLAGS.contains(arg) {
            rest.next();
        } else if matches!(*arg, "-h" | "--help") {
            return Limit::None;
        } else if !arg.starts_with('-') {
            words.push(*arg);
        }
    }
    let given = timeout.map(duration::go);
    let message = |text: &str| match given.flatten() {
        Some(d) if !d.is_zero() => Limit::Message(d, text.to_owned()),
        _ => Limit::None,
    };
    match words.as_slice() {
        ["wait", ..] => match (timeout, given) {
            (None, _) => Limit::Again(WAIT_DEFAULT),
            (Some(t), _) if t.starts_with('-') => Limit::Again(A_WEEK),
            (Some(_), Some(Some(d))) if !d.is_zero() => Limit::Again(d),
            _ => Limit::None,
        },
        ["rollout", "status", ..] | ["delete" | "scale" | "replace" | "apply", ..] => message("error: timed out waiting for the condition"),
        ["describe" | "events", ..] => Limit::Ages,
        ["drain", ..] => message(&format!("error: global timeout reached: {}", timeout.unwrap_or_default())),
        _ => Limit::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(Into::into).collect()
    }

    fn limit(text: &str) -> Limit {
        limit_of(&words(text))
    }

    #[test]
    fn waits_have_limits() {
        assert_eq!(limit("wait deploy/web --for=condition=Available -n demo"), Limit::Again(WAIT_DEFAULT));
        assert_eq!(limit("-n demo wait deploy/web --for condition=Available --timeout 1m30s"), Limit::Again(Duration::from_secs(90)));
        assert_eq!(limit("wait pod/x --for=delete --timeout=-1s"), Limit::Again(A_WEEK));
        assert_eq!(limit("wait pod/x --for=delete --timeout=0"), Limit::None);
    }

    #[test]
    fn other_verbs_only_when_asked() {
        let timed_out = "error: timed out waiting for the condition".to_owned();
        assert_eq!(limit("rollout status deploy/web --timeout=60s"), Limit::Message(Duration::from_mins(1), timed_out));
        for text in [
            "rollout status deploy/web",
            "rollout restart deploy/web --timeout=60s",
            "get pods -w",
            "delete pod x",
            "exec x -- wait --timeout=5s",
            "-n wait get pods",
            "wait --help",
            "",
        ] {
            assert_eq!(limit(text), Limit::None, "{text}");
        }
        let drained = Limit::Message(Duration::from_secs(5), "error: global timeout reached: 5s".to_owned());
        assert_eq!(limit("drain node --timeout=5s"), drained);
    }

    #[test]
    fn the_usual_kubeconfig_means_ours_when_it_is_not_there() {
        let args = words("--kubeconfig /etc/rancher/k3s/k3s.yaml get pods --kubeconfig=/etc/rancher/k3s/k3s.yaml");
        assert_eq!(with_usual_kubeconfig(args.clone(), false), (words("get pods"), true));
        assert_eq!(with_usual_kubeconfig(args.clone(), true), (args, false));
        assert!(!with_usual_kubeconfig(words("--kubeconfig other get"), false).1);
    }
}
