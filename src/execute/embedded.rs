//! From a system's manifest to the configuration of an embedded cluster that models it.

use std::time::Duration;

use crate::cluster::Embedded;
use crate::manifest::system::{Profile as ProfileManifest, Service as SystemService, SystemManifest};
use crate::manifest::{TimeSection, duration, quantity};
use crate::sim::config::{Call, ClockMode, EntryLoad, Profile, WorkloadModel};

/// The cluster that models a system. Errors name the value; `check` finds them all beforehand.
pub fn of_system(system: &SystemManifest, time: &TimeSection, seed: u64) -> Result<Embedded, String> {
    let mut config = Embedded { seed, clock: clock(time)?, ..Embedded::default() };
    let span = |text: &str| duration::parse(text).map_err(|e| format!("{text:?}: {e}"));
    for service in &system.services {
        let labels = [("app".to_owned(), service.name.clone())].into();
        let mut calls = Vec::new();
        for call in &service.calls {
            let port = system.services.iter().find(|s| s.name == call.service).map_or(80, SystemService::entry_port);
            calls.push(Call {
                service: call.service.clone(),
                port,
                path: call.path.clone(),
                timeout: span(&call.timeout)?,
                on: call.on.clone(),
            });
        }
        let mut main = profile(system, &service.profile)?;
        main.paths.clone_from(&service.paths);
        for sidecar in service.sidecars.iter().chain(&service.init) {
            config.workloads.push(WorkloadModel {
                namespace: Some(system.namespace.clone()),
                labels: std::collections::BTreeMap::clone(&labels),
                container: Some(sidecar.name.clone()),
                profile: profile(system, &sidecar.profile)?,
                calls: Vec::new(),
            });
        }
        config.workloads.push(WorkloadModel {
            namespace: Some(system.namespace.clone()),
            labels,
            container: Some(service.main_container().to_owned()),
            profile: main,
            calls,
        });
    }
    for entry in &system.traffic {
        let port = system.services.iter().find(|s| s.name == entry.service).map_or(80, SystemService::entry_port);
        config.traffic.push(EntryLoad {
            namespace: system.namespace.clone(),
            service: entry.service.clone(),
            port,
            path: entry.path.clone(),
            rate: entry.rate,
        });
    }
    Ok(config)
}

/// The clock that a `[time]` section asks for.
pub fn clock(time: &TimeSection) -> Result<ClockMode, String> {
    match time.clock.as_str() {
        "skip" => Ok(ClockMode::Skip),
        "real" => Ok(ClockMode::Scaled(1.0)),
        "scaled" if time.speed.is_finite() && time.speed > 0.0 => Ok(ClockMode::Scaled(time.speed)),
        "scaled" => Err(format!("time.speed = {} is no positive number", time.speed)),
        other => Err(format!("time.clock = {other:?} is none of \"skip\", \"scaled\", \"real\"")),
    }
}

fn profile(system: &SystemManifest, name: &str) -> Result<Profile, String> {
    let p: &ProfileManifest = system.profiles.get(name).ok_or_else(|| format!("there is no profile {name:?}"))?;
    let span = |text: &str| -> Result<Duration, String> { duration::parse(text).map_err(|e| format!("{text:?}: {e}")) };
    let amount = |text: &str| quantity::parse(text).map_err(|e| format!("{text:?}: {e}"));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "quantities are positive and far below 2^53")]
    let memory = amount(&p.memory)? as u64;
    Ok(Profile {
        family: Some(p.family.clone()),
        programs: p.programs.clone(),
        startup_cpu_s: p.startup_cpu_s,
        startup_delay: span(&p.startup_delay)?,
        idle_cpu: amount(&p.idle_cpu)?,
        cpu_per_request_s: p.cpu_per_request_s,
        latency: span(&p.latency)?,
        memory,
        listens: p.listens,
        exit_code: p.exit_code,
        exits_after: span(&p.exits_after)?,
        log: p.log.clone(),
        ..Profile::default()
    })
}
