//! Every request that the cluster served.
//!
//! Users, verbs and paths recur, so each text is kept once. Of a cluster that has served very many requests, the later ones
//! are kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::time::SimTime;

/// So many requests are kept; a trial makes thousands.
const MAX: usize = 50_000;

/// So many kinds of requests are counted: names of resources come from clients.
const KINDS_MAX: usize = 4096;

/// One API request.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// When.
    pub at: SimTime,
    /// Who (`runner`, `agent`, `verifier`, `system:...`).
    pub user: Arc<str>,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `exec`, ...
    pub verb: Arc<str>,
    /// Path without query.
    pub path: Arc<str>,
    /// HTTP status.
    pub code: u16,
}

/// The audit log.
#[derive(Debug, Default)]
pub struct Audit {
    entries: VecDeque<AuditEntry>,
    texts: BTreeSet<Arc<str>>,
    served: BTreeMap<String, u64>,
}

impl Audit {
    /// Keeps a request. When the log is full, the older half goes.
    pub fn note(&mut self, at: SimTime, user: &str, verb: &str, path: &str, code: u16) {
        let labels = labels(verb, path, code);
        if let Some(count) = self.served.get_mut(&labels) {
            *count += 1;
        } else if self.served.len() < KINDS_MAX {
            self.served.insert(labels, 1);
        }
        if self.entries.len() >= MAX {
            self.entries.drain(..MAX / 2);
            self.texts.retain(|text| Arc::strong_count(text) > 1);
        }
        let entry = AuditEntry { at, user: self.text(user), verb: self.text(verb), path: self.text(path), code };
        self.entries.push_back(entry);
    }

    /// The requests, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &AuditEntry> {
        self.entries.iter()
    }

    /// How many requests of each kind were served since the start; a kind is the labels that a real server counts it under.
    pub fn served(&self) -> impl Iterator<Item = (&String, &u64)> {
        self.served.iter()
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&new));
        new
    }
}

/// The labels of `apiserver_request_total` for a request.
fn labels(verb: &str, path: &str, code: u16) -> String {
    let mut parts = path.split('/').filter(|p| !p.is_empty());
    let (group, version) = match parts.next() {
        Some("api") => ("", parts.next().unwrap_or_default()),
        Some("apis") => (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()),
        _ => ("", ""),
    };
    let mut rest: Vec<&str> = parts.collect();
    let namespaced = rest.len() > 2 && rest.first() == Some(&"namespaces") && !matches!(rest.get(2), Some(&("status" | "finalize")));
    if namespaced {
        rest.drain(..2);
    }
    let (resource, subresource) = (rest.first().copied().unwrap_or_default(), rest.get(2).copied().unwrap_or_default());
    let scope = match rest.len() {
        0 => "",
        1 if namespaced => "namespace",
        1 => "cluster",
        _ => "resource",
    };
    let verb = match verb {
        "create" => "POST",
        "update" => "PUT",
        "exec" | "attach" | "portforward" => "CONNECT",
        other => &other.to_ascii_uppercase(),
    };
    let known = |text: &'_ str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    let [group, version, resource, subresource] = [group, version, resource, subresource].map(|t| if known(t) { t } else { "" });
    format!(
        "code=\"{code}\",component=\"apiserver\",dry_run=\"\",group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",\
         subresource=\"{subresource}\",verb=\"{verb}\",version=\"{version}\""
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_requests_are_kept_and_texts_are_shared() {
        let mut audit = Audit::default();
        for n in 0..MAX + 10 {
            audit.note(SimTime(0), "runner", "get", &format!("/api/{n}"), 200);
        }
        assert_eq!(audit.iter().count(), MAX / 2 + 10);
        assert_eq!(audit.iter().last().map(|e| e.path.to_string()), Some(format!("/api/{}", MAX + 9)));
        assert_eq!(audit.texts.len(), MAX / 2 + 10 + 2);
    }

    #[test]
    fn requests_are_counted_by_what_they_ask_for() {
        let mut audit = Audit::default();
        for path in ["/api/v1/namespaces/a/pods/x", "/api/v1/namespaces/b/pods/y"] {
            audit.note(SimTime(0), "u", "get", path, 200);
        }
        audit.note(SimTime(0), "u", "create", "/apis/apps/v1/namespaces/a/deployments", 201);
        audit.note(SimTime(0), "u", "get", "/healthz\"}", 404);
        audit.note(SimTime(0), "u", "update", "/api/v1/namespaces/a/finalize", 200);
        let served: Vec<(&str, u64)> = audit.served().map(|(labels, count)| (labels.as_str(), *count)).collect();
        let kind = |code, group, resource, scope, sub, verb, version| {
            format!(
                "code=\"{code}\",component=\"apiserver\",dry_run=\"\",group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",subresource=\"{sub}\",verb=\"{verb}\",version=\"{version}\""
            )
        };
        let expected = [
            (kind(200, "", "namespaces", "resource", "finalize", "PUT", "v1"), 1),
            (kind(200, "", "pods", "resource", "", "GET", "v1"), 2),
            (kind(201, "apps", "deployments", "namespace", "", "POST", "v1"), 1),
            (kind(404, "", "", "", "", "GET", ""), 1),
        ];
        assert_eq!(served, expected.iter().map(|(k, n)| (k.as_str(), *n)).collect::<Vec<_>>());
        for n in 0..KINDS_MAX + 10 {
            audit.note(SimTime(0), "u", "get", &format!("/api/v1/r{n}"), 404);
        }
        assert_eq!(audit.served().count(), KINDS_MAX);
    }
}
