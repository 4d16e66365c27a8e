//! `nslookup`, `getent`, `nc`, `wget`, `curl`, `ip`, `ifconfig`.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::options::{self, Options};
use super::ping::resolve;
use super::time::duration;
use crate::sim::shell::files::Content;
use crate::sim::shell::host::{ConnectError, Host, HttpAnswer, HttpCall, ResolveError};
use crate::sim::shell::process::Process;

/// How long a client waits for a connection when nothing says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(130);

/// `nslookup NAME [SERVER]`
pub(super) async fn nslookup<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "", &[]);
    let Some(name) = options.rest.first().cloned() else {
        p.raw_error("Usage: nslookup [-type=QUERY_TYPE] HOST [DNS_SERVER]\n");
        return 1;
    };
    let server = options.rest.get(1).cloned().unwrap_or_else(|| p.host().name_server().to_string());
    let result = resolve(p, &name).await;
    if result == Err(ResolveError::NoAnswer) {
        p.print(";; connection timed out; no servers could be reached\n\n");
        return 1;
    }
    let busybox = p.machine.busybox();
    p.print(if busybox {
        format!("Server:\t\t{server}\nAddress:\t{server}:53\n\n")
    } else {
        format!("Server:\t\t{server}\nAddress:\t{server}#53\n\n")
    });
    let full = if name.contains('.') { name.clone() } else { format!("{name}.{}.svc.cluster.local", p.host().namespace()) };
    if let Ok(address) = result {
        p.print(format!("Name:\t{full}\nAddress: {address}\n\n"));
        0
    } else {
        p.print(format!("** server can't find {name}: NXDOMAIN\n\n"));
        1
    }
}

/// `getent hosts NAME`
pub(super) async fn getent<H: Host>(p: &mut Process<H>) -> i32 {
    let (base, name) = (p.args.get(1).cloned().unwrap_or_default(), p.args.get(2).cloned().unwrap_or_default());
    match base.as_str() {
        "hosts" | "ahosts" | "ahostsv4" => match resolve(p, &name).await {
            Ok(address) if base == "hosts" => p.line(format!("{:<15} {name}", address.to_string())),
            Ok(address) => p.print(format!(
                "{:<15} STREAM {name}\n{:<15} DGRAM  \n{:<15} RAW    \n",
                address.to_string(),
                address.to_string(),
                address.to_string()
            )),
            Err(_) => return 2,
        },
        "passwd" | "group" => {
            let bytes = p.read_file(&format!("/etc/{base}")).await.unwrap_or_default();
            let found: Vec<String> =
                super::text::lines(&bytes).into_iter().filter(|l| name.is_empty() || l.starts_with(&format!("{name}:"))).collect();
            if found.is_empty() {
                return 2;
            }
            for line in found {
                p.line(line);
            }
        }
        _ => {
            p.raw_error(format!("Unknown database: {base}\n"));
            return 1;
        }
    }
    0
}

/// `nc [-z] [-v] [-w SECONDS] HOST PORT`
pub(super) async fn nc<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "zvnw:ulp:ei:q:N", &[]);
    if options.has('l') {
        p.complain("listening is not supported in this modelled container");
        return 1;
    }
    let (Some(name), Some(port)) = (options.rest.first().cloned(), options.rest.get(1).and_then(|t| t.parse::<u16>().ok())) else {
        p.raw_error("usage: nc [-zv] [-w timeout] host port\n");
        return 1;
    };
    let busybox = p.machine.busybox();
    let Ok(address) = resolve(p, &name).await else {
        p.raw_error(if busybox {
            format!("nc: bad address '{name}'\n")
        } else {
            format!("nc: getaddrinfo for host \"{name}\" port {port}: Name or service not known\n")
        });
        return 1;
    };
    let limit = options.value('w').and_then(duration).unwrap_or(CONNECT_TIMEOUT);
    let result = p.host().connect(address, port, limit);
    let (took, problem) = match result {
        Ok(took) => (took, None),
        Err(ConnectError::Refused(took)) => (took, Some("Connection refused")),
        Err(ConnectError::TimedOut(took)) => (took, Some(if busybox { "timed out" } else { "Operation timed out" })),
    };
    if !p.sleep(took).await {
        return 143;
    }
    match problem {
        None => {
            if options.has('v') {
                p.raw_error(if busybox {
                    format!("{name} ({address}:{port}) open\n")
                } else {
                    format!("Connection to {name} ({address}) {port} port [tcp/*] succeeded!\n")
                });
            }
            0
        }
        Some(problem) => {
            if busybox {
                p.raw_error(format!("nc: {name} ({address}:{port}): {problem}\n"));
            } else if options.has('v') {
                p.raw_error(format!("nc: connect to {name} ({address}) port {port} (tcp) failed: {problem}\n"));
            }
            1
        }
    }
}

struct Url {
    host: String,
    port: u16,
    path: String,
    secure: bool,
}

fn url(text: &str) -> Option<Url> {
    let (secure, rest) = match text.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        Some(_) => return None,
        None => (false, text),
    };
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let authority = authority.rsplit('@').next().unwrap_or(authority);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, if secure { 443 } else { 80 }),
    };
    let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
    (!host.is_empty()).then(|| Url { host: host.to_owned(), port, path, secure })
}

enum Trouble {
    Resolve,
    Refused(Duration),
    TimedOut,
    Secure,
}

async fn fetch<H: Host>(p: &mut Process<H>, url: &Url, method: &str, timeout: Duration) -> Result<(Ipv4Addr, HttpAnswer), Trouble> {
    let Ok(address) = resolve(p, &url.host).await else { return Err(Trouble::Resolve) };
    if url.secure {
        let took = match p.host().connect(address, url.port, timeout) {
            Ok(took) => took,
            Err(ConnectError::Refused(took)) => return wait(p, took, Trouble::Refused(took)).await,
            Err(ConnectError::TimedOut(took)) => return wait(p, took, Trouble::TimedOut).await,
        };
        return wait(p, took, Trouble::Secure).await;
    }
    let call = HttpCall { method: method.to_owned(), address, port: url.port, path: url.path.clone(), timeout };
    match p.host().http(&call) {
        Ok(answer) => {
            p.sleep(answer.took).await;
            Ok((address, answer))
        }
        Err(ConnectError::Refused(took)) => wait(p, took, Trouble::Refused(took)).await,
        Err(ConnectError::TimedOut(took)) => wait(p, took, Trouble::TimedOut).await,
    }
}

async fn wait<H: Host, T>(p: &mut Process<H>, took: Duration, trouble: Trouble) -> Result<T, Trouble> {
    p.sleep(took).await;
    Err(trouble)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}

/// `wget [-q] [-O FILE] [-T SECONDS] [--spider] URL`
pub(super) async fn wget<H: Host>(p: &mut Process<H>) -> i32 {
    let long = [
        ("spider", 's'),
        ("timeout", 'T'),
        ("quiet", 'q'),
        ("output-document", 'O'),
        ("post-data", 'p'),
        ("header", 'H'),
        ("tries", 't'),
        ("server-response", 'S'),
        ("no-check-certificate", 'n'),
    ];
    let options = options::parse(&p.args, "qSO:T:t:cY:U:P:p:H:n:", &long);
    let Some(text) = options.rest.first().cloned() else {
        p.complain("missing URL");
        return 1;
    };
    let Some(target) = url(&text) else {
        p.complain(format!("not an http or ftp url: {text}"));
        return 1;
    };
    let quiet = options.has('q');
    let timeout = options.value('T').and_then(duration).unwrap_or(Duration::from_mins(15));
    let method = if options.has('p') { "POST" } else { "GET" };
    let (host, port) = (target.host.clone(), target.port);
    match fetch(p, &target, method, timeout).await {
        Ok((address, answer)) => {
            if !quiet {
                p.raw_error(format!("Connecting to {host}:{port} ({address}:{port})\n"));
            }
            if options.has('S') {
                p.raw_error(format!("  HTTP/1.1 {} {}\n", answer.status, reason(answer.status)));
            }
            if answer.status >= 400 {
                p.complain(format!("server returned error: HTTP/1.1 {} {}", answer.status, reason(answer.status)));
                return 1;
            }
            if options.has('s') {
                if !quiet {
                    p.raw_error("remote file exists\n");
                }
                return 0;
            }
            let name = target.path.rsplit('/').next().and_then(|n| n.split('?').next()).filter(|n| !n.is_empty()).unwrap_or("index.html");
            save(p, options.value('O').unwrap_or(name), answer.body, quiet).await
        }
        Err(trouble) => {
            let text = match trouble {
                Trouble::Resolve => {
                    // With the port, if one was given.
                    let spelled = text.split("://").last().and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or(&host);
                    format!("bad address '{}'", spelled.rsplit('@').next().unwrap_or(spelled))
                }
                Trouble::Refused(_) => format!("can't connect to remote host ({}): Connection refused", address_of(p, &host)),
                Trouble::TimedOut => "download timed out".to_owned(),
                Trouble::Secure => "error getting response: Connection reset by peer".to_owned(),
            };
            if !quiet && !matches!(trouble, Trouble::Resolve) {
                let address = address_of(p, &host);
                p.raw_error(format!("Connecting to {host}:{port} ({address}:{port})\n"));
            }
            p.complain(text);
            1
        }
    }
}

fn address_of<H: Host>(p: &Process<H>, name: &str) -> String {
    name.parse().or_else(|_| p.host().resolve(name)).map_or_else(|_| name.to_owned(), |a: Ipv4Addr| a.to_string())
}

async fn save<H: Host>(p: &mut Process<H>, path: &str, body: Vec<u8>, quiet: bool) -> i32 {
    if path == "-" {
        p.print(body);
        return 0;
    }
    if let Err(error) = p.write_file(path, &Content { head: body, zeros: 0 }, false, 1).await {
        p.complain(format!("can't open '{path}': {error}"));
        return 1;
    }
    if !quiet {
        p.raw_error(format!("saving to '{path}'\n'{path}' saved\n"));
    }
    0
}

const CURL_LONG: &[(&str, char)] = &[
    ("silent", 's'),
    ("show-error", 'S'),
    ("output", 'o'),
    ("write-out", 'w'),
    ("max-time", 'm'),
    ("connect-timeout", 'T'),
    ("head", 'I'),
    ("request", 'X'),
    ("data", 'd'),
    ("data-raw", 'd'),
    ("json", 'd'),
    ("fail", 'f'),
    ("insecure", 'k'),
    ("include", 'i'),
    ("location", 'L'),
    ("header", 'H'),
    ("verbose", 'v'),
    ("url", 'U'),
    ("retry", 'R'),
    ("user", 'u'),
    ("noproxy", 'n'),
];

/// `curl`
pub(super) async fn curl<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "sSo:w:m:T:IX:d:fkiLH:vU:R:u:n:A:Ogb:c:N4", CURL_LONG);
    if let Some(error) = &options.error {
        p.raw_error(format!(
            "curl: {}\ncurl: try 'curl --help' for more information\n",
            error.replace("invalid option --", "option").replace("unrecognized option", "option") + ": is unknown"
        ));
        return 2;
    }
    let Some(text) = options.value('U').map(str::to_owned).or_else(|| options.rest.first().cloned()) else {
        p.raw_error("curl: (2) no URL specified\n");
        return 2;
    };
    let Some(target) = url(&text) else {
        p.raw_error("curl: (3) URL rejected: Malformed input to a URL function\n");
        return 3;
    };
    let default = if options.has('I') {
        "HEAD"
    } else if options.has('d') {
        "POST"
    } else {
        "GET"
    };
    let method = options.value('X').unwrap_or(default).to_owned();
    let connect = options.value('T').and_then(duration).unwrap_or(CONNECT_TIMEOUT);
    let total = options.value('m').and_then(duration).unwrap_or(Duration::from_hours(1));
    let timeout = if options.has('m') { total } else { Duration::from_hours(1) };
    let start = p.host().now();
    // A connection that cannot be made fails at the connection's own time-out.
    let reachable = match resolve(p, &target.host).await {
        Ok(address) => p.host().connect(address, target.port, connect.min(total)),
        Err(_) => Ok(Duration::ZERO),
    };
    let result = match reachable {
        Err(ConnectError::TimedOut(took)) => wait(p, took, Trouble::TimedOut).await,
        _ => fetch(p, &target, &method, timeout).await,
    };
    let elapsed = p.host().now().duration_since(start).as_secs_f64();
    let (host, port) = (target.host.clone(), target.port);
    let (code, status, message) = match &result {
        Ok((_, answer)) if options.has('f') && answer.status >= 400 => {
            (22, answer.status, format!("The requested URL returned error: {}", answer.status))
        }
        Ok((_, answer)) => (0, answer.status, String::new()),
        Err(Trouble::Resolve) => (6, 0, format!("Could not resolve host: {host}")),
        Err(Trouble::Refused(took)) => {
            (7, 0, format!("Failed to connect to {host} port {port} after {} ms: Couldn't connect to server", took.as_millis()))
        }
        Err(Trouble::TimedOut) if options.has('T') && reachable.is_err() => {
            (28, 0, format!("Failed to connect to {host} port {port} after {:.0} ms: Timeout was reached", elapsed * 1000.0))
        }
        Err(Trouble::TimedOut) if reachable.is_err() => (28, 0, format!("Connection timed out after {:.0} milliseconds", elapsed * 1000.0)),
        Err(Trouble::TimedOut) => (28, 0, format!("Operation timed out after {:.0} milliseconds with 0 bytes received", elapsed * 1000.0)),
        Err(Trouble::Secure) => (35, 0, "TLS connect error: error:0A00010B:SSL routines::wrong version number".to_owned()),
    };
    if let Ok((_, answer)) = &result
        && code == 0
    {
        let output = body(&options, answer);
        match options.value('o') {
            Some(path) => {
                if let Err(error) = p.write_file(path, &Content { head: output, zeros: 0 }, false, 1).await {
                    p.raw_error(format!("curl: (23) client returned ERROR on write, 0 bytes: {error}\n"));
                    return 23;
                }
            }
            None => p.print(output),
        }
    }
    if let Some(template) = options.value('w') {
        let size = result.as_ref().map_or(0, |(_, a)| a.body.len());
        let text = template
            .replace("%{http_code}", &format!("{status:03}"))
            .replace("%{response_code}", &format!("{status:03}"))
            .replace("%{time_total}", &format!("{elapsed:.6}"))
            .replace("%{time_connect}", &format!("{:.6}", reachable.unwrap_or_default().as_secs_f64()))
            .replace("%{time_starttransfer}", &format!("{elapsed:.6}"))
            .replace("%{size_download}", &size.to_string())
            .replace("%{exitcode}", &code.to_string());
        p.print(super::echo::unescape(&text).0);
    }
    if code != 0 && (!options.has('s') || options.has('S')) {
        p.raw_error(format!("curl: ({code}) {message}\n"));
    }
    code
}

fn body(options: &Options, answer: &HttpAnswer) -> Vec<u8> {
    let mut output = Vec::new();
    if options.has('I') || options.has('i') {
        output.extend(
            format!("HTTP/1.1 {} {}\r\ncontent-length: {}\r\n\r\n", answer.status, reason(answer.status), answer.body.len()).into_bytes(),
        );
    }
    if !options.has('I') {
        output.extend(&answer.body);
    }
    output
}

/// `ip addr`, `ip route`, `ifconfig`, `hostname -i` of a pod.
pub(super) fn addresses<H: Host>(p: &mut Process<H>) -> i32 {
    let address = p.host().address();
    let octets = address.octets();
    let mac = octets.iter().fold("0a:58".to_owned(), |mac, octet| mac + &format!(":{octet:02x}"));
    let net = octets.iter().take(3).map(u8::to_string).collect::<Vec<_>>().join(".");
    if p.name() == "ifconfig" {
        p.print(format!(
            "eth0      Link encap:Ethernet  HWaddr {}\n          inet addr:{address}  Bcast:{net}.255  Mask:255.255.255.0\n          UP BROADCAST RUNNING MULTICAST  MTU:1450  Metric:1\n\n\
             lo        Link encap:Local Loopback\n          inet addr:127.0.0.1  Mask:255.0.0.0\n          UP LOOPBACK RUNNING  MTU:65536  Metric:1\n\n",
            mac.to_uppercase()
        ));
        return 0;
    }
    let object = p.args.iter().skip(1).find(|w| !w.starts_with('-')).cloned().unwrap_or_default();
    if object.starts_with('r') {
        p.print(format!("default via {net}.1 dev eth0 \n{net}.0/24 dev eth0 proto kernel scope link src {address} \n"));
    } else {
        let qdisc = p.host().qdiscs().first().and_then(|q| q.split(' ').next().map(str::to_owned)).unwrap_or_else(|| "noqueue".to_owned());
        let inet = |text: String| if object.starts_with('l') { String::new() } else { text };
        p.print(format!(
            "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000\n    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00\n{}\
             2: eth0@if12: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc {qdisc} state UP group default \n    link/ether {mac} brd ff:ff:ff:ff:ff:ff link-netnsid 0\n{}",
            inet("    inet 127.0.0.1/8 scope host lo\n       valid_lft forever preferred_lft forever\n".to_owned()),
            inet(format!("    inet {address}/24 brd {net}.255 scope global eth0\n       valid_lft forever preferred_lft forever\n"))
        ));
    }
    0
}
