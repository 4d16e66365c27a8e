//! What some users are not to see: API groups, as if their operator were not installed, and the traces that it leaves.
//!
//! Input: the groups that `SimConfig::hidden` names for a user. A hidden group is absent from discovery and its paths do not
//! exist; its definitions, its namespace, its events and the annotations, finalizers and field managers that carry its name
//! are left out of what is listed, read and watched. What it does to containers and networks stays: that is physical.

use axum::body::Bytes;
use serde_json::Value;

use super::answer::Answer;
use super::call::{Call, Target};
use crate::sim::config::SimConfig;
use crate::sim::world::World;

/// The groups that a user is not to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Veil {
    groups: Vec<String>,
}

/// The operator's own name: what its namespace is called and its names begin with.
fn stem(group: &str) -> &str {
    group.split('.').next().unwrap_or(group)
}

impl Veil {
    /// The veil of a user; most have none.
    pub(super) fn of(config: &SimConfig, user: &str) -> Self {
        Self { groups: config.hidden.get(user).cloned().unwrap_or_default() }
    }

    /// The veil of whoever asks from inside a container: it hides what anybody is not to see.
    pub(super) fn inside(config: &SimConfig) -> Self {
        let groups: std::collections::BTreeSet<&String> = config.hidden.values().flatten().collect();
        Self { groups: groups.into_iter().cloned().collect() }
    }

    fn group(&self, name: &str) -> bool {
        self.groups.iter().any(|g| g == name)
    }

    fn of_group(&self, api_version: &Value) -> bool {
        api_version.as_str().and_then(|v| v.split_once('/')).is_some_and(|(group, _)| self.group(group))
    }

    fn named(&self, text: &str) -> bool {
        self.groups.iter().any(|g| text.contains(stem(g)))
    }

    fn namespace(&self, name: &str) -> bool {
        self.groups.iter().any(|g| name == stem(g))
    }

    /// Whether a path leads behind the veil.
    pub(super) fn hides_path(&self, target: &Target) -> bool {
        self.group(&target.kind.group) || self.namespace(&target.namespace)
    }

    /// Whether everybody sees everything.
    pub(super) fn hides_nothing(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether an object is behind it.
    pub(super) fn hides(&self, object: &Value) -> bool {
        if self.groups.is_empty() {
            return false;
        }
        let text = |v: &Value| v.as_str().map(str::to_owned).unwrap_or_default();
        let metadata = &object["metadata"];
        let name = text(&metadata["name"]);
        let defines = object["spec"]["names"].is_object() || object["kind"] == "APIService";
        let definition = defines && self.group(object["spec"]["group"].as_str().unwrap_or_default());
        let about = ["involvedObject", "regarding"].iter().any(|k| self.of_group(&object[*k]["apiVersion"]));
        let reporters = [&object["source"]["component"], &object["reportingComponent"], &object["reportingController"]];
        // A namespace has no namespace of its own; nothing else is called as the operator's namespace is.
        let own_namespace = metadata["namespace"].is_null() && self.namespace(&name);
        definition
            || about
            || own_namespace
            || self.namespace(&text(&metadata["namespace"]))
            || reporters.into_iter().filter_map(Value::as_str).any(|r| self.named(r))
    }

    /// Takes the operator's names out of an object that is shown.
    pub(super) fn scrub(&self, object: &mut Value) {
        if self.groups.is_empty() {
            return;
        }
        let Some(metadata) = object["metadata"].as_object_mut() else { return };
        for key in ["annotations", "labels"] {
            if let Some(Value::Object(all)) = metadata.get_mut(key) {
                all.retain(|k, _| !self.named(k));
                if all.is_empty() {
                    metadata.remove(key);
                }
            }
        }
        if let Some(Value::Array(all)) = metadata.get_mut("finalizers") {
            all.retain(|f| !f.as_str().is_some_and(|f| self.named(f)));
        }
        if let Some(Value::Array(all)) = metadata.get_mut("managedFields") {
            all.retain(|m| !m["manager"].as_str().is_some_and(|m| self.named(m)));
            // Whose fields they are would show the keys again.
            for entry in all {
                self.scrub_fields(&mut entry["fieldsV1"]);
            }
        }
    }

    fn scrub_fields(&self, fields: &mut Value) {
        if let Value::Object(all) = fields {
            all.retain(|k, _| !self.named(k));
            for inner in all.values_mut() {
                self.scrub_fields(inner);
            }
        }
    }

    /// What a client writes back whole lacks what it was not shown: that stays as it is.
    pub(super) fn complete(&self, world: &World, target: &Target, body: &Bytes) -> Bytes {
        if self.groups.is_empty() {
            return body.clone();
        }
        let (Ok(mut given), Some(stored)) = (serde_json::from_slice::<Value>(body), world.store.get(&target.key())) else {
            return body.clone();
        };
        for key in ["annotations", "labels"] {
            for (name, value) in stored["metadata"][key].as_object().into_iter().flatten().filter(|(k, _)| self.named(k)) {
                given["metadata"][key][name] = value.clone();
            }
        }
        for finalizer in stored["metadata"]["finalizers"].as_array().into_iter().flatten() {
            if finalizer.as_str().is_some_and(|f| self.named(f)) {
                let mut all = given["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
                all.push(finalizer.clone());
                given["metadata"]["finalizers"] = all.into();
            }
        }
        given.to_string().into_bytes().into()
    }

    /// Discovery without the groups.
    pub(super) fn discovery(&self, call: &Call, mut answer: Answer) -> Answer {
        if self.groups.is_empty() {
            return answer;
        }
        if call.path.iter().any(|part| self.group(part)) {
            return Answer::no_page();
        }
        let Ok(mut document) = serde_json::from_slice::<Value>(&answer.body) else {
            // Metrics are counted by group, a line each.
            if answer.content_type.starts_with("text/plain") {
                let text = String::from_utf8_lossy(&answer.body);
                let lines: Vec<&str> = text.split_inclusive('\n').filter(|line| !self.named(line)).collect();
                answer.body = lines.concat().into_bytes();
            }
            return answer;
        };
        if let Some(definitions) = document["definitions"].as_object_mut() {
            definitions.retain(|name, _| !self.named(name));
        }
        if let Some(groups) = document["groups"].as_array_mut() {
            groups.retain(|g| !g["name"].as_str().is_some_and(|n| self.group(n)));
        }
        if let Some(items) = document["items"].as_array_mut() {
            items.retain(|g| !g["metadata"]["name"].as_str().is_some_and(|n| self.group(n)));
        }
        if let Some(paths) = document["paths"].as_object_mut() {
            paths.retain(|p, _| !p.split('/').any(|part| self.group(part)));
        }
        answer.body = document.to_string().into_bytes();
        answer.body.push(b'\n');
        answer
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn veil() -> Veil {
        Veil { groups: vec!["chaos-mesh.org".to_owned()] }
    }

    #[test]
    fn what_belongs_to_the_group_is_hidden() {
        let hides = |o: Value| veil().hides(&o);
        assert!(hides(json!({"metadata": {"name": "stresschaos.chaos-mesh.org"}, "spec": {"group": "chaos-mesh.org", "names": {}}})));
        assert!(hides(json!({"metadata": {"name": "chaos-mesh"}})));
        assert!(hides(json!({"metadata": {"name": "x", "namespace": "chaos-mesh"}})));
        assert!(hides(json!({"metadata": {"namespace": "a"}, "involvedObject": {"apiVersion": "chaos-mesh.org/v1alpha1"}})));
        assert!(hides(json!({"metadata": {"namespace": "a"}, "source": {"component": "chaos-mesh-controller"}})));
        assert!(!hides(json!({"metadata": {"name": "web", "namespace": "a"}, "source": {"component": "kubelet"}})));
        assert!(!Veil::default().hides(&json!({"metadata": {"name": "chaos-mesh"}})));
    }

    #[test]
    fn its_names_are_taken_out_of_objects() {
        let mut pod = json!({"metadata": {"annotations": {"chaos-mesh.org/pod-fail-web-image": "a", "own": "b"}, "finalizers": ["chaos-mesh/records"],
            "managedFields": [{"manager": "chaos-mesh-controller"}, {"manager": "kubectl", "fieldsV1": {"f:metadata": {"f:annotations": {"f:chaos-mesh.org/x": {}, "f:own": {}}}}}]}});
        veil().scrub(&mut pod);
        assert!(!pod.to_string().contains("chaos"), "{pod}");
        assert_eq!(pod["metadata"]["annotations"], json!({"own": "b"}));
    }
}
