//! Checks of systems.

use std::collections::BTreeSet;

use super::{Subject, is_dns_label, located, quantities, scope};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::manifest::spans::{child, item};
use crate::manifest::system::{Profile, Service, path_matches};
use crate::manifest::{Catalog, Kind, SystemManifest};
use crate::template;

const FAMILIES: [&str; 5] = ["debian-slim", "debian", "alpine", "busybox", "distroless"];

pub(super) fn check(catalog: &Catalog, diagnostics: &mut Diagnostics) {
    for (name, system) in &catalog.systems {
        let mut subject = Subject::new(catalog, diagnostics, Kind::System, name);
        one(&mut subject, system);
    }
}

fn one(s: &mut Subject<'_>, system: &SystemManifest) {
    if !is_dns_label(&system.namespace) {
        s.add("namespace", "bad_name", format!("`{}` cannot name a namespace", system.namespace), None);
    }
    s.pause("deploy.ready_timeout", &system.deploy.ready_timeout);
    s.not_empty("deploy.manifests", system.deploy.manifests.len(), "template");
    for (i, manifest) in system.deploy.manifests.iter().enumerate() {
        let file = format!("systems/{}/{manifest}", system.name);
        if s.template_file(&item("deploy.manifests", i), &file, &scope::system()) {
            render(s, system, &file);
        }
    }
    s.not_empty("services", system.services.len(), "service");
    s.once(|i| child(&item("services", i), "name"), "service", system.services.iter().map(|x| x.name.as_str()));
    for (i, service) in system.services.iter().enumerate() {
        one_service(s, system, service, &item("services", i));
    }
    for (name, profile) in &system.profiles {
        one_profile(s, profile, &child("profiles", name));
    }
    let services: BTreeSet<&str> = system.services.iter().map(|x| x.name.as_str()).collect();
    for (i, entry) in system.traffic.iter().enumerate() {
        let path = item("traffic", i);
        s.named(&child(&path, "service"), "service", &entry.service, services.iter().copied());
        if entry.rate <= 0.0 || entry.rate > 10_000.0 {
            s.add(&child(&path, "rate"), "out_of_range", "the rate must be above 0 and at most 10000 requests a second", None);
        }
    }
    for (fault, targets) in &system.targets {
        let path = child("targets", fault);
        s.named_key(&path, "fault", fault, s.catalog.names(Kind::Fault));
        s.not_empty(&path, targets.len(), "service");
        s.once(|i| item(&path, i), "service", targets.iter().map(String::as_str));
        for (i, target) in targets.iter().enumerate() {
            s.named(&item(&path, i), "service", target.strip_prefix('!').unwrap_or(target), services.iter().copied());
        }
        let without = targets.iter().filter(|t| t.starts_with('!')).count();
        if without != 0 && without != targets.len() {
            s.add(
                &path,
                "mixed_targets",
                "either all of these name services to hit, or all begin with `!` and name those to leave out",
                None,
            );
        }
    }
}

fn one_service(s: &mut Subject<'_>, system: &SystemManifest, service: &Service, path: &str) {
    let at = |key: &str| child(path, key);
    if !is_dns_label(&service.name) {
        s.add(&at("name"), "bad_name", format!("`{}` cannot name a Deployment and a Service", service.name), None);
    }
    if service.port == 0 {
        s.add(&at("port"), "out_of_range", "a port is between 1 and 65535", None);
    }
    s.word(&at("kind"), &service.kind, &["Deployment", "StatefulSet"]);
    s.named(&at("profile"), "profile", &service.profile, system.profiles.keys().map(String::as_str));
    quantities(s, &at("cpu"), &service.cpu);
    quantities(s, &at("memory"), &service.memory);
    for (i, call) in service.calls.iter().enumerate() {
        let path = item(&at("calls"), i);
        s.named(&child(&path, "service"), "service", &call.service, system.services.iter().map(|x| x.name.as_str()));
        s.pause(&child(&path, "timeout"), &call.timeout);
        if let Some(callee) = system.service(&call.service)
            && call.path != "*"
            && !callee.paths.iter().any(|p| path_matches(p, &call.path))
            && !callee.paths.is_empty()
        {
            s.named(&child(&path, "path"), "path", &call.path, callee.paths.iter().map(String::as_str));
        }
        for (j, own) in call.on.iter().enumerate().filter(|_| !service.paths.is_empty()) {
            s.named(&item(&child(&path, "on"), j), "path", own, service.paths.iter().map(String::as_str));
        }
    }
    for (i, init) in service.init.iter().enumerate() {
        let path = item(&at("init"), i);
        s.named(&child(&path, "profile"), "profile", &init.profile, system.profiles.keys().map(String::as_str));
        quantities(s, &child(&path, "cpu"), &init.cpu);
        quantities(s, &child(&path, "memory"), &init.memory);
        if system.profiles.get(&init.profile).is_some_and(|p| p.exit_code.is_none()) {
            let help = "give the profile an `exit_code`".to_owned();
            s.add(
                &child(&path, "profile"),
                "endless_init",
                format!("the init container `{}` never ends by this profile", init.name),
                Some(help),
            );
        }
    }
    let containers = || std::iter::once(service.main_container()).chain(service.sidecars.iter().map(|c| c.name.as_str()));
    for (i, sidecar) in service.sidecars.iter().enumerate() {
        let path = item(&at("sidecars"), i);
        s.named(&child(&path, "profile"), "profile", &sidecar.profile, system.profiles.keys().map(String::as_str));
        quantities(s, &child(&path, "cpu"), &sidecar.cpu);
        quantities(s, &child(&path, "memory"), &sidecar.memory);
        if containers().take(i + 1).any(|c| c == sidecar.name) {
            s.add(&child(&path, "name"), "duplicate_name", format!("the container `{}` is named twice", sidecar.name), None);
        }
    }
    if let Some(container) = &service.probe_container {
        s.named(&at("probe_container"), "container", container, containers());
    }
}

fn one_profile(s: &mut Subject<'_>, profile: &Profile, path: &str) {
    let at = |key: &str| child(path, key);
    s.word(&at("family"), &profile.family, &FAMILIES);
    s.duration(&at("startup_delay"), &profile.startup_delay);
    s.duration(&at("latency"), &profile.latency);
    s.duration(&at("exits_after"), &profile.exits_after);
    s.quantity(&at("idle_cpu"), &profile.idle_cpu);
    s.quantity(&at("memory"), &profile.memory);
    for (key, value) in [("startup_cpu_s", profile.startup_cpu_s), ("cpu_per_request_s", profile.cpu_per_request_s)] {
        if value < 0.0 {
            s.add(&at(key), "out_of_range", "this must not be negative", None);
        }
    }
}

/// Rendering finds what the names of variables alone do not show.
fn render(s: &mut Subject<'_>, system: &SystemManifest, file: &str) {
    let Some(source) = s.catalog.files.get(file) else { return };
    match template::render(file, &source.text, &system.context()) {
        Err(e) => s.diagnostics.push(located("bad_template", source, &e)),
        Ok(text) => {
            if let Err(e) = serde_saphyr::from_multiple::<serde_json::Value>(&text) {
                let message = format!("this template yields no valid YAML: {}", e.to_string().lines().next().unwrap_or_default());
                s.diagnostics.push(Diagnostic::new("bad_yaml", &source.shown, source.text.clone(), message));
            }
        }
    }
}
