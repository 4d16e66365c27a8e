//! `wget` and `curl`.
//!
//! Requests by HTTP are the traffic model's; those by HTTPS reach nobody but the API server, which is asked as it is.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::network::CONNECT_TIMEOUT;
use super::options::{self, Options};
use super::ping::resolve;
use super::time::duration;
use crate::sim::shell::files::Content;
use crate::sim::shell::host::{ApiCall, ConnectError, Host, HttpAnswer, HttpCall};
use crate::sim::shell::process::Process;

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
    /// The server's certificate is not trusted.
    Untrusted,
}

/// What a client asks for beside the address.
struct Asked {
    method: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout: Duration,
    /// Whether the cluster's authority is trusted.
    trusts: bool,
}

/// `Name: value`
fn header(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once(':')?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}

async fn fetch<H: Host>(p: &mut Process<H>, url: &Url, asked: Asked) -> Result<(Ipv4Addr, HttpAnswer), Trouble> {
    let Ok(address) = resolve(p, &url.host).await else { return Err(Trouble::Resolve) };
    let (timeout, api) = (asked.timeout, p.host().is_api(address, url.port));
    if url.secure || api {
        let took = match p.host().connect(address, url.port, timeout) {
            Ok(took) => took,
            Err(ConnectError::Refused(took)) => return wait(p, took, Trouble::Refused(took)).await,
            Err(ConnectError::TimedOut(took)) => return wait(p, took, Trouble::TimedOut).await,
        };
        match (api, url.secure, asked.trusts) {
            (false, ..) => return wait(p, took, Trouble::Secure).await,
            (true, true, false) => return wait(p, took, Trouble::Untrusted).await,
            (true, true, true) => {}
            (true, false, _) => {
                let body = b"Client sent an HTTP request to an HTTPS server.\n".to_vec();
                p.sleep(took).await;
                return Ok((address, HttpAnswer { status: 400, headers: Vec::new(), body, took }));
            }
        }
        p.sleep(took).await;
        let mut headers = asked.headers;
        headers.push(("host".to_owned(), url.host.clone()));
        let call = ApiCall { method: asked.method, path: url.path.clone(), headers, body: asked.body };
        return p.host().ask_api(call).await.map(|answer| (address, answer)).ok_or(Trouble::Secure);
    }
    let call = HttpCall { method: asked.method, address, port: url.port, path: url.path.clone(), timeout };
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
        ("ca-certificate", 'C'),
    ];
    let options = options::parse(&p.args, "qSO:T:t:cY:U:P:p:H:nC:", &long);
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
    let mut headers: Vec<_> = options.all('H').iter().filter_map(|h| header(h)).collect();
    headers.push(("user-agent".to_owned(), "Wget".to_owned()));
    // busybox checks no certificates, and says so.
    let trusts = p.machine.busybox() || options.has('n') || authority(p, options.value('C')).await;
    if p.machine.busybox() && target.secure && !options.has('n') && !quiet {
        p.raw_error("wget: note: TLS certificate validation not implemented\n");
    }
    let body = options.all('p').join("").into_bytes();
    match fetch(p, &target, Asked { method: method.to_owned(), headers, body, timeout, trusts }).await {
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
                Trouble::Untrusted => {
                    p.raw_error(format!(
                        "ERROR: cannot verify {host}'s certificate, issued by 'CN=kubernetes':\n  Unable to locally verify the issuer's authority.\n\
                         To connect to {host} insecurely, use `--no-check-certificate'.\n"
                    ));
                    return 5;
                }
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
    ("cacert", 'C'),
    ("data-binary", 'd'),
    ("oauth2-bearer", 'B'),
    ("user-agent", 'A'),
];

/// `curl`
pub(super) async fn curl<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "sSo:w:m:T:IX:d:fkiLH:vU:R:u:n:A:Ogb:c:N4C:B:", CURL_LONG);
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
        _ => match asked(p, &options, method, timeout).await {
            Ok(asked) => fetch(p, &target, asked).await,
            Err(code) => return code,
        },
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
        Err(Trouble::Untrusted) => (60, 0, UNTRUSTED.to_owned()),
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

const UNTRUSTED: &str = "SSL certificate problem: unable to get local issuer certificate
More details here: https://curl.se/docs/sslcerts.html

curl failed to verify the legitimacy of the server and therefore could not
establish a secure connection to it. To learn more about this situation and
how to fix it, please visit the webpage mentioned above.";

/// Whether a file holds the cluster's authority.
async fn authority<H: Host>(p: &mut Process<H>, file: Option<&str>) -> bool {
    let Some(file) = file else { return false };
    p.read_file(file).await.is_ok_and(|text| text.starts_with(b"-----BEGIN CERTIFICATE"))
}

/// What curl's options ask for; otherwise its exit code, when it has said why.
async fn asked<H: Host>(p: &mut Process<H>, options: &Options, method: String, timeout: Duration) -> Result<Asked, i32> {
    let trusts = options.has('k') || authority(p, options.value('C')).await;
    if let Some(file) = options.value('C').filter(|_| !trusts)
        && p.read_file(file).await.is_err()
    {
        p.raw_error(format!("curl: (77) error setting certificate verify locations:  CAfile: {file} CApath: none\n"));
        return Err(77);
    }
    let mut pieces = Vec::new();
    for given in options.all('d') {
        let Some(file) = given.strip_prefix('@') else {
            pieces.push(given.clone().into_bytes());
            continue;
        };
        let Ok(bytes) = p.read_input(file).await else {
            p.raw_error("curl: option -d: error encountered when reading a file\n");
            return Err(26);
        };
        pieces.push(bytes);
    }
    let mut headers: Vec<(String, String)> = options.all('H').iter().filter_map(|h| header(h)).collect();
    let has = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let json = p.args.iter().any(|a| a == "--json");
    let mut usual = vec![("user-agent", options.value('A').unwrap_or("curl/8.14.1").to_owned()), ("accept", "*/*".to_owned())];
    if options.has('d') {
        usual.push(("content-type", if json { "application/json" } else { "application/x-www-form-urlencoded" }.to_owned()));
    }
    if let Some(token) = options.value('B') {
        usual.push(("authorization", format!("Bearer {token}")));
    }
    usual.retain(|(name, _)| !has(name));
    headers.extend(usual.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Ok(Asked { method, headers, body: pieces.join(&b"&"[..]), timeout, trusts })
}

fn body(options: &Options, answer: &HttpAnswer) -> Vec<u8> {
    let mut output = Vec::new();
    if options.has('I') || options.has('i') {
        let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status));
        head.extend(answer.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
        if answer.headers.is_empty() {
            head.extend(["content-length: ", &answer.body.len().to_string(), "\r\n"]);
        }
        head.push_str("\r\n");
        output.extend(head.into_bytes());
    }
    if !options.has('I') {
        output.extend(&answer.body);
    }
    output
}
