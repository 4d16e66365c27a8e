//! What a container's main process does, from its command, its image and the configured workloads.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::model::list;
use super::nap::{self, Nap};
use crate::sim::config::{Call, ClockMode, Profile, SimConfig};

/// What a container's main process does.
#[derive(Debug, Clone, PartialEq)]
pub enum Behaviour {
    /// A server.
    Serve(Box<Profile>, Arc<[Call]>),
    /// Nothing, for that long or for ever. Does not react to SIGTERM.
    Sleep(Option<Duration>),
    /// It writes lines and ends at once with a code.
    Exit(i32, Vec<String>),
    /// A program that the shell's model runs.
    Program {
        /// Whether it is a loop without an end.
        endless: bool,
        /// Whether it waits for somebody to attach to its input.
        stdin: bool,
    },
    /// Nothing, for ever, and ends when told to.
    Pause,
}

/// Commands that can be understood are; otherwise the configured profile decides; otherwise the image.
///
/// Init containers, and containers of pods that are meant to end, do whatever else they do at once and successfully; but an endless loop stays one.
pub(super) fn behaviour(c: &Value, command: &[String], pod: &Value, config: &SimConfig, init: bool) -> Behaviour {
    let image = c["image"].as_str().unwrap_or_default();
    if super::image::is_pause(image) {
        return Behaviour::Pause;
    }
    if let Some(program) = program(c, command, pod, config, init) {
        return program;
    }
    if let Some(b) = understand(command).filter(|_| !listens(command)) {
        // A loop that waits for something is left when it is there, which it is taken to be.
        let leaves = command.iter().any(|w| ["break", "exit", "return"].iter().any(|way| w.contains(way)));
        return if init && leaves && b == Behaviour::Sleep(None) { Behaviour::Exit(0, Vec::new()) } else { b };
    }
    let labels = &pod["metadata"]["labels"];
    let name = c["name"].as_str().unwrap_or_default();
    let fits = |w: &&crate::sim::config::WorkloadModel| {
        w.namespace.as_deref().is_none_or(|n| pod["metadata"]["namespace"] == n)
            && w.labels.iter().all(|(k, v)| labels[k.as_str()] == v.as_str())
    };
    let named = config.workloads.iter().filter(fits).find(|w| w.container.as_deref() == Some(name));
    if let Some(w) = named.or_else(|| config.workloads.iter().filter(fits).find(|w| w.container.is_none() && !init)) {
        return Behaviour::Serve(Box::new(w.profile.clone()), w.calls.clone().into());
    }
    if let Some(nap) = Nap::read(command).filter(|_| super::image::is_shell(image) && !offers(c)) {
        return Behaviour::Sleep(nap.sleep);
    }
    if config.programs && super::image::is_shell(image) && !offers(c) && nap::ends(command) {
        return Behaviour::Program { endless: false, stdin: false };
    }
    let meant_to_end =
        init || (!offers(c) && !command.is_empty() && matches!(pod["spec"]["restartPolicy"].as_str(), Some("Never" | "OnFailure")));
    if meant_to_end || (command.is_empty() && super::image::is_shell(image) && c["stdin"] != true) {
        return Behaviour::Exit(0, Vec::new());
    }
    if command.is_empty() && super::image::is_shell(image) {
        return Behaviour::Sleep(None);
    }
    Behaviour::Serve(Box::default(), Arc::new([]))
}

/// Whether a container's command is run for what it is: one that is meant to end, one that is typed to, a loop that says
/// something. Servers are modelled by their profiles, and init containers end at once.
fn program(c: &Value, command: &[String], pod: &Value, config: &SimConfig, init: bool) -> Option<Behaviour> {
    if !config.programs || init || listens(command) {
        return None;
    }
    let stdin = c["stdin"] == true;
    let shell = command.first().is_some_and(|s| s.rsplit('/').next().is_some_and(|s| matches!(s, "sh" | "bash" | "ash")));
    let one_shot = matches!(pod["spec"]["restartPolicy"].as_str(), Some("Never" | "OnFailure")) && !offers(c);
    let understood = understand(command);
    let endless = understood == Some(Behaviour::Sleep(None));
    let image = c["image"].as_str().unwrap_or_default();
    let runs = if command.is_empty() {
        stdin && super::image::is_shell(image)
    } else if endless {
        // In time that jumps, a loop would be a reason to stop at each of its turns.
        let says = command.iter().any(|w| ["echo", "date", "printf"].iter().any(|p| w.contains(p)));
        says && matches!(config.clock, ClockMode::Scaled(_))
    } else {
        // A sleep that something comes after is the shell's, where time passes by itself.
        let sleeps = matches!(understood, Some(Behaviour::Sleep(_)));
        let between = matches!(config.clock, ClockMode::Scaled(_)) && understood.is_some() && !offers(c) && nap::between(command);
        (one_shot && !sleeps) || between || (stdin && shell)
    };
    runs.then_some(Behaviour::Program { endless, stdin })
}

/// Whether a script is a server of netcat's, which the shell does not model.
fn listens(command: &[String]) -> bool {
    nap::script(command).is_some_and(|s| s.contains("nc -l"))
}

/// Whether a container is made to be asked something: whatever its pod's restart policy, it is a server.
fn offers(c: &Value) -> bool {
    list(&c["ports"]).next().is_some() || ["startupProbe", "readinessProbe", "livenessProbe"].iter().any(|p| c[*p].is_object())
}

/// The ports that a command or an image speaks of: numbers after a program's words or a port option, else the image's own.
pub(super) fn implied_ports(image: &str, command: &[String]) -> Vec<u16> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|n| *n >= 80);
    let mut ports = Vec::new();
    let mut previous = "-";
    for word in command {
        let option = previous.starts_with('-') && !previous.contains("port") && previous != "-p";
        let named = word.split_once('=').filter(|(k, _)| k.contains("port")).and_then(|(_, v)| number(v));
        ports.extend(if option { None } else { number(word) }.or(named));
        previous = word;
    }
    if ports.is_empty() && command.is_empty() {
        ports.extend(super::image::own_port(image));
    }
    ports
}

/// Understands `sleep N`, endless loops, `true`, `false`, `exit N` and `echo`, bare or as one `sh -c` line.
pub(super) fn understand(command: &[String]) -> Option<Behaviour> {
    if command.is_empty() {
        return None;
    }
    let joined = command.join(" ");
    let script = nap::script(command).unwrap_or(joined.trim());
    let mut lines = Vec::new();
    if script.starts_with("tail -f") {
        return Some(Behaviour::Sleep(None));
    }
    if (script.starts_with("while ") || script.starts_with("until ")) && script.trim_end_matches([';', ' ']).ends_with("done") {
        let endless = ["while true", "while :", "while sleep", "while [ 1"].iter().any(|w| script.starts_with(w));
        // A loop that waits for something finds it at once.
        return Some(if endless { Behaviour::Sleep(None) } else { Behaviour::Exit(0, Vec::new()) });
    }
    let mut total = Some(Duration::ZERO);
    for part in script.split([';', '\n']).flat_map(|p| p.split("&&")) {
        let part = part.trim().trim_start_matches("exec ");
        let (word, rest) = part.split_once(char::is_whitespace).unwrap_or((part, ""));
        match word.rsplit('/').next().unwrap_or(word) {
            "" | "true" | ":" => {}
            "echo" => lines.push(rest.trim().trim_matches(['"', '\'']).to_owned()),
            "sleep" if matches!(rest.trim(), "infinity" | "inf") => total = None,
            "sleep" => {
                let sum: Duration = rest.split_whitespace().map(nap::span).sum::<Option<Duration>>()?;
                total = total.map(|t| t + sum);
            }
            "false" => return Some(Behaviour::Exit(1, lines)),
            "exit" => return Some(Behaviour::Exit(rest.trim().parse().unwrap_or(0), lines)),
            _ => return None,
        }
    }
    match total {
        Some(Duration::ZERO) => Some(Behaviour::Exit(0, lines)),
        other => Some(Behaviour::Sleep(other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(s: &[&str]) -> Vec<String> {
        s.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn an_init_container_that_never_ends_is_waited_for() {
        let of = |script: &str| {
            let c = json!({"name": "i", "image": "busybox"});
            behaviour(&c, &words(&["/bin/sh", "-c", script]), &json!({}), &SimConfig::default(), true)
        };
        assert_eq!(of("while true;do date;sleep 5; done"), Behaviour::Sleep(None));
        assert_eq!(of("while true; do nc -z db 5432 && break; sleep 1; done"), Behaviour::Exit(0, Vec::new()));
    }

    #[test]
    fn a_netcat_that_listens_is_a_server() {
        let command = words(&["sh", "-c", "while true; do date | nc -l -p 8080; done"]);
        let found = behaviour(&json!({"image": "busybox"}), &command, &json!({}), &SimConfig::default(), false);
        assert_eq!(found, Behaviour::Serve(Box::default(), Arc::new([])));
    }

    #[test]
    fn simple_commands_are_understood() {
        assert_eq!(understand(&words(&["sh", "-c", "sleep 3600"])), Some(Behaviour::Sleep(Some(Duration::from_hours(1)))));
        assert_eq!(understand(&words(&["sleep", "infinity"])), Some(Behaviour::Sleep(None)));
        assert_eq!(understand(&words(&["/bin/sh", "-c", "while true; do sleep 5; done"])), Some(Behaviour::Sleep(None)));
        assert_eq!(understand(&words(&["sh", "-c", "echo hi; exit 3"])), Some(Behaviour::Exit(3, vec!["hi".to_owned()])));
        assert_eq!(understand(&words(&["true"])), Some(Behaviour::Exit(0, Vec::new())));
        assert_eq!(understand(&words(&["sh", "-c", "python3 /app/server.py"])), None);
        assert_eq!(understand(&[]), None);
    }
}
