//! Label and field selectors.

use serde_json::Value;

use super::labels::{self, Test};
use crate::sim::catalog::Kind;
use crate::sim::status::Status;

/// A conjunction of tests on labels and fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selector {
    labels: Vec<(String, Test)>,
    fields: Vec<(String, String, bool)>,
}

impl Selector {
    /// From the query parameters of a list of `kind`.
    pub(super) fn parse(kind: &Kind, labels: Option<&str>, fields: Option<&str>) -> Result<Self, Status> {
        let labels = labels::parse(labels.unwrap_or_default()).map_err(Status::bad_request)?;
        Ok(Self { labels, fields: parse_fields(kind, fields.unwrap_or_default())? })
    }

    /// From a `metav1.LabelSelector`.
    pub(super) fn from_object(selector: &Value) -> Self {
        let mut labels = Vec::new();
        for (k, v) in selector["matchLabels"].as_object().into_iter().flatten() {
            labels.push((k.clone(), Test::In(vec![v.as_str().unwrap_or_default().to_owned()])));
        }
        for e in selector["matchExpressions"].as_array().into_iter().flatten() {
            let values = e["values"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
            let test = match e["operator"].as_str() {
                Some("In") => Test::In(values),
                Some("NotIn") => Test::NotIn(values),
                Some("Exists") => Test::Exists,
                _ => Test::Missing,
            };
            labels.push((e["key"].as_str().unwrap_or_default().to_owned(), test));
        }
        Self { labels, fields: Vec::new() }
    }

    /// Whether it lets everything pass.
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object passes.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|(key, test)| {
            let value = labels[key.as_str()].as_str();
            match test {
                Test::In(vs) => value.is_some_and(|v| vs.iter().any(|w| w == v)),
                Test::NotIn(vs) => value.is_none_or(|v| vs.iter().all(|w| w != v)),
                Test::Exists => value.is_some(),
                Test::Missing => value.is_none(),
                Test::Greater(n) => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v > *n),
                Test::Less(n) => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v < *n),
            }
        }) && self.fields.iter().all(|(path, wanted, equal)| (field(object, path) == *wanted) == *equal)
    }

    /// As text: what `scale` reports.
    pub(super) fn text(&self) -> String {
        let parts: Vec<String> = self
            .labels
            .iter()
            .map(|(k, t)| match t {
                Test::In(vs) => match vs.as_slice() {
                    [one] => format!("{k}={one}"),
                    many => format!("{k} in ({})", many.join(",")),
                },
                Test::NotIn(vs) => format!("{k} notin ({})", vs.join(",")),
                Test::Exists => k.clone(),
                Test::Missing => format!("!{k}"),
                Test::Greater(n) => format!("{k}>{n}"),
                Test::Less(n) => format!("{k}<{n}"),
            })
            .collect();
        parts.join(",")
    }
}

/// A field as text; booleans and numbers count as written, absent fields as empty.
fn field(object: &Value, path: &str) -> String {
    let v = path.split('.').fold(object, |v, p| &v[p]);
    match v {
        Value::Null => match path {
            "spec.unschedulable" => "false".to_owned(),
            _ => String::new(),
        },
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

fn parse_fields(kind: &Kind, text: &str) -> Result<Vec<(String, String, bool)>, Status> {
    let mut out = Vec::new();
    for part in text.split(',').filter(|p| !p.trim().is_empty()) {
        let (path, value, equal) = if let Some((p, v)) = part.split_once("!=") {
            (p, v, false)
        } else if let Some((p, v)) = part.split_once("==").or_else(|| part.split_once('=')) {
            (p, v, true)
        } else {
            return Err(Status::bad_request(format!("invalid selector: '{text}'; can't understand '{part}'")));
        };
        let path = path.trim();
        if !supported(kind, path) {
            return Err(Status::bad_request(format!("field label not supported: {path}")));
        }
        // The events of events.k8s.io are stored in their core form.
        let path = match (kind.group.as_str(), path.split_once('.')) {
            ("events.k8s.io", Some(("regarding", rest))) => format!("involvedObject.{rest}"),
            ("events.k8s.io", _) if path == "reportingController" => "reportingComponent".to_owned(),
            ("", _) if kind.plural == "events" && path == "source" => "source.component".to_owned(),
            _ => path.to_owned(),
        };
        out.push((path, value.trim().to_owned(), equal));
    }
    Ok(out)
}

fn supported(kind: &Kind, path: &str) -> bool {
    if path == "metadata.name" || (path == "metadata.namespace" && kind.namespaced) {
        return true;
    }
    match (&*kind.resource.group, &*kind.resource.plural) {
        ("", "pods") => matches!(
            path,
            "status.phase"
                | "spec.nodeName"
                | "spec.restartPolicy"
                | "spec.schedulerName"
                | "spec.serviceAccountName"
                | "spec.hostNetwork"
                | "status.podIP"
                | "status.nominatedNodeName"
        ),
        ("", "events") => {
            let rest = path.strip_prefix("involvedObject.").or_else(|| path.strip_prefix("regarding."));
            rest.is_some_and(|r| matches!(r, "kind" | "namespace" | "name" | "uid" | "apiVersion" | "resourceVersion" | "fieldPath"))
                || matches!(path, "reason" | "type" | "source" | "reportingComponent" | "reportingController")
        }
        ("", "nodes") => path == "spec.unschedulable",
        ("", "namespaces") => path == "status.phase",
        ("", "secrets") => path == "type",
        ("", "services") => matches!(path, "spec.clusterIP" | "spec.type"),
        ("", "replicationcontrollers") | ("apps", "replicasets") => path == "status.replicas",
        ("batch", "jobs") => path == "status.successful",
        ("certificates.k8s.io", "certificatesigningrequests") => path == "spec.signerName",
        _ => kind.dynamic.as_ref().is_some_and(|d| d.selectable.iter().any(|s| s.strip_prefix('.') == Some(path))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::catalog::Catalog;
    use serde_json::json;

    fn passes(labels: &str, object: &Value) -> bool {
        let pods = Catalog::get().by_plural("", "v1", "pods").unwrap();
        Selector::parse(pods, Some(labels), None).unwrap().matches(object)
    }

    #[test]
    fn labels() {
        let o = json!({"metadata": {"labels": {"app": "web", "tier": "front"}}});
        for yes in ["app=web", "app==web", "app!=x", "app in (web, api),tier", "tier notin (back)", "!nope", "nope notin (x)", ""] {
            assert!(passes(yes, &o), "{yes}");
        }
        for no in ["app=api", "app!=web", "app in (api)", "nope", "!app", "app=web,tier=back"] {
            assert!(!passes(no, &o), "{no}");
        }
        let pods = Catalog::get().by_plural("", "v1", "pods").unwrap();
        for bad in ["app in web", "a b", ",", "a==b,,c"] {
            assert!(Selector::parse(pods, Some(bad), None).is_err(), "{bad}");
        }
    }

    #[test]
    fn fields() {
        let pods = Catalog::get().by_plural("", "v1", "pods").unwrap();
        let o = json!({"metadata": {"name": "a"}, "status": {"phase": "Running"}, "spec": {}});
        let is = |f: &str| Selector::parse(pods, None, Some(f)).map(|s| s.matches(&o)).map_err(|e| e.message);
        assert_eq!(is("status.phase=Running,metadata.name!=b"), Ok(true));
        assert_eq!(is("spec.nodeName=n"), Ok(false));
        assert_eq!(is("spec.nodeName="), Ok(true));
        assert_eq!(is("spec.nope=1"), Err("field label not supported: spec.nope".into()));
    }

    #[test]
    fn selectors_of_objects_have_text() {
        let s = Selector::from_object(
            &json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "t", "operator": "In", "values": ["a", "b"]}]}),
        );
        assert_eq!(s.text(), "app=web,t in (a,b)");
    }
}
