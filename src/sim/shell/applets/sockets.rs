//! `ss` and `netstat`: which ports the container's process listens on. Connections are not modelled one by one, so none is shown.

use super::options;
use crate::sim::shell::host::Host;
use crate::sim::shell::process::Process;
use crate::sim::shell::synthetic::command_name;

/// Options of both programs.
const OPTIONS: &str = "tulnpaeoimsWxrhH46";
const LONG: [(&str, char); 7] =
    [("tcp", 't'), ("udp", 'u'), ("listening", 'l'), ("numeric", 'n'), ("processes", 'p'), ("program", 'p'), ("all", 'a')];

/// The ports to show, with the process that listens.
fn listeners<H: Host>(p: &Process<H>, options: &options::Options) -> Vec<(u16, Option<(u32, String)>)> {
    let wanted = (options.has('l') || options.has('a')) && (options.has('t') || !(options.has('u') || options.has('x')));
    if !wanted {
        return Vec::new();
    }
    let owner = p.host().processes().into_iter().find(|x| x.pid == 1).map(|x| (x.pid, command_name(&x)));
    p.host().listening().into_iter().map(|port| (port, owner.clone())).collect()
}

/// `ss [-tulnpa]`
pub(super) fn ss<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, OPTIONS, &LONG);
    if !options.has('H') {
        p.line("State    Recv-Q   Send-Q     Local Address:Port     Peer Address:Port  Process");
    }
    for (port, owner) in listeners(p, &options) {
        let owner = owner.filter(|_| options.has('p')).map(|(pid, name)| format!("users:((\"{name}\",pid={pid},fd=6))"));
        let line =
            format!("{:<9}{:<9}{:<9}{:>15}:{:<9}{:>11}:*      {}", "LISTEN", 0, 511, "0.0.0.0", port, "0.0.0.0", owner.unwrap_or_default());
        p.line(line.trim_end());
    }
    0
}

/// `netstat [-tulnpa]`
pub(super) fn netstat<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, OPTIONS, &LONG);
    if options.has('r') {
        let octets = p.host().address().octets();
        let net = octets.iter().take(3).map(u8::to_string).collect::<Vec<_>>().join(".");
        p.line("Kernel IP routing table");
        p.line("Destination     Gateway         Genmask         Flags   MSS Window  irtt Iface");
        p.line(format!("{:<16}{:<16}{:<16}UG        0 0          0 eth0", "0.0.0.0", format!("{net}.1"), "0.0.0.0"));
        p.line(format!("{:<16}{:<16}{:<16}U         0 0          0 eth0", format!("{net}.0"), "0.0.0.0", "255.255.255.0"));
        return 0;
    }
    let which = match (options.has('l'), options.has('a')) {
        (true, _) => "only servers",
        (false, true) => "servers and established",
        _ => "w/o servers",
    };
    p.line(format!("Active Internet connections ({which})"));
    let program = if options.has('p') { "PID/Program name    " } else { "" };
    p.line(format!("Proto Recv-Q Send-Q Local Address           Foreign Address         State       {program}"));
    for (port, owner) in listeners(p, &options) {
        let owner = match owner.filter(|_| options.has('p')) {
            Some((pid, name)) => format!("{pid}/{name}"),
            None => String::new(),
        };
        let line = format!("{:<6}{:>6} {:>6} {:<23} {:<23} {:<11} {owner}", "tcp", 0, 0, format!("0.0.0.0:{port}"), "0.0.0.0:*", "LISTEN");
        p.line(line);
    }
    0
}
