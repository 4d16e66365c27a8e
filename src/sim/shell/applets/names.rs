//! `nslookup` (busybox's and BIND's), `dig` and `host`: questions to the name server and what comes of them.
//!
//! Forms and exit codes are those of busybox 1.35 and BIND 9.18, measured against a server that answers like CoreDNS.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::ping::resolve;
use crate::sim::shell::host::{Host, ResolveError};
use crate::sim::shell::process::Process;

/// How long busybox waits for a server: 5 s, twice.
const BUSYBOX_PATIENCE: Duration = Duration::from_secs(10);
/// How long BIND's tools wait for one question.
const PATIENCE: Duration = Duration::from_secs(5);
/// Seconds for which the cluster's names hold, and those outside.
const TTL: u32 = 5;
const TTL_OUTSIDE: u32 = 30;
/// The serial number of the cluster's zone.
const SERIAL: u32 = 1_700_000_000;
/// Types of records that are understood.
const TYPES: &str = "a aaaa any cname mx ns ptr soa srv txt";

/// A name server.
#[derive(Clone, Copy)]
struct Server {
    address: Ipv4Addr,
    /// Whether it is the one of the pod.
    own: bool,
}

impl Server {
    /// The pod's, or the one that somebody names.
    async fn find<H: Host>(p: &mut Process<H>, named: Option<&str>) -> Option<Self> {
        let own = p.host().name_server();
        let Some(named) = named else { return Some(Self { address: own, own: true }) };
        let address = resolve(p, named).await.ok()?;
        Some(Self { address, own: address == own })
    }

    /// What it says to one question of a type: addresses or names, none when the name has no such record.
    fn ask<H: Host>(self, p: &Process<H>, name: &str, kind: &str) -> Result<Vec<String>, ResolveError> {
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

fn in_cluster(name: &str) -> bool {
    name.trim_end_matches('.').ends_with(".local")
}

/// `5.0.43.10.in-addr.arpa` of an address.
fn arpa(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{d}.{c}.{b}.{a}.in-addr.arpa")
}

fn reversed(name: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = name.strip_suffix(".in-addr.arpa")?.parse().ok()?;
    let [a, b, c, d] = address.octets();
    Some(Ipv4Addr::new(d, c, b, a))
}

/// The names to ask for, in order, as the C library and BIND do it.
fn candidates<H: Host>(p: &Process<H>, name: &str) -> Vec<String> {
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
                    text.push_str(&format!("** server can't find {name}: NXDOMAIN\n\n"));
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
async fn unanswered<H: Host>(p: &mut Process<H>, server: Server, times: usize) {
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

/// What `dig` was told.
struct Question {
    name: String,
    kind: String,
    named: Option<String>,
    short: bool,
    search: bool,
    /// Sections that are shown: comments, question, answer, authority, statistics, and the line with the command.
    comments: bool,
    question: bool,
    answer: bool,
    authority: bool,
    stats: bool,
    cmd: bool,
}

impl Question {
    fn read(words: &[String]) -> Self {
        let mut q = Self {
            name: ".".to_owned(),
            kind: "a".to_owned(),
            named: None,
            short: false,
            search: false,
            comments: true,
            question: true,
            answer: true,
            authority: true,
            stats: true,
            cmd: true,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if let Some(option) = word.strip_prefix('+') {
                let (on, option) = option.strip_prefix("no").map_or((true, option), |rest| (false, rest));
                match option {
                    "short" => q.short = on,
                    "search" => q.search = on,
                    "comments" => q.comments = on,
                    "question" => q.question = on,
                    "answer" => q.answer = on,
                    "authority" => q.authority = on,
                    "stats" => q.stats = on,
                    "cmd" => q.cmd = on,
                    "all" => (q.comments, q.question, q.answer, q.authority, q.stats, q.cmd) = (on, on, on, on, on, on),
                    // Times and tries change nothing: a server answers or it does not.
                    _ => {}
                }
            } else if let Some(server) = word.strip_prefix('@') {
                q.named = Some(server.to_owned());
            } else if word == "-x" {
                let address = words.next().and_then(|a| a.parse().ok());
                q.name = address.map_or_else(String::new, arpa);
                "ptr".clone_into(&mut q.kind);
            } else if matches!(word.as_str(), "-t" | "-q" | "-p" | "-c" | "-b") {
                let value = words.next().cloned().unwrap_or_default();
                match word.as_str() {
                    "-t" => q.kind = value.to_lowercase(),
                    "-q" => q.name = value,
                    _ => {}
                }
            } else if TYPES.split(' ').any(|t| t == word.to_lowercase()) {
                q.kind = word.to_lowercase();
            } else if !word.starts_with('-') && !word.eq_ignore_ascii_case("in") {
                q.name.clone_from(word);
            }
        }
        q
    }
}

/// `dig [@SERVER] [NAME] [TYPE] [+OPTION ...]`
pub(super) async fn dig<H: Host>(p: &mut Process<H>) -> i32 {
    let q = Question::read(p.args.get(1..).unwrap_or_default());
    let Some(server) = Server::find(p, q.named.as_deref()).await else {
        p.print(format!("dig: couldn't get address for '{}': not found\n", q.named.unwrap_or_default()));
        return 10;
    };
    let names = if q.search { candidates(p, &q.name) } else { vec![q.name.trim_end_matches('.').to_owned()] };
    let mut shown = (names.first().cloned().unwrap_or_default(), Err(ResolveError::NoSuchName));
    for name in names {
        let result = server.ask(p, &name, &q.kind);
        let over = result != Err(ResolveError::NoSuchName);
        shown = (name, result);
        if over {
            break;
        }
    }
    let command = p.args.get(1..).unwrap_or_default().join(" ");
    let banner = format!("\n; <<>> DiG 9.18.39-1~deb12u1-Debian <<>> {command}\n;; global options: +cmd\n");
    let (name, result) = shown;
    if result == Err(ResolveError::NoAnswer) {
        unanswered(p, server, 3).await;
        if !q.short && q.cmd {
            p.print(banner);
        }
        p.print(";; no servers could be reached\n");
        return 9;
    }
    let found = result.clone().unwrap_or_default();
    if q.short {
        for value in found {
            p.line(if q.kind == "ptr" { format!("{value}.") } else { value });
        }
        return 0;
    }
    let (text, size) = message(&q, &name, &result, p.host().uniform());
    let mut out = if q.cmd { banner } else { String::new() };
    if q.cmd && q.named.is_some() {
        out = out.replacen("\n;; global", "\n; (1 server found)\n;; global", 1);
    }
    out.push_str(&text);
    if q.stats {
        let when = p.host().now().strftime("%a %b %d %H:%M:%S UTC %Y");
        out.push_str(&format!(
            ";; Query time: 0 msec\n;; SERVER: {0}#53({0}) (UDP)\n;; WHEN: {when}\n;; MSG SIZE  rcvd: {size}\n\n",
            server.address
        ));
    }
    p.print(out);
    0
}

/// The sections of an answer, and how many bytes it has.
fn message(q: &Question, name: &str, result: &Result<Vec<String>, ResolveError>, chance: f64) -> (String, usize) {
    let ours = in_cluster(name) || q.kind == "ptr";
    let status = if result.is_err() { "NXDOMAIN" } else { "NOERROR" };
    let found = result.clone().unwrap_or_default();
    let authority = found.is_empty() && in_cluster(name);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number below 2^16 for a chance below 1")]
    let id = (chance * 65_536.0) as u16;
    let cookie = (chance * 1e15).to_bits();
    let mut out = String::new();
    let flags = if ours { "qr aa rd" } else { "qr rd ra" };
    // A message's head, the question, and the pseudo-record with the cookie.
    let wire = |name: &str| if name.is_empty() || name == "." { 1 } else { name.len() + 2 };
    let mut size = 12 + wire(name) + 4 + 23;
    if q.comments {
        out.push_str(";; Got answer:\n");
        if in_cluster(name) {
            out.push_str(
                ";; WARNING: .local is reserved for Multicast DNS\n;; You are currently testing what happens when an mDNS query is leaked to DNS\n",
            );
        }
        out.push_str(&format!(
            ";; ->>HEADER<<- opcode: QUERY, status: {status}, id: {id}\n;; flags: {flags}; QUERY: 1, ANSWER: {}, AUTHORITY: {}, ADDITIONAL: 1\n",
            found.len(),
            u8::from(authority)
        ));
        if ours {
            out.push_str(";; WARNING: recursion requested but not available\n");
        }
        out.push_str(&format!("\n;; OPT PSEUDOSECTION:\n; EDNS: version: 0, flags:; udp: 1232\n; COOKIE: {cookie:016x} (echoed)\n"));
    }
    let kind = q.kind.to_uppercase();
    let dotted = format!("{}.", name.trim_end_matches('.'));
    if q.question {
        out.push_str(&format!(";; QUESTION SECTION:\n;{}IN\t{kind}\n\n", padded(&dotted, 31)));
    }
    let ttl = if ours { TTL } else { TTL_OUTSIDE };
    if !found.is_empty() {
        if q.answer && q.comments {
            out.push_str(";; ANSWER SECTION:\n");
        }
        for value in &found {
            size += wire(name) + 10 + if q.kind == "ptr" { wire(value) } else { 4 };
            let value = if q.kind == "ptr" { format!("{value}.") } else { value.clone() };
            if q.answer {
                out.push_str(&format!("{}{ttl}\tIN\t{kind}\t{value}\n", padded(&dotted, 24)));
            }
        }
        if q.answer && q.comments {
            out.push('\n');
        }
    }
    if authority {
        size += 15 + 10 + 22 + 26 + 20;
        if q.authority {
            if q.comments {
                out.push_str(";; AUTHORITY SECTION:\n");
            }
            let zone = padded("cluster.local.", 24);
            out.push_str(&format!(
                "{zone}{TTL}\tIN\tSOA\tns.dns.cluster.local. hostmaster.cluster.local. {SERIAL} 7200 1800 86400 {TTL}\n"
            ));
            if q.comments {
                out.push('\n');
            }
        }
    }
    (out, size)
}

/// A name with tabs up to a column, or one space where there is no room.
fn padded(name: &str, column: usize) -> String {
    let mut at = name.len();
    if at >= column {
        return format!("{name}{}", if column == 24 { " " } else { "\t" });
    }
    let mut out = name.to_owned();
    while at < column {
        out.push('\t');
        at = (at / 8 + 1) * 8;
    }
    out
}
