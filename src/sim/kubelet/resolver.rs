//! How a pod resolves names: its `dnsPolicy`, `dnsConfig` and `hostAliases`.

use std::net::Ipv4Addr;

use serde_json::Value;

use crate::sim::controllers::bootstrap::DNS_ADDRESS;

/// The name server of nodes.
const NODE_SERVER: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
/// The C library asks no more servers.
const SERVERS: usize = 3;

/// What a pod's `/etc/resolv.conf` and `/etc/hosts` say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolver {
    /// Name servers, in order.
    pub servers: Vec<Ipv4Addr>,
    /// Domains that are tried for short names.
    pub searches: Vec<String>,
    /// Options, as they stand in the file.
    pub options: Vec<String>,
    /// Further addresses and their names.
    pub aliases: Vec<(Ipv4Addr, Vec<String>)>,
}

impl Resolver {
    /// Reads a pod.
    pub fn read(pod: &Value) -> Self {
        let (spec, namespace) = (&pod["spec"], pod["metadata"]["namespace"].as_str().unwrap_or("default"));
        let texts =
            |v: &Value| -> Vec<String> { v.as_array().into_iter().flatten().filter_map(|t| t.as_str().map(str::to_owned)).collect() };
        let mut own = match spec["dnsPolicy"].as_str() {
            Some("None") => Self::default(),
            Some("Default") => Self { servers: vec![NODE_SERVER], ..Self::default() },
            Some("ClusterFirst") if spec["hostNetwork"] == true => Self { servers: vec![NODE_SERVER], ..Self::default() },
            _ => Self {
                servers: DNS_ADDRESS.parse().into_iter().collect(),
                searches: vec![cluster_search(namespace), "svc.cluster.local".to_owned(), "cluster.local".to_owned()],
                options: vec!["ndots:5".to_owned()],
                aliases: Vec::new(),
            },
        };
        let more = &spec["dnsConfig"];
        own.servers.extend(texts(&more["nameservers"]).iter().filter_map(|s| s.parse::<Ipv4Addr>().ok()));
        own.searches.extend(texts(&more["searches"]));
        for option in more["options"].as_array().into_iter().flatten() {
            let Some(name) = option["name"].as_str() else { continue };
            own.options.retain(|o| o.split(':').next() != Some(name));
            own.options.push(option["value"].as_str().map_or_else(|| name.to_owned(), |v| format!("{name}:{v}")));
        }
        let mut seen = Vec::new();
        own.servers.retain(|s| {
            !seen.contains(s) && {
                seen.push(*s);
                seen.len() <= SERVERS
            }
        });
        own.aliases = spec["hostAliases"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|a| Some((a["ip"].as_str()?.parse().ok()?, texts(&a["hostnames"]))))
            .collect();
        own
    }

    /// `/etc/resolv.conf`.
    pub fn text(&self) -> String {
        let line = |word: &str, values: &[String]| if values.is_empty() { String::new() } else { format!("{word} {}\n", values.join(" ")) };
        let servers = self.servers.iter().map(|server| line("nameserver", &[server.to_string()]));
        let lines = [line("search", &self.searches)].into_iter().chain(servers).chain([line("options", &self.options)]);
        lines.collect()
    }

    /// The lines that `/etc/hosts` has besides.
    pub fn hosts(&self) -> String {
        if self.aliases.is_empty() {
            return String::new();
        }
        let line = |(address, names): &(Ipv4Addr, Vec<String>)| format!("{address}\t{}\n", names.join("\t"));
        let lines: Vec<String> = self.aliases.iter().map(line).collect();
        format!("\n# Entries added by HostAliases.\n{}", lines.concat())
    }

    /// The address that `/etc/hosts` has for a name.
    pub fn alias(&self, name: &str) -> Option<Ipv4Addr> {
        self.aliases.iter().find(|(_, names)| names.iter().any(|n| n.eq_ignore_ascii_case(name))).map(|(address, _)| *address)
    }

    /// Whether the cluster's name server is asked.
    pub fn in_cluster(&self) -> bool {
        self.servers.first().is_some_and(|s| s.to_string() == DNS_ADDRESS)
    }

    /// Whether the first server is one of the world outside, which answers for names there. Private addresses have none.
    pub fn outside(&self) -> bool {
        self.servers.first().is_some_and(|s| !s.is_private() && !s.is_loopback() && !s.is_documentation() && !s.is_unspecified())
    }

    /// The full names to try for a name, in order; `None` when those of the namespace are found as they are.
    pub fn candidates(&self, name: &str, namespace: &str) -> Option<Vec<String>> {
        if self.searches.contains(&cluster_search(namespace)) {
            return None;
        }
        let mut all: Vec<String> = self.searches.iter().map(|domain| format!("{name}.{domain}")).collect();
        all.push(name.to_owned());
        Some(all)
    }
}

fn cluster_search(namespace: &str) -> String {
    format!("{namespace}.svc.cluster.local")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(mut spec: Value) -> Resolver {
        if spec["dnsPolicy"].is_null() {
            spec["dnsPolicy"] = "ClusterFirst".into();
        }
        Resolver::read(&json!({"metadata": {"namespace": "shop"}, "spec": spec}))
    }

    #[test]
    fn policies_and_settings_are_joined() {
        let usual = read(json!({}));
        assert!(usual.in_cluster() && usual.candidates("web", "shop").is_none());
        assert_eq!(usual.text(), "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n");
        let more = read(
            json!({"dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["my.dns"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}),
        );
        assert_eq!(
            more.text(),
            "search shop.svc.cluster.local svc.cluster.local cluster.local my.dns\nnameserver 10.96.0.10\nnameserver 1.1.1.1\noptions ndots:2 edns0\n"
        );
        let node = read(json!({"dnsPolicy": "Default"}));
        assert!(!node.in_cluster() && node.outside());
        let none = read(json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.96.0.10"]}}));
        assert_eq!(none.candidates("web", "shop").unwrap(), ["web"]);
        assert!(none.in_cluster());
        let wrong = read(json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.53"]}}));
        assert!(!wrong.in_cluster() && !wrong.outside());
        let named = read(json!({"hostAliases": [{"ip": "10.1.2.3", "hostnames": ["db", "db.local"]}]}));
        assert_eq!((named.alias("DB.local"), named.alias("web")), (Some(Ipv4Addr::new(10, 1, 2, 3)), None));
        assert!(named.hosts().ends_with("10.1.2.3\tdb\tdb.local\n"));
    }
}
