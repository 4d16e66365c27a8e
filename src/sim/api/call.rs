//! One request, taken apart: who asks, for which kind and object, in which form the answer is wanted.

use std::sync::Arc;

use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::Response;

use super::access::{self, Identity};
use super::answer::Answer;
use super::veil::Veil;
use crate::sim::catalog::{Catalog, Kind};
use crate::sim::custom::Customs;
use crate::sim::resource::Key;
use crate::sim::status::Status;

/// A request without its body.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// Method.
    pub(super) method: Method,
    /// Path elements, decoded, without empty ones: a slash too many does no harm.
    pub(super) path: Vec<String>,
    /// The path as text.
    pub(super) text: String,
    /// Query parameters, decoded.
    pub(super) query: Vec<(String, String)>,
    /// `Accept`.
    pub(super) accept: String,
    /// `Content-Type` without parameters.
    pub(super) content_type: String,
    /// Whether a person reads the answer, as the user agent or a parameter tells.
    pub(super) pretty: bool,
    /// Who asks.
    pub(super) who: Identity,
    /// Whom the client wants to be taken for.
    pub(super) impersonate: Option<Identity>,
    /// What the user is not to see.
    pub(super) veil: Veil,
    /// `fieldManager`, or the first word of the user agent.
    pub(super) manager: String,
}

impl Call {
    /// An answer as this client is told it.
    pub(super) fn told(&self, answer: Answer) -> Response {
        if self.pretty { answer.pretty().into_response() } else { answer.into_response() }
    }

    /// Takes a request apart.
    pub(super) fn new(who: Identity, method: Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let head = |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let query = query(uri.query().unwrap_or_default());
        let agent = head(header::USER_AGENT).split(['/', ' ']).next().unwrap_or_default();
        let manager = query.iter().find(|(k, v)| k == "fieldManager" && !v.is_empty()).map_or(agent, |(_, v)| v);
        let pretty = query
            .iter()
            .find(|(k, _)| k == "pretty")
            .map_or_else(|| ["curl", "Wget", "Mozilla"].contains(&agent), |(_, v)| !matches!(v.as_str(), "0" | "false" | "False"));
        Self {
            pretty,
            path: uri.path().split('/').filter(|p| !p.is_empty()).map(|p| decode(p, false)).collect(),
            text: uri.path().to_owned(),
            accept: headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>().join(","),
            content_type: head(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase(),
            who,
            impersonate: access::impersonated(headers),
            veil: Veil::default(),
            manager: if manager.is_empty() { "unknown".to_owned() } else { manager.to_owned() },
            query,
            method,
        }
    }

    /// A query parameter that is not empty.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(k, v)| k == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// All values of a query parameter.
    pub(super) fn params(&self, name: &str) -> Vec<String> {
        self.query.iter().filter(|(k, _)| k == name).map(|(_, v)| v.clone()).collect()
    }

    /// A boolean query parameter, read as Go does (`1`, `t`, `True`, ...).
    pub(super) fn flag(&self, name: &str) -> bool {
        self.param(name).is_some_and(|v| matches!(v, "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }

    /// Whether nothing may be stored.
    pub(super) fn dry_run(&self) -> bool {
        self.param("dryRun").is_some()
    }
}

/// The object or collection that a path names.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Its kind.
    pub(super) kind: Arc<Kind>,
    /// Namespace; empty for cluster-scoped kinds and for lists over all namespaces.
    pub(super) namespace: String,
    /// Name, unless a collection is meant.
    pub(super) name: Option<String>,
    /// Subresource.
    pub(super) subresource: Option<String>,
    /// Whether the old `/watch/` form was used.
    pub(super) watch: bool,
}

impl Target {
    /// The key of the object named.
    pub(super) fn key(&self) -> Key {
        Key::new(&self.kind.resource, &self.namespace, self.name.as_deref().unwrap_or_default())
    }

    /// Reads a resource path. `None`: no such group and version.
    pub(super) fn parse(path: &[String], customs: &Customs) -> Option<Result<Self, Status>> {
        let (group, version, rest) = match path {
            [api, version, rest @ ..] if api == "api" => ("", version.as_str(), rest),
            [apis, group, version, rest @ ..] if apis == "apis" => (group.as_str(), version.as_str(), rest),
            _ => return None,
        };
        let catalog = Catalog::get();
        let known = catalog.has_version(group, version) || customs.of_version(group, version).next().is_some();
        let by_plural = |plural: &str| catalog.by_plural(group, version, plural).or_else(|| customs.by_plural(group, version, plural));
        if rest.is_empty() || !known {
            return None;
        }
        let (watch, rest) = match rest {
            [w, rest @ ..] if w == "watch" => (true, rest),
            rest => (false, rest),
        };
        let namespaced_path = match rest {
            [ns, namespace, plural, tail @ ..] if ns == "namespaces" => {
                by_plural(plural).filter(|k| k.namespaced).map(|k| (k, namespace.as_str(), tail))
            }
            _ => None,
        };
        let found = namespaced_path.or_else(|| {
            let (plural, tail) = rest.split_first()?;
            let kind = by_plural(plural)?;
            // Namespaced objects are only named with their namespace.
            (!kind.namespaced || tail.is_empty()).then_some((kind, "", tail))
        });
        let Some((kind, namespace, tail)) = found else {
            return Some(Err(no_resource()));
        };
        let (name, subresource) = match tail {
            [] => (None, None),
            [name] => (Some(name.clone()), None),
            [name, sub, ..] => (Some(name.clone()), Some(sub.clone())),
        };
        if let Some(s) = &subresource
            && kind.subresource(s).is_none()
        {
            return Some(Err(no_resource()));
        }
        Some(Ok(Self { kind: Arc::clone(kind), namespace: namespace.to_owned(), name, subresource, watch }))
    }
}

/// 404 for a kind that does not exist.
pub(super) fn no_resource() -> Status {
    let mut s = Status::new(404, "NotFound", "the server could not find the requested resource");
    s.details = serde_json::json!({});
    s
}

/// 405.
pub(super) fn not_allowed() -> Status {
    let mut s = Status::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
    s.details = serde_json::json!({});
    s
}

/// What [`Call::new`] does with a path and a query.
#[cfg(any(test, fuzzing))]
pub(super) fn taken_apart(uri: &Uri) {
    let _query = query(uri.query().unwrap_or_default());
    let path: Vec<String> = uri.path().split('/').filter(|p| !p.is_empty()).map(|p| decode(p, false)).collect();
    let _target = Target::parse(&path, &Customs::default());
}

fn query(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|p| !p.is_empty())
        .map(|p| p.split_once('=').unwrap_or((p, "")))
        .map(|(k, v)| (decode(k, true), decode(v, true)))
        .collect()
}

/// Percent decoding; in queries `+` is a space.
pub(super) fn decode(text: &str, plus: bool) -> String {
    let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'%' => {
                let mut ahead = bytes.clone();
                match (hex(ahead.next()), hex(ahead.next())) {
                    (Some(h), Some(l)) => {
                        out.push(h << 4 | l);
                        bytes = ahead;
                    }
                    _ => out.push(b'%'),
                }
            }
            b'+' if plus => out.push(b' '),
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Option<Result<Target, Status>> {
        Target::parse(&path.split('/').filter(|p| !p.is_empty()).map(str::to_owned).collect::<Vec<_>>(), &Customs::default())
    }

    #[test]
    fn paths_are_read() {
        let t = target("/apis/apps/v1/namespaces/demo/deployments/web/scale").unwrap().unwrap();
        assert_eq!(
            (t.kind.kind.as_str(), t.namespace.as_str(), t.name.as_deref(), t.subresource.as_deref()),
            ("Deployment", "demo", Some("web"), Some("scale"))
        );
        let t = target("/api/v1/namespaces/demo/").unwrap().unwrap();
        assert_eq!((t.kind.kind.as_str(), t.name.as_deref()), ("Namespace", Some("demo")));
        assert_eq!(target("/api/v1/namespaces/demo/finalize").unwrap().unwrap().subresource.as_deref(), Some("finalize"));
        assert!(target("/api/v1/watch/namespaces/demo/pods").unwrap().unwrap().watch);
        assert_eq!(target("/api/v1/nopes").unwrap().unwrap_err().code, 404);
        assert!(target("/apis/nope/v1").is_none());
        assert!(target("/apis/nope/v1/x").is_none());
    }

    #[test]
    fn queries_are_decoded() {
        assert_eq!(
            query("a=b%3Dc+d&x&command=%24%28e%29"),
            [("a".into(), "b=c d".into()), ("x".into(), String::new()), ("command".into(), "$(e)".into())]
        );
        assert_eq!(decode("100%", false), "100%");
    }
}
