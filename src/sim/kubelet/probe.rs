//! Probes: what the kubelet finds when it asks a container.

use std::time::Duration;

use super::container::{Container, Life};
use super::model::{Action, ContainerModel, Probe};
use super::network::{egress, ingress};
use super::resources::work_time;
use super::runtime::PodRun;
use crate::sim::config::path_matches;
use crate::sim::world::World;

/// Round trip on the node itself.
const LOCAL: f64 = 0.0003;
/// CPU work of a command in the container, with starting it.
const COMMAND_CPU: f64 = 0.03;

/// One probe: `Ok`, or the text of its failure. `lacks`: what is asked for is not there.
pub(super) fn attempt(
    world: &mut World,
    pod: &PodRun,
    model: &ContainerModel,
    c: &Container,
    probe: &Probe,
    lacks: bool,
) -> Result<(), String> {
    let address = pod.address.map(|a| a.to_string()).unwrap_or_default();
    let timeout = probe.timeout.as_secs_f64();
    match &probe.action {
        Action::Exec(_) => {
            let seconds = work_time(model, c, COMMAND_CPU);
            if seconds > timeout {
                let limit = probe.timeout.as_secs();
                return Err(format!("command timed out: \"{}\" timed out after {limit}s", command(probe)));
            }
            // What a command would find is not modelled: it fares as the process does.
            if serves(model, c) { Ok(()) } else { Err("command exited with code 1".to_owned()) }
        }
        Action::Tcp(port) => connect(world, pod, model, c, *port, timeout).map(|_| ()).map_err(|e| match e {
            Fault::Refused => format!("dial tcp {address}:{port}: connect: connection refused"),
            Fault::Late => format!("dial tcp {address}:{port}: i/o timeout"),
        }),
        Action::Grpc(port) => match exchange(world, pod, model, c, *port, timeout) {
            Ok(_) => Ok(()),
            Err(Fault::Refused) => {
                Err(format!("timeout: failed to connect service \"{address}:{port}\" within {}s", probe.timeout.as_secs()))
            }
            Err(Fault::Late) => Err(format!("timeout: health rpc did not complete within {}s", probe.timeout.as_secs())),
        },
        Action::Http(scheme, port, path) => {
            let url = format!("Get \"{scheme}://{address}:{port}{path}\"");
            match exchange(world, pod, model, c, *port, timeout) {
                Ok(_) => match if lacks { 404 } else { status_of(model, path) } {
                    200..=399 => Ok(()),
                    code => Err(format!("HTTP probe failed with statuscode: {code}")),
                },
                Err(Fault::Refused) => Err(format!("{url}: dial tcp {address}:{port}: connect: connection refused")),
                Err(Fault::Late) => Err(format!("{url}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)")),
            }
        }
    }
}

/// The code that a server answers to a path with.
pub fn status_of(model: &ContainerModel, path: &str) -> u16 {
    let path = path.split('?').next().unwrap_or(path);
    match model.profile() {
        Some(p) if p.paths.is_empty() || p.paths.iter().any(|x| path_matches(x, path)) => 200,
        _ => 404,
    }
}

fn command(probe: &Probe) -> String {
    match &probe.action {
        Action::Exec(words) => words.join(" "),
        _ => String::new(),
    }
}

enum Fault {
    Refused,
    Late,
}

/// Whether its process does what a healthy one does.
fn serves(model: &ContainerModel, c: &Container) -> bool {
    match model.profile() {
        Some(_) => c.listening(),
        None => matches!(model.behaviour, super::behaviour::Behaviour::Sleep(_)) && matches!(c.life, Life::Running(_)),
    }
}

/// Whether the process accepts connections on a port. A container that declares no ports, and whose command and image say
/// nothing of any, listens wherever it is asked.
pub fn accepts(model: &ContainerModel, c: &Container, port: u16) -> bool {
    model.profile().is_some_and(|p| p.listens) && c.listening() && (model.ports.is_empty() || model.ports.contains(&port))
}

fn connect(world: &mut World, pod: &PodRun, model: &ContainerModel, c: &Container, port: u16, timeout: f64) -> Result<f64, Fault> {
    let (out, back) = (ingress(pod, None), egress(pod, None));
    let there = out.segment(world, 60.0).ok_or(Fault::Late)?;
    let back = back.segment(world, 60.0).ok_or(Fault::Late)?;
    let took = LOCAL + there + back;
    if took > timeout {
        Err(Fault::Late)
    } else if accepts(model, c, port) {
        Ok(took)
    } else {
        Err(Fault::Refused)
    }
}

fn exchange(world: &mut World, pod: &PodRun, model: &ContainerModel, c: &Container, port: u16, timeout: f64) -> Result<Duration, Fault> {
    let took = connect(world, pod, model, c, port, timeout)?;
    let served = model.profile().map_or(0.0, |p| p.latency.as_secs_f64() + work_time(model, c, p.cpu_per_request_s));
    let there = ingress(pod, None).segment(world, 200.0).ok_or(Fault::Late)?;
    let back = egress(pod, None).segment(world, 400.0).ok_or(Fault::Late)?;
    let total = took + served + there + back + LOCAL;
    if total > timeout { Err(Fault::Late) } else { Duration::try_from_secs_f64(total).map_err(|_| Fault::Late) }
}
