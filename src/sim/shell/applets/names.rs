//! `nslookup` (busybox's and BIND's) and `host`: questions to the name server and what comes of them.
//!
//! Forms and exit codes are those of busybox 1.35 and BIND 9.18, measured against a server that answers like `CoreDNS`.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::ping::resolve;
use crate::sim::shell::host::{Host, ResolveError};
use crate::sim::shell::process::Process;

/// How long busybox waits for a server: 5 s, twice.
const BUSYBOX_PATIENCE: Duration = Duration::from_secs(10);
/// How long BIND's tools wait for one question.
const PATIENCE: Duration = Duration::from_secs(5);
/// Types of records that are understood.
pub(super) const TYPES: &str = "a aaaa any cname mx ns ptr soa srv txt";

/// A name server.
#[derive(Clone, Copy)]
pub(super) struct Server {
    pub(super) address: Ipv4Addr,
    /// Whether it is the one of the pod.
    own: bool,
}

impl Server {
    /// The pod's, or the one that somebody names.
    pub(super) async fn find<H: Host>(p: &mut Process<H>, named: Option<&str>) -> Option<Self> {
        let own = p.host().name_server();
        let Some(named) = named else { return Some(Self { address: own, own: true }) };
        let address = resolve(p, named).await.ok()?;
        Some(Self { address, own: address == own })
    }

    /// What it says to one question of a type: addresses or names, none when the name has no such record.
    pub(super) fn ask<H: Host>(self, p: &Process<H>, name: &str, kind: &str) -> Result<Vec<String>, ResolveError> {
        let name = name.trim_end_matches('.');
        if kind == "ptr" {
            let address = reversed(name).ok_or(ResolveError::NoSuchName)?;
            if !self.own {
                return Err(self.silence());
            }
            return p.host().pointer(address).map(|name| vec![name]);
        }
        if !self.own && in_cluster(name) {
            return Err(self.silence());
        }
        let found = p.host().records(name)?;
        Ok(if matches!(kind, "a" | "any") { found.iter().map(Ipv4Addr::to_string).collect() } else { Vec::new() })
    }

    /// What a server outside knows of the cluster: nothing; other addresses have none.
    fn silence(self) -> ResolveError {
        let a = self.address;
        if a.is_private() || a.is_loopback() || a.is_documentation() || a.is_unspecified() {
            ResolveError::NoAnswer
        } else {
            ResolveError::NoSuchName
        }
    }
}

pub(super) fn in_cluster(name: &str) -> bool {
    name.trim_end_matches('.').rsplit('.').next() == Some("local")
}

/// `5.0.43.10.in-addr.arpa` of an address.
pub(super) fn arpa(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{d}.{c}.{b}.{a}.in-addr.arpa")
}

fn reversed(name: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = name.strip_suffix(".in-addr.arpa")?.parse().ok()?;
    let [a, b, c, d] = address.octets();
    Some(Ipv4Addr::new(d, c, b, a))
}

/// The names to ask for, in order, as the C library and BIND do it.
pub(super) fn candidates<H: Host>(p: &Process<H>, name: &str) -> Vec<String> {
    if name.ends_with('.') {
        return vec![name.trim_end_matches('.').to_owned()];
    }
    let text = p.host().resolver();
    let words = |wanted: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|l| l.strip_prefix(wanted));
        lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
    };
    let dots = words("options").iter().find_map(|o| o.strip_prefix("ndots:")?.parse::<usize>().ok()).unwrap_or(1);
    let mut all: Vec<String> = words("search").iter().filter(|d| *d != ".").map(|domain| format!("{name}.{domain}")).collect();
    let place = if name.matches('.').count() >= dots { 0 } else { all.len() };
    all.insert(place, name.to_owned());
    all
}

/// `nslookup [-type=TYPE] NAME [SERVER]`
pub(super) async fn nslookup<H: Host>(p: &mut Process<H>) -> i32 {
    let busybox = p.machine.busybox();
    let (options, words): (Vec<String>, Vec<String>) = p.args.iter().skip(1).cloned().partition(|w| w.starts_with('-'));
    let given = options.iter().find_map(|o| ["-type=", "-query=", "-querytype=", "-q=", "-ty="].iter().find_map(|t| o.strip_prefix(t)));
    let kind = given.map(str::to_lowercase);
    if let Some(kind) = kind.as_deref().filter(|k| !TYPES.split(' ').any(|t| t == *k)) {
        if busybox {
            p.raw_error(format!("nslookup: invalid query type \"{kind}\"\n"));
            return 1;
        }
        p.print(format!("unknown query type: {kind}\n"));
    }
    let Some(name) = words.first().cloned() else {
        if busybox {
            p.raw_error(
                "BusyBox v1.35.0 (2022-05-12 19:05:02 UTC) multi-call binary.\n\nUsage: nslookup [-type=QUERY_TYPE] [-debug] HOST \
                 [DNS_SERVER]\n\nQuery DNS about HOST\n\nQUERY_TYPE: soa,ns,a,aaaa,cname,mx,txt,ptr,srv,any\n",
            );
            return 1;
        }
        // Without a terminal the interactive mode ends at once.
        return 0;
    };
    let named = words.get(1).cloned();
    let Some(server) = Server::find(p, named.as_deref()).await else {
        let named = named.unwrap_or_default();
        if busybox {
            p.raw_error(format!("nslookup: bad address '{named}'\n"));
        } else {
            p.print(format!("nslookup: couldn't get address for '{named}': not found\n"));
        }
        return 1;
    };
    if busybox { of_busybox(p, &name, kind.as_deref(), server, named.is_some()).await } else { of_bind(p, &name, kind, server).await }
}

/// busybox asks for addresses of both kinds, for short names below every search domain, and shows every answer.
async fn of_busybox<H: Host>(p: &mut Process<H>, name: &str, kind: Option<&str>, server: Server, explicit: bool) -> i32 {
    let kinds = match (kind, name.parse::<Ipv4Addr>()) {
        (Some(kind), _) => vec![kind],
        (None, Ok(_)) => vec!["ptr"],
        (None, Err(_)) => vec!["a", "aaaa"],
    };
    let names = match name.parse::<Ipv4Addr>() {
        Ok(address) if kinds == ["ptr"] => vec![arpa(address)],
        _ if name.contains('.') || explicit => vec![name.trim_end_matches('.').to_owned()],
        // The name by itself is not among them.
        _ => candidates(p, name).into_iter().filter(|n| n != name).collect(),
    };
    let names = if names.is_empty() { vec![name.to_owned()] } else { names };
    let mut text = format!("Server:\t\t{0}\nAddress:\t{0}:53\n\n", server.address);
    let mut code = 0;
    for kind in kinds {
        for name in &names {
            match server.ask(p, name, kind) {
                Err(ResolveError::NoAnswer) => {
                    p.sleep(BUSYBOX_PATIENCE).await;
                    p.print(";; connection timed out; no servers could be reached\n\n");
                    return 1;
                }
                Err(ResolveError::NoSuchName) => {
                    text.extend([format!("** server can't find {name}: NXDOMAIN\n\n")]);
                    code = 1;
                }
                Ok(found) => {
                    if !in_cluster(name) && kind != "ptr" {
                        text.push_str("Non-authoritative answer:\n");
                    }
                    for value in found {
                        let line =
                            if kind == "ptr" { format!("{name}\tname = {value}\n") } else { format!("Name:\t{name}\nAddress: {value}\n") };
                        text.push_str(&line);
                    }
                    text.push('\n');
                }
            }
        }
    }
    p.print(text);
    code
}

/// BIND's tools complain of each question that nobody answers.
pub(super) async fn unanswered<H: Host>(p: &mut Process<H>, server: Server, times: usize) {
    for _ in 0..times {
        p.sleep(PATIENCE).await;
        p.print(format!(";; communications error to {}#53: timed out\n", server.address));
    }
}

async fn of_bind<H: Host>(p: &mut Process<H>, name: &str, kind: Option<String>, server: Server) -> i32 {
    let head = format!("Server:\t\t{0}\nAddress:\t{0}#53\n\n", server.address);
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        let name = arpa(address);
        match server.ask(p, &name, "ptr") {
            Ok(found) => {
                for target in found {
                    p.print(format!("{name}\tname = {target}.\n\n"));
                }
                return 0;
            }
            Err(ResolveError::NoSuchName) => p.print(format!("** server can't find {name}: NXDOMAIN\n\n")),
            Err(ResolveError::NoAnswer) => {
                unanswered(p, server, 3).await;
                p.print(";; no servers could be reached\n\n");
            }
        }
        return 1;
    }
    let kind = kind.unwrap_or_else(|| "a".to_owned());
    for full in candidates(p, name) {
        match server.ask(p, &full, &kind) {
            Ok(found) => {
                p.print(head);
                if found.is_empty() {
                    p.print(format!("*** Can't find {name}: No answer\n\n"));
                    return 1;
                }
                if !in_cluster(&full) {
                    p.print("Non-authoritative answer:\n");
                }
                for address in found {
                    p.print(format!("Name:\t{full}\nAddress: {address}\n"));
                }
                p.print("\n");
                return 0;
            }
            Err(ResolveError::NoSuchName) => {}
            Err(ResolveError::NoAnswer) => {
                unanswered(p, server, 3).await;
                p.print(";; no servers could be reached\n\n");
                return 1;
            }
        }
    }
    p.print(format!("{head}** server can't find {name}: NXDOMAIN\n\n"));
    1
}

/// `host NAME [SERVER]`
pub(super) async fn host<H: Host>(p: &mut Process<H>) -> i32 {
    let words: Vec<String> = p.args.iter().skip(1).filter(|w| !w.starts_with('-')).cloned().collect();
    let Some(name) = words.first().cloned() else {
        p.raw_error("Usage: host [-aCdilrTvVw] [-c class] [-N ndots] [-t type] [-W time]\n            [-R number] [-m flag] [-p port] hostname [server]\n");
        return 1;
    };
    let Some(server) = Server::find(p, words.get(1).map(String::as_str)).await else {
        p.print(format!("host: couldn't get address for '{}': not found\n", words.get(1).map_or("", String::as_str)));
        return 1;
    };
    let (names, kind) = match name.parse::<Ipv4Addr>() {
        Ok(address) => (vec![arpa(address)], "ptr"),
        Err(_) => (candidates(p, &name), "a"),
    };
    for full in &names {
        match server.ask(p, full, kind) {
            Ok(found) => {
                for value in found {
                    p.line(if kind == "ptr" {
                        format!("{full} domain name pointer {value}.")
                    } else {
                        format!("{full} has address {value}")
                    });
                }
                return 0;
            }
            Err(ResolveError::NoSuchName) => {}
            Err(ResolveError::NoAnswer) => {
                unanswered(p, server, 2).await;
                p.print(";; no servers could be reached\n");
                return 1;
            }
        }
    }
    let shown = if kind == "ptr" { names.first().cloned().unwrap_or(name) } else { name };
    p.line(format!("Host {shown} not found: 3(NXDOMAIN)"));
    1
}
