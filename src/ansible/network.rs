//! What children reach, where they have a network of their own: the servers of the trial, at the addresses they have outside.
//!
//! Input: listeners inside ([`super::sandbox`]); effect: who connects there talks to the server outside.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::accept::serve_each;
use super::proxy::Proxy;
use super::sandbox::{ORDER_LIMIT, receive};

/// How long a server may take to take a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// The same, where several addresses of one name are tried.
const TRY_LIMIT: Duration = Duration::from_secs(2);
/// Servers, where a kubeconfig does not say which: as many listeners as go into one packet, with room for the clock and the proxy.
const MOST_SERVERS: usize = 8;
/// Connections to one server at a time.
const MOST: usize = 512;
/// Somewhere outside: nothing is sent there.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(8, 8, 8, 8), 53);

/// Serves while it lives.
pub type Serving = Box<dyn Send + Sync>;
/// Serves whoever connects to a listener as the server of that address does.
pub type Serve = Arc<dyn Fn(SocketAddr, TcpListener) -> io::Result<Serving> + Send + Sync>;

/// The network of a trial's children.
#[derive(Clone)]
pub struct Network {
    /// The machine's own address, as facts and programs find it; none: it has none but loopback's.
    pub address: Option<Ipv4Addr>,
    /// How the servers are reached.
    pub serve: Serve,
    /// The way to named hosts, in whatever network children are.
    pub proxy: Option<Arc<Proxy>>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Default for Network {
    /// This machine's address; what is sent to the servers is passed on.
    fn default() -> Self {
        Self { address: own_address(), serve: Arc::new(relay), proxy: None }
    }
}

/// The address that this machine has for others; none: it is connected to nobody.
fn own_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(ELSEWHERE).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(own) if !own.is_loopback() && !own.is_unspecified() => Some(own),
        _ => None,
    }
}

/// Passes on what is sent to a listener to the server of that address, and back. Needs a tokio runtime.
pub fn relay(server: SocketAddr, listener: TcpListener) -> io::Result<Serving> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    Ok(Box::new(serve_each(listener, MOST, move |inside| pass_on(inside, server))))
}

async fn pass_on(mut inside: tokio::net::TcpStream, server: SocketAddr) {
    // Who cannot be reached closes the connection: that is all that can be said to a client.
    let Ok(Ok(mut outside)) = timeout(CONNECT_LIMIT, tokio::net::TcpStream::connect(server)).await else { return };
    let _slow = inside.set_nodelay(true).and(outside.set_nodelay(true));
    let _ended = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
}

/// Takes the listeners that the launcher of a child sends, and serves on them. None come if it has failed, which it says elsewhere.
pub(super) async fn serve(network: &Network, servers: &[SocketAddr], launcher: impl AsFd) -> io::Result<Vec<Serving>> {
    let launcher = launcher.as_fd().try_clone_to_owned()?;
    // Ends when the launcher does, whatever happens to us.
    let (_, listeners) = tokio::task::spawn_blocking(move || receive(launcher, ORDER_LIMIT)).await??;
    servers.iter().zip(listeners).map(|(server, listener): (_, OwnedFd)| (network.serve)(*server, listener.into())).collect()
}

/// A server that children may connect to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// Under which it is asked for; none: its address.
    pub(super) name: Option<String>,
}

/// The API server of a kubeconfig's current context; without one, those of all its clusters. One whose name means nothing is none:
/// nobody could reach it either. Other clusters of a user are none of a trial's business.
pub(super) fn servers(kubeconfig: &str) -> BTreeSet<Server> {
    let config = kube::config::Kubeconfig::from_yaml(kubeconfig).unwrap_or_default();
    let current = config.current_context.as_ref().and_then(|name| config.contexts.iter().find(|c| c.name == *name));
    let cluster = current.and_then(|c| c.context.as_ref()).map(|c| c.cluster.clone());
    let mut clusters = config.clusters;
    clusters.retain(|c| cluster.as_ref().is_none_or(|name| c.name == *name));
    let servers = clusters.into_iter().filter_map(|c| c.cluster?.server).take(MOST_SERVERS);
    servers.filter_map(|s| s.parse::<http::Uri>().ok()).filter_map(|uri| server(&uri)).collect()
}

fn server(uri: &http::Uri) -> Option<Server> {
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = host.parse() {
        return Some(Server { address: SocketAddr::new(ip, port), name: None });
    }
    let all: Vec<SocketAddr> = (host, port).to_socket_addrs().ok()?.collect();
    // Inside, each is served, and who is served by none of those outside is not sent on to the next.
    let answers = |a: &&SocketAddr| TcpStream::connect_timeout(a, TRY_LIMIT).is_ok();
    let address = if all.len() > 1 { all.iter().find(answers).or(all.first()) } else { all.first() };
    address.map(|address| Server { address: *address, name: Some(host.to_owned()) })
}

/// What `/etc/hosts` is inside.
pub(super) fn hosts<'a>(servers: impl IntoIterator<Item = &'a Server>, own: Option<Ipv4Addr>) -> String {
    let mut text = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n".to_owned();
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut add = |address: IpAddr, name: &str| text.extend([&address.to_string(), " ", name, "\n"]);
    add(own.unwrap_or(Ipv4Addr::new(127, 0, 1, 1)).into(), &machine);
    for server in servers {
        if let Some(name) = server.name.as_ref().filter(|name| *name != "localhost") {
            add(server.address.ip(), name);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn config(servers: &[&str]) -> String {
        let clusters: Vec<String> = servers.iter().map(|s| format!("- {{name: c, cluster: {{server: \"{s}\"}}}}")).collect();
        format!("apiVersion: v1\nkind: Config\nclusters:\n{}\n", clusters.join("\n"))
    }

    #[test]
    fn servers_are_found_by_address_and_by_name() {
        let all = servers(&config(&["https://10.0.0.7", "http://[::1]:8001/k8s", "https://no-such-name.invalid:6443", "nonsense"]));
        let all: Vec<String> = all.into_iter().map(|s| format!("{} {:?}", s.address, s.name)).collect();
        assert_eq!(all, ["10.0.0.7:443 None", "[::1]:8001 None"]);
        let named = servers(&config(&["https://localhost:6443"]));
        assert_eq!(named.len(), 1);
        let named = named.first().unwrap();
        assert!(named.address.ip().is_loopback() && named.name.as_deref() == Some("localhost"), "{named:?}");
    }

    #[test]
    fn only_the_current_context_counts() {
        let two = "apiVersion: v1\nkind: Config\ncurrent-context: b\nclusters:\n- {name: one, cluster: {server: \"https://10.0.0.1\"}}\n\
                   - {name: two, cluster: {server: \"https://10.0.0.2\"}}\ncontexts:\n- {name: a, context: {cluster: one}}\n\
                   - {name: b, context: {cluster: two}}\n";
        let all: Vec<SocketAddr> = servers(two).into_iter().map(|s| s.address).collect();
        assert_eq!(all, ["10.0.0.2:443".parse().unwrap()]);
        let many: Vec<String> = (1..20).map(|n| format!("https://10.0.1.{n}")).collect();
        assert_eq!(servers(&config(&many.iter().map(String::as_str).collect::<Vec<_>>())).len(), MOST_SERVERS);
    }

    #[test]
    fn a_named_server_is_in_the_hosts() {
        let server = Server { address: "10.0.0.7:6443".parse().unwrap(), name: Some("api.example".to_owned()) };
        let text = hosts([&server], Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert!(text.contains("\n10.0.0.7 api.example\n") && text.contains("\n10.0.0.1 "), "{text}");
    }

    #[tokio::test]
    async fn what_is_sent_is_passed_on_and_back_while_the_guard_lives() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inside = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = inside.local_addr().unwrap();
        let serving = relay(server.local_addr().unwrap(), inside).unwrap();
        let mut client = tokio::net::TcpStream::connect(door).await.unwrap();
        let (mut served, _) = server.accept().await.unwrap();
        client.write_all(b"there").await.unwrap();
        served.read_exact(&mut [0; 5]).await.unwrap();
        served.write_all(b"back").await.unwrap();
        client.read_exact(&mut [0; 4]).await.unwrap();
        drop(serving);
        assert_eq!(timeout(Duration::from_secs(5), client.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    }
}
