//! Webhooks: no process of the modelled cluster speaks their protocol, so a call ends as it does with whatever stands there.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Request;
use super::matching::{self, matches};
use super::policy::{self, Compiled};
use crate::sim::cel::Budget;
use crate::sim::kubelet;
use crate::sim::registry::forbidden;
use crate::sim::resource::{Key, Resource};
use crate::sim::status::Status;
use crate::sim::world::World;

/// One webhook of a configuration.
#[derive(Debug)]
pub(super) struct Webhook {
    /// The webhook as it is configured.
    hook: Value,
    conditions: Vec<Compiled>,
}

impl Webhook {
    /// Those of a configuration.
    pub(super) fn all(configuration: &Arc<Value>) -> Vec<Self> {
        let names = policy::names(false, false);
        let hooks = configuration["webhooks"].as_array().into_iter().flatten();
        let made = hooks.map(|hook| Self {
            conditions: hook["matchConditions"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|c| policy::compile(&c["expression"], &names))
                .collect(),
            hook: hook.clone(),
        });
        made.collect()
    }

    fn name(&self) -> &str {
        self.hook["name"].as_str().unwrap_or_default()
    }

    fn fails_open(&self) -> bool {
        self.hook["failurePolicy"] == "Ignore"
    }

    /// Calls the webhook, if the write is one of those that it asked for.
    pub(super) fn call(&self, world: &World, request: &Request<'_>, budget: &mut Budget) -> Result<(), Status> {
        if !matching::has_rules(&self.hook, "rules")
            || !matches(world, &self.hook, "rules", request)
            || !self.wants(world, request, budget)?
        {
            return Ok(());
        }
        let dry = world.requester.as_ref().is_some_and(|r| r.dry_run);
        if dry && !matches!(self.hook["sideEffects"].as_str(), Some("None" | "NoneOnDryRun")) {
            return Err(Status::bad_request(format!("admission webhook \"{}\" does not support dry run", self.name())));
        }
        // Whoever fails open has nothing to say: nobody answers.
        if self.fails_open() {
            return Ok(());
        }
        let seconds = self.hook["timeoutSeconds"].as_u64().unwrap_or(10);
        let client = &self.hook["clientConfig"];
        let service = &client["service"];
        let (url, why) = if service.is_object() {
            let text = |field: &str| service[field].as_str().unwrap_or_default();
            let (name, namespace) = (text("name"), text("namespace"));
            let port = service["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443);
            let path = Some(text("path")).filter(|p| !p.is_empty()).unwrap_or("/");
            (format!("https://{name}.{namespace}.svc:{port}{path}?timeout={seconds}s"), obstacle(world, namespace, name, port))
        } else {
            let url = client["url"].as_str().unwrap_or_default();
            (format!("{url}{}timeout={seconds}s", if url.contains('?') { '&' } else { '?' }), outside(url))
        };
        let text = format!("failed calling webhook {:?}: failed to call webhook: Post {url:?}: {why}", self.name());
        let mut status = Status::new(500, "InternalError", format!("Internal error occurred: {text}"));
        status.details = json!({"causes": [{"message": text}]});
        Err(status)
    }

    fn wants(&self, world: &World, request: &Request<'_>, budget: &mut Budget) -> Result<bool, Status> {
        if self.conditions.is_empty() {
            return Ok(true);
        }
        let uses = |name: &str| self.conditions.iter().any(|(_, c)| c.as_ref().is_ok_and(|e| e.uses(name)));
        let scope = policy::scope(world, request, uses);
        let mut failure = None;
        for (text, condition) in &self.conditions {
            let outcome = match condition {
                Ok(expression) => expression.evaluate(&scope, budget).map_err(|e| e.to_string()),
                Err(why) => Err(why.clone()),
            };
            match outcome {
                Ok(outcome) if outcome.is_true() => {}
                // One condition that does not hold is enough, whatever the others are.
                Ok(_) => return Ok(false),
                Err(why) => failure = failure.or(Some(format!("expression '{text}' resulted in error: {why}"))),
            }
        }
        match failure {
            None => Ok(true),
            Some(_) if self.fails_open() => Ok(false),
            Some(why) => Err(forbidden(&request.key.resource, &request.key.name, &why)),
        }
    }
}

/// Why the server gets no answer from a service.
fn obstacle(world: &World, namespace: &str, name: &str, port: u16) -> String {
    let get = |plural: &str| world.store.get(&Key::new(&Resource::new("", plural), namespace, name));
    let Some(service) = get("services") else { return format!("service {name:?} not found") };
    let given = service["spec"]["ports"].as_array().into_iter().flatten().find(|p| p["port"] == port);
    let Some(given) = given else { return format!("no service port {port} found for service {name:?}") };
    let subsets = get("endpoints").map(|e| e["subsets"].clone()).unwrap_or_default();
    let named = |p: &&Value| p["name"].as_str().unwrap_or_default() == given["name"].as_str().unwrap_or_default();
    let mut behind = subsets.as_array().into_iter().flatten().flat_map(|subset| {
        let number = subset["ports"].as_array().into_iter().flatten().find(named).and_then(|p| p["port"].as_u64());
        let number = number.and_then(|n| u16::try_from(n).ok()).unwrap_or(port);
        subset["addresses"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(move |a| Some((a["ip"].as_str()?.parse::<Ipv4Addr>().ok()?, number)))
    });
    let Some((address, number)) = behind.next() else { return format!("no endpoints available for service {name:?}") };
    if listens(world, address, number) {
        // What listens there serves its requests in the clear.
        return "http: server gave HTTP response to HTTPS client".to_owned();
    }
    let address = service["spec"]["clusterIP"].as_str().filter(|ip| !matches!(*ip, "" | "None")).map_or(address.to_string(), str::to_owned);
    format!("dial tcp {address}:{port}: connect: connection refused")
}

fn listens(world: &World, address: Ipv4Addr, port: u16) -> bool {
    let pod = world.runtime.pods.values().find(|pod| pod.address == Some(address));
    pod.is_some_and(|pod| pod.model.containers.iter().zip(&pod.containers).any(|(model, c)| kubelet::accepts(model, c, port)))
}

/// Why the server gets no answer from an address outside: there is nothing outside the modelled cluster.
fn outside(url: &str) -> String {
    let uri: http::Uri = url.parse().unwrap_or_default();
    let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443));
    if host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok() || host == "localhost" {
        let address = if host == "localhost" { "127.0.0.1" } else { host };
        return format!("dial tcp {address}:{port}: connect: connection refused");
    }
    format!("dial tcp: lookup {host}: no such host")
}
