//! `dig`: a message of the name server with all its sections.

use super::names::{Server, TYPES, arpa, candidates, in_cluster, unanswered};
use crate::sim::shell::host::{Host, ResolveError};
use crate::sim::shell::process::Process;

/// Seconds for which the cluster's names hold, and those outside.
const TTL: u32 = 5;
const TTL_OUTSIDE: u32 = 30;
/// The serial number of the cluster's zone.
const SERIAL: u32 = 1_700_000_000;

/// What `dig` was told.
struct Question {
    name: String,
    kind: String,
    named: Option<String>,
    short: bool,
    search: bool,
    /// Sections that are shown.
    sections: Vec<&'static str>,
}

/// The parts of what is printed: the line with the command, comments, the sections of a message, statistics.
const SECTIONS: [&str; 6] = ["cmd", "comments", "question", "answer", "authority", "stats"];

impl Question {
    fn read(words: &[String]) -> Self {
        let mut q =
            Self { name: ".".to_owned(), kind: "a".to_owned(), named: None, short: false, search: false, sections: SECTIONS.to_vec() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if let Some(option) = word.strip_prefix('+') {
                let (on, option) = option.strip_prefix("no").map_or((true, option), |rest| (false, rest));
                match option {
                    "short" => q.short = on,
                    "search" => q.search = on,
                    // Times and tries change nothing: a server answers or it does not.
                    _ => q.show(option, on),
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

    /// `+[no]all`, `+[no]answer` and the like.
    fn show(&mut self, section: &str, on: bool) {
        for one in SECTIONS.into_iter().filter(|s| section == "all" || *s == section) {
            self.sections.retain(|s| *s != one);
            if on {
                self.sections.push(one);
            }
        }
    }

    fn shows(&self, section: &str) -> bool {
        self.sections.contains(&section)
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
        if !q.short && q.shows("cmd") {
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
    let mut out = if q.shows("cmd") { banner } else { String::new() };
    if q.shows("cmd") && q.named.is_some() {
        out = out.replacen("\n;; global", "\n; (1 server found)\n;; global", 1);
    }
    out.push_str(&text);
    if q.shows("stats") {
        let when = p.host().now().strftime("%a %b %d %H:%M:%S UTC %Y");
        out.extend([format!(
            ";; Query time: 0 msec\n;; SERVER: {0}#53({0}) (UDP)\n;; WHEN: {when}\n;; MSG SIZE  rcvd: {size}\n\n",
            server.address
        )]);
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
    if q.shows("comments") {
        out.push_str(";; Got answer:\n");
        if in_cluster(name) {
            out.push_str(
                ";; WARNING: .local is reserved for Multicast DNS\n;; You are currently testing what happens when an mDNS query is leaked to DNS\n",
            );
        }
        out.extend([format!(
            ";; ->>HEADER<<- opcode: QUERY, status: {status}, id: {id}\n;; flags: {flags}; QUERY: 1, ANSWER: {}, AUTHORITY: {}, ADDITIONAL: 1\n",
            found.len(),
            u8::from(authority)
        )]);
        if ours {
            out.push_str(";; WARNING: recursion requested but not available\n");
        }
        out.extend([format!("\n;; OPT PSEUDOSECTION:\n; EDNS: version: 0, flags:; udp: 1232\n; COOKIE: {cookie:016x} (echoed)\n")]);
    }
    let kind = q.kind.to_uppercase();
    let dotted = format!("{}.", name.trim_end_matches('.'));
    if q.shows("question") {
        out.extend([format!(";; QUESTION SECTION:\n;{}IN\t{kind}\n\n", padded(&dotted, 31))]);
    }
    let ttl = if ours { TTL } else { TTL_OUTSIDE };
    if !found.is_empty() {
        if q.shows("answer") && q.shows("comments") {
            out.push_str(";; ANSWER SECTION:\n");
        }
        for value in &found {
            size += wire(name) + 10 + if q.kind == "ptr" { wire(value) } else { 4 };
            let value = if q.kind == "ptr" { format!("{value}.") } else { value.clone() };
            if q.shows("answer") {
                out.extend([format!("{}{ttl}\tIN\t{kind}\t{value}\n", padded(&dotted, 24))]);
            }
        }
        if q.shows("answer") && q.shows("comments") {
            out.push('\n');
        }
    }
    if authority {
        size += 15 + 10 + 22 + 26 + 20;
        if q.shows("authority") {
            if q.shows("comments") {
                out.push_str(";; AUTHORITY SECTION:\n");
            }
            let zone = padded("cluster.local.", 24);
            out.extend([format!("{zone}{TTL}\tIN\tSOA\tns.dns.cluster.local. hostmaster.cluster.local. {SERIAL} 7200 1800 86400 {TTL}\n")]);
            if q.shows("comments") {
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
