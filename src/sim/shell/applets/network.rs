//! `getent`, `nc`, `ip`, `ifconfig`.

use std::time::Duration;

use super::options;
use super::ping::resolve;
use super::time::duration;
use crate::sim::shell::host::{ConnectError, Host};
use crate::sim::shell::process::Process;

/// How long a client waits for a connection when nothing says otherwise.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(130);

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
