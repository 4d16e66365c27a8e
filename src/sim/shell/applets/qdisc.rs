//! `tc` of iproute2: shows the queueing disciplines of the interfaces, and removes those of `eth0`.

use crate::sim::shell::host::Host;
use crate::sim::shell::process::Process;

const USAGE: &str = "Usage:\ttc [ OPTIONS ] OBJECT { COMMAND | help }\n\ttc [-force] -batch filename\nwhere  OBJECT := { qdisc | class | filter | chain |\n\t\t    action | monitor | exec }\n       OPTIONS := { -V[ersion] | -s[tatistics] | -d[etails] | -r[aw] |\n\t\t    -o[neline] | -j[son] | -p[retty] | -c[olor]\n\t\t    -b[atch] [filename] | -n[etns] name | -N[umeric] |\n\t\t     -nm | -nam[es] | { -cf | -conf } path\n\t\t     -br[ief] }\n";
/// What `-s` adds: nothing is counted.
const STATISTICS: &str = " Sent 0 bytes 0 pkt (dropped 0, overlimits 0 requeues 0) \n backlog 0b 0p requeues 0\n";

pub(super) fn tc<H: Host>(p: &mut Process<H>) -> i32 {
    let (options, words): (Vec<String>, Vec<String>) = p.args.iter().skip(1).cloned().partition(|w| w.starts_with('-'));
    if options.iter().any(|o| "-Version".starts_with(o.as_str()) && o.len() > 1) {
        p.line("tc utility, iproute2-6.1.0, libbpf 1.1.2");
        return 0;
    }
    let statistics = options.iter().any(|o| "-statistics".starts_with(o.as_str()) && o.len() > 1);
    let (object, command) = (words.first().map_or("", String::as_str), words.get(1).map_or("show", String::as_str));
    let device = words.iter().position(|w| w == "dev").and_then(|at| words.get(at + 1)).cloned();
    let is = |whole: &str, word: &str| !word.is_empty() && whole.starts_with(word);
    if object.is_empty() {
        p.raw_error(USAGE);
        return 255;
    }
    if let Some(name) = device.as_deref().filter(|d| !matches!(*d, "eth0" | "lo")) {
        p.raw_error(format!("Cannot find device \"{name}\"\n"));
        return 1;
    }
    let shows = is("show", command) || is("list", command) || command == "ls";
    match object {
        _ if is("qdisc", object) && shows => {
            for (name, lines) in [("lo", vec!["noqueue 0: root refcnt 2 ".to_owned()]), ("eth0", p.host().qdiscs())] {
                if device.as_deref().is_some_and(|wanted| wanted != name) {
                    continue;
                }
                for line in lines {
                    let shown = match (&device, line.split_once(": ")) {
                        (None, Some((kind, rest))) => format!("qdisc {kind}: dev {name} {rest}"),
                        _ => format!("qdisc {line}"),
                    };
                    p.line(shown);
                    if statistics {
                        p.print(STATISTICS);
                    }
                }
            }
            0
        }
        _ if is("qdisc", object) && is("delete", command) => {
            match if device.as_deref() == Some("lo") { Some(false) } else { p.host().drop_qdiscs() } {
                None => refused(p, "RTNETLINK answers: Operation not permitted\n"),
                Some(false) => refused(p, "Error: Cannot delete qdisc with handle of zero.\n"),
                Some(true) => 0,
            }
        }
        // Disciplines that a container sets up itself are not modelled, nor are classes and filters.
        _ if is("qdisc", object) && ["add", "replace", "change", "link"].iter().any(|c| is(c, command)) => {
            refused(p, "RTNETLINK answers: Operation not permitted\n")
        }
        _ if (is("class", object) || is("filter", object)) && shows => 0,
        _ if is("qdisc", object) => {
            p.raw_error(format!("Command \"{command}\" is unknown, try \"tc qdisc help\".\n"));
            255
        }
        _ => {
            p.raw_error(format!("Object \"{object}\" is unknown, try \"tc help\".\n"));
            255
        }
    }
}

fn refused<H: Host>(p: &mut Process<H>, text: &str) -> i32 {
    p.raw_error(text);
    2
}
