//! The way to named hosts: a proxy on loopback that children are told of by their environment.
//!
//! Input: requests to an HTTP proxy, `CONNECT host:port` and `GET http://host/...` (RFC 9110, section 9.3.6; RFC 9112,
//! section 3.2.2); effect: those for a named host are passed on, others are refused with a reason.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::accept::serve_each;

/// Of the head of a request, in bytes.
const HEAD_MAX: usize = 32 * 1024;
const FIELDS_MAX: usize = 100;
const HEAD_LIMIT: Duration = Duration::from_secs(10);
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// A connection on which nothing moves is given up.
const SILENCE_LIMIT: Duration = Duration::from_mins(5);
/// For so long after something moved, somebody is taken to wait for more.
const WAITED_FOR: Duration = Duration::from_secs(5);
/// Connections at a time.
const MOST: usize = 256;
/// Of a host that is named without a port.
const PORTS: [u16; 2] = [80, 443];

/// A host that children may connect to: `pypi.org`, `*.example.com`, `10.0.0.5:8080`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedHost {
    name: String,
    below: bool,
    port: Option<u16>,
}

/// Not a host.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no host, such as `pypi.org`, `*.example.com` or `10.0.0.5:8080`")]
pub struct NamedHostError(String);

impl FromStr for NamedHost {
    type Err = NamedHostError;

    fn from_str(text: &str) -> Result<Self, NamedHostError> {
        let wrong = || NamedHostError(text.to_owned());
        let (rest, port) = match text.rsplit_once(':') {
            Some((rest, port)) => (rest, Some(port.parse::<u16>().ok().filter(|p| *p > 0).ok_or_else(wrong)?)),
            None => (text, None),
        };
        let (name, below) = rest.strip_prefix("*.").map_or((rest, false), |name| (name, true));
        let label = |l: &str| !l.is_empty() && l.len() < 64 && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if name.len() > 253 || !name.split('.').all(label) {
            return Err(wrong());
        }
        Ok(Self { name: name.to_ascii_lowercase(), below, port })
    }
}

impl NamedHost {
    fn covers(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let named = if self.below { host.strip_suffix(&self.name).is_some_and(|h| h.ends_with('.')) } else { host == self.name };
        named && self.port.map_or(PORTS.contains(&port), |p| p == port)
    }
}

/// When something last moved.
#[derive(Debug, Default)]
struct State {
    moved: Mutex<Option<Instant>>,
}

impl State {
    fn touch(&self) {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// A proxy; ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    _serving: JoinSet<()>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Listens on a port of its own.
    pub async fn start(hosts: Vec<NamedHost>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, hosts, state) = (listener.local_addr()?, Arc::new(hosts), Arc::new(State::default()));
        let served = Arc::clone(&state);
        let serving = serve_each(listener, MOST, move |client| {
            let (hosts, state) = (Arc::clone(&hosts), Arc::clone(&served));
            async move {
                // Whoever is gone needs no answer.
                let _gone = serve(client, &hosts, &state).await;
            }
        });
        Ok(Self { address, state, _serving: serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether somebody may be waiting for a host's answer, which no clock of ours knows of.
    pub fn awaited(&self) -> bool {
        self.state.moved.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|moved| moved.elapsed() < WAITED_FOR)
    }

    /// What tells programs of it. The API server, and what is here, are reached without.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let url = format!("http://{}", self.address);
        let here = "127.0.0.1,localhost,::1,.svc,.cluster.local".to_owned();
        let names = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"].map(|name| (name.to_owned(), url.clone()));
        names.into_iter().chain(["no_proxy", "NO_PROXY"].map(|name| (name.to_owned(), here.clone()))).collect()
    }
}

/// What is asked for.
struct Asked {
    host: String,
    port: u16,
    /// What is sent to the host first; none: a tunnel.
    first: Option<Vec<u8>>,
}

async fn serve(mut client: TcpStream, hosts: &[NamedHost], state: &State) -> io::Result<()> {
    state.touch();
    let mut bytes = Vec::new();
    let asked = timeout(HEAD_LIMIT, head(&mut client, &mut bytes)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let Some(asked) = asked else {
        return refuse(&mut client, "400 Bad Request", "this proxy takes CONNECT host:port and http:// URLs").await;
    };
    if !hosts.iter().any(|h| h.covers(&asked.host, asked.port)) {
        let why = format!("{}:{} is not among the experiment's sandbox.hosts", asked.host, asked.port);
        return refuse(&mut client, "403 Forbidden", &why).await;
    }
    state.touch();
    let connected = timeout(CONNECT_LIMIT, TcpStream::connect((asked.host.as_str(), asked.port))).await;
    let mut host = match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(host) => host,
        Err(error) => return refuse(&mut client, "502 Bad Gateway", &format!("failed to connect to {}: {error}", asked.host)).await,
    };
    match &asked.first {
        Some(first) => host.write_all(first).await?,
        None => client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?,
    }
    // What came behind the head.
    host.write_all(&bytes).await?;
    state.touch();
    let ((mut from_client, mut to_client), (mut from_host, mut to_host)) = (client.split(), host.split());
    let (up, down) = tokio::join!(pump(&mut from_client, &mut to_host, state), pump(&mut from_host, &mut to_client, state));
    up.and(down)
}

async fn pump(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), state: &State) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = timeout(SILENCE_LIMIT, from.read(&mut buffer)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        state.touch();
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
    }
}

/// Reads the head of a request; what follows it stays in `bytes`. None: it is no request for a proxy.
async fn head(client: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<Option<Asked>> {
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        if bytes.len() > HEAD_MAX || client.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    };
    let rest = bytes.split_off(end);
    let asked = asked(bytes);
    *bytes = rest;
    Ok(asked)
}

fn asked(head: &[u8]) -> Option<Asked> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(head).ok()?;
    let (method, target) = (request.method?, request.path?);
    let uri: http::Uri = target.parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    if method == "CONNECT" {
        return Some(Asked { host, port: uri.port_u16()?, first: None });
    }
    if uri.scheme_str() != Some("http") {
        return None;
    }
    let port = uri.port_u16().unwrap_or(80);
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    // One request a connection: a second one might be for another host.
    let mut first = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n").into_bytes();
    let dropped = ["connection", "proxy-connection", "proxy-authorization", "keep-alive"];
    for field in request.headers.iter().filter(|f| !dropped.contains(&f.name.to_ascii_lowercase().as_str())) {
        first.extend([field.name.as_bytes(), b": ", field.value, b"\r\n"].concat());
    }
    first.extend(b"\r\n");
    Some(Asked { host, port, first: Some(first) })
}

async fn refuse(client: &mut TcpStream, status: &str, why: &str) -> io::Result<()> {
    let length = why.len() + 1;
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    client.write_all(format!("{head}{why}\n").as_bytes()).await?;
    client.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_and_cover_what_they_say() {
        let covers = |named: &str, host: &str, port: u16| named.parse::<NamedHost>().unwrap().covers(host, port);
        assert!(covers("pypi.org", "PyPI.org.", 443) && covers("pypi.org", "pypi.org", 80));
        assert!(!covers("pypi.org", "pypi.org", 22) && !covers("pypi.org", "evil-pypi.org", 443) && !covers("pypi.org", "a.pypi.org", 443));
        assert!(covers("*.example.com", "a.b.example.com", 443) && !covers("*.example.com", "example.com", 443));
        assert!(!covers("*.example.com", "notexample.com", 443));
        assert!(covers("10.0.0.5:8080", "10.0.0.5", 8080) && !covers("10.0.0.5:8080", "10.0.0.5", 443));
        for wrong in ["", "*", "*.", "a..b", "http://a", "a:0", "a:b", "a b", "a/b", "::1", "*.*.a"] {
            assert!(wrong.parse::<NamedHost>().is_err(), "{wrong}");
        }
    }

    /// A host that says what it was sent.
    async fn host() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = vec![0; 4096];
                    let read = client.read(&mut buffer).await.unwrap();
                    client.write_all(&[b"GOT ", &buffer[..read]].concat()).await.unwrap();
                });
            }
        });
        address
    }

    async fn said(proxy: &Proxy, request: &str) -> String {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        timeout(Duration::from_secs(10), client.read_to_string(&mut text)).await.unwrap().unwrap();
        text
    }

    #[tokio::test]
    async fn named_hosts_are_reached_and_others_are_not() {
        let (host, other) = (host().await, host().await);
        let proxy = Proxy::start(vec![format!("127.0.0.1:{}", host.port()).parse().unwrap()]).await.unwrap();
        assert!(!proxy.awaited());
        let tunnel = said(&proxy, &format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\nhello")).await;
        assert_eq!(tunnel, "HTTP/1.1 200 Connection established\r\n\r\nGOT hello");
        let plain =
            said(&proxy, &format!("GET http://{host}/a?b=c HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: x\r\nAccept: */*\r\n\r\n"))
                .await;
        assert_eq!(plain, format!("GOT GET /a?b=c HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\nAccept: */*\r\n\r\n"));
        assert!(proxy.awaited());
        let refused = said(&proxy, &format!("CONNECT {other} HTTP/1.1\r\n\r\n")).await;
        assert!(refused.starts_with("HTTP/1.1 403 ") && refused.ends_with("is not among the experiment's sandbox.hosts\n"), "{refused}");
        for nonsense in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a HTTP/1.1\r\n\r\n", "\r\n\r\n", "GET https://a/ HTTP/1.1\r\n\r\n"] {
            assert!(said(&proxy, nonsense).await.starts_with("HTTP/1.1 400 "), "{nonsense}");
        }
    }
}
