//! Who wrote which field: `metadata.managedFields`, and server-side apply with its conflicts.
//!
//! Input: an object before and after a write, and the writer. Output: the entries that the real server would keep
//! (structured-merge-diff's rules), and for applied configurations the merged object or the conflicts.

mod apply;
mod merge;
mod set;
mod shape;
mod walk;

use serde_json::{Value, json};

use self::set::Set;
use self::shape::Shape;

pub use apply::{Conflict, LAST_APPLIED, apply};

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writer {
    /// The cluster's own controllers; who exactly follows from what is written.
    Cluster,
    /// A client.
    Client {
        /// Its field manager.
        manager: String,
        /// The API version that it speaks.
        api_version: String,
        /// The subresource that it writes; empty for none.
        subresource: String,
    },
    /// Somebody who has set the entries already.
    Settled,
}

/// One entry of `managedFields`, taken apart.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    manager: String,
    operation: String,
    api_version: String,
    subresource: String,
    time: Value,
    fields: Set,
}

impl Entry {
    fn read(v: &Value) -> Option<Self> {
        let text = |f: &str| v[f].as_str().unwrap_or_default().to_owned();
        let fields = Set::read(&v["fieldsV1"]);
        (!fields.is_empty()).then(|| Self {
            manager: text("manager"),
            operation: text("operation"),
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: v["time"].clone(),
            fields,
        })
    }

    fn write(&self) -> Value {
        let mut v = json!({"manager": self.manager, "operation": self.operation, "apiVersion": self.api_version,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.write()});
        if !self.time.is_null() {
            v["time"] = self.time.clone();
        }
        if !self.subresource.is_empty() {
            v["subresource"] = self.subresource.as_str().into();
        }
        v
    }

    fn is(&self, operation: &str, manager: &str, api_version: &str, subresource: &str) -> bool {
        self.operation == operation
            && self.manager == manager
            && self.subresource == subresource
            // An applied configuration replaces its predecessor in any version.
            && (operation == "Apply" || self.api_version == api_version)
    }
}

fn read(object: &Value) -> Vec<Entry> {
    object["metadata"]["managedFields"].as_array().into_iter().flatten().filter_map(Entry::read).collect()
}

fn write(mut entries: Vec<Entry>) -> Value {
    entries.retain(|e| !e.fields.is_empty());
    entries.sort_by(|a, b| {
        let key = |e: &Entry| {
            let time = e.time.as_str().unwrap_or_default().to_owned();
            (e.operation.clone(), time, e.manager.clone(), e.api_version.clone(), e.subresource.clone())
        };
        key(a).cmp(&key(b))
    });
    entries.iter().map(Entry::write).collect()
}

/// Fields that nobody owns.
fn strip(set: &mut Set) {
    for field in ["f:apiVersion", "f:kind"] {
        set.children.remove(field);
    }
    if let Some(meta) = set.children.get_mut("f:metadata") {
        meta.member = false;
        for field in [
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "generation",
            "managedFields",
            "resourceVersion",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            meta.children.remove(&format!("f:{field}"));
        }
    }
    set.tidy();
}

/// What admission fills in when an object is created belongs to nobody, as long as it is what everybody gets.
fn strip_admitted(kind: &str, new: &Value, set: &mut Set) {
    let filled = match kind {
        "Pod" => vec![
            ("preemptionPolicy", json!("PreemptLowerPriority")),
            ("priority", json!(0)),
            ("serviceAccount", json!("default")),
            ("serviceAccountName", json!("default")),
        ],
        "Namespace" => vec![("finalizers", json!(["kubernetes"]))],
        _ => Vec::new(),
    };
    if let Some(spec) = set.children.get_mut("f:spec") {
        for (field, _) in filled.iter().filter(|(field, value)| new["spec"][*field] == *value) {
            spec.children.remove(&format!("f:{field}"));
        }
    }
}

/// Sets the entries of `new`, which replaces `old`, or is created in the API version and kind given; `defined`: the schema
/// of a kind that a client defined.
pub fn update(
    (api_version, kind, defined): (&str, &str, Option<&Value>),
    old: Option<&Value>,
    new: &mut Value,
    writer: &Writer,
    now: &str,
) {
    let (manager, version, subresource) = match writer {
        Writer::Settled => return,
        Writer::Cluster => {
            let Some((manager, subresource)) = controller(kind, old.is_some_and(|o| o["status"] != new["status"]), old.is_some()) else {
                return;
            };
            (manager, api_version, subresource)
        }
        Writer::Client { manager, api_version, subresource } => (manager.as_str(), api_version.as_str(), subresource.as_str()),
    };
    let shape = Shape::of_kind(api_version, kind, defined);
    let empty = if shape.is_custom() { json!({}) } else { skeleton(kind) };
    let mut difference = walk::compare(shape, old.unwrap_or(&empty), new);
    if subresource != "status" && old.is_none() {
        difference.written.children.remove("f:status");
    }
    // The real server allocates these after it has written down who wrote what.
    if old.is_none()
        && kind == "Service"
        && let Some(spec) = difference.written.children.get_mut("f:spec")
    {
        spec.children.retain(|field, _| !matches!(field.as_str(), "f:ipFamilies" | "f:ipFamilyPolicy" | "f:clusterIP" | "f:clusterIPs"));
    }
    if old.is_none() {
        strip_admitted(kind, new, &mut difference.written);
    }
    strip(&mut difference.written);
    let mut entries = read(new);
    for e in &mut entries {
        e.fields.subtract(&difference.removed);
        if !(e.is("Update", manager, version, subresource)) {
            e.fields.subtract(&difference.written);
        }
    }
    if !difference.written.is_empty() {
        // The real server's scale handler leaves the time out.
        let time = if subresource == "scale" { Value::Null } else { now.into() };
        match entries.iter_mut().find(|e| e.is("Update", manager, version, subresource)) {
            Some(own) => {
                own.fields.add(&difference.written);
                own.time = time;
            }
            None => entries.push(Entry {
                manager: manager.to_owned(),
                operation: "Update".to_owned(),
                api_version: version.to_owned(),
                subresource: subresource.to_owned(),
                time,
                fields: difference.written,
            }),
        }
    }
    let entries = write(entries);
    if let Some(meta) = new["metadata"].as_object_mut() {
        if entries.as_array().is_some_and(Vec::is_empty) {
            meta.remove("managedFields");
        } else {
            meta.insert("managedFields".to_owned(), entries);
        }
    }
}

/// Which part of the cluster writes objects of a kind, and through which subresource; `None`: entries are not kept.
fn controller(kind: &str, status: bool, existing: bool) -> Option<(&'static str, &'static str)> {
    Some(match (kind, status) {
        ("Event" | "Lease", _) => return None,
        ("Pod" | "Node", true) => ("kubelet", "status"),
        // It writes the revision along with the status.
        ("Deployment", false) if existing => ("kube-controller-manager", "status"),
        (_, true) => ("kube-controller-manager", "status"),
        (_, false) => ("kube-controller-manager", ""),
    })
}

/// An object of a kind with nothing in it, as Go prints it.
pub fn empty(api_version: &str, kind: &str) -> Value {
    let shape = Shape::of_kind(api_version, kind, None);
    let mut object = if shape.is_custom() { json!({}) } else { skeleton(kind) };
    if let Some(map) = object.as_object_mut() {
        map.retain(|part, _| shape.below(part).1);
    }
    object
}

/// The structures that Go prints even in an empty object of a kind: nobody owns them as such.
fn skeleton(kind: &str) -> Value {
    let pod = json!({"containers": []});
    let template = json!({"metadata": {}, "spec": pod});
    let mut v = json!({"metadata": {}, "spec": {}, "status": {}});
    let spec = &mut v["spec"];
    match kind {
        "Deployment" => {
            spec["strategy"] = json!({});
            spec["template"] = template;
        }
        "StatefulSet" | "DaemonSet" => {
            spec["updateStrategy"] = json!({});
            spec["template"] = template;
        }
        "Pod" => *spec = pod,
        "ReplicaSet" | "Job" => spec["template"] = template,
        "CronJob" => spec["jobTemplate"] = json!({"metadata": {}, "spec": {"template": template}}),
        "HorizontalPodAutoscaler" => spec["scaleTargetRef"] = json!({}),
        "PersistentVolumeClaim" => spec["resources"] = json!({}),
        "NetworkPolicy" => spec["podSelector"] = json!({}),
        "Service" | "Ingress" => v["status"]["loadBalancer"] = json!({}),
        "Event" => v = json!({"metadata": {}, "involvedObject": {}, "source": {}}),
        _ => {}
    }
    v
}

#[cfg(test)]
mod tests;
