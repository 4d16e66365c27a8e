//! Limit ranges: defaults and bounds for the containers, pods and claims of a namespace.

use serde_json::{Value, json};

use crate::sim::catalog::Kind;
use crate::sim::resource::Resource;
use crate::sim::schema::quantity::Quantity;
use crate::sim::status::Status;
use crate::sim::world::World;

/// Where the defaults that were set are written down.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

fn items(world: &World, namespace: &str) -> Vec<Value> {
    let ranges = Resource::new("", "limitranges");
    world.store.list(&ranges, Some(namespace)).flat_map(|(_, r)| r["spec"]["limits"].as_array().cloned().unwrap_or_default()).collect()
}

/// A limit range names its own defaults when it is created.
pub(super) fn complete(range: &mut Value) {
    for item in range["spec"]["limits"].as_array_mut().into_iter().flatten().filter(|i| i["type"] == "Container") {
        for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
            for (name, v) in item[from].as_object().cloned().unwrap_or_default() {
                if item[to][&name].is_null() {
                    item[to][&name] = v;
                }
            }
        }
    }
}

/// Gives the containers of a new pod what they do not say.
pub(super) fn set_defaults(world: &World, namespace: &str, pod: &mut Value) {
    let mut notes = Vec::new();
    for item in items(world, namespace).iter().filter(|i| i["type"] == "Container") {
        for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
            for c in pod["spec"][list].as_array_mut().into_iter().flatten() {
                let name = c["name"].as_str().unwrap_or_default().to_owned();
                for (from, side, word) in [("defaultRequest", "requests", "request"), ("default", "limits", "limit")] {
                    let mut set = Vec::new();
                    for (resource, v) in item[from].as_object().into_iter().flatten() {
                        if c["resources"][side][resource].is_null() {
                            c["resources"][side][resource] = v.clone();
                            set.push(resource.as_str());
                        }
                    }
                    if !set.is_empty() {
                        notes.push(format!("{} {word} for {what} {name}", set.join(", ")));
                    }
                }
            }
        }
    }
    if !notes.is_empty() {
        pod["metadata"]["annotations"][ANNOTATION] = format!("LimitRanger plugin set: {}", notes.join("; ")).into();
    }
}

/// Refuses what is outside of the bounds.
pub(super) fn check(world: &World, kind: &Kind, namespace: &str, object: &Value) -> Result<(), Status> {
    let mut wrong = Vec::new();
    for item in items(world, namespace) {
        let form = item["type"].as_str().unwrap_or_default();
        let list = |field: &str| object["spec"][field].as_array().cloned().unwrap_or_default();
        let given: Vec<Value> = match (form, &*kind.resource.plural) {
            ("Container", "pods") => list("containers").into_iter().chain(list("initContainers")).map(|c| c["resources"].clone()).collect(),
            ("Pod", "pods") => vec![total(&list("containers"))],
            ("PersistentVolumeClaim", "persistentvolumeclaims") => vec![object["spec"]["resources"].clone()],
            _ => continue,
        };
        for resources in &given {
            bounds(&item, form, resources, &mut wrong);
        }
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match wrong.as_slice() {
        [] => Ok(()),
        [one] => Err(super::forbidden(&kind.resource, name, one)),
        many => Err(super::forbidden(&kind.resource, name, &format!("[{}]", many.join(", ")))),
    }
}

fn total(containers: &[Value]) -> Value {
    let mut out = json!({"requests": {}, "limits": {}});
    for side in ["requests", "limits"] {
        for c in containers {
            for (name, v) in c["resources"][side].as_object().into_iter().flatten() {
                let sum = Quantity::from_json(&out[side][name]).into_iter().chain(Quantity::from_json(v)).reduce(Quantity::plus);
                out[side][name] = sum.map(|s| s.to_string()).into();
            }
        }
    }
    out
}

fn bounds(item: &Value, form: &str, given: &Value, wrong: &mut Vec<String>) {
    let of = |side: &str, name: &str| Quantity::from_json(&given[side][name]);
    let bound = |field: &'static str| item[field].as_object().into_iter().flatten().filter_map(|(n, v)| Some((n, Quantity::from_json(v)?)));
    // Claims have requests only.
    let claims = form == "PersistentVolumeClaim";
    for (name, least) in bound("min") {
        let start = format!("minimum {name} usage per {form} is {least}");
        match (of("requests", name), of("limits", name)) {
            (None, _) => wrong.push(format!("{start}.  No request is specified")),
            (Some(r), _) if r < least => wrong.push(format!("{start}, but request is {r}")),
            (_, Some(l)) if l < least => wrong.push(format!("{start}, but limit is {l}")),
            _ => {}
        }
    }
    for (name, most) in bound("max") {
        let start = format!("maximum {name} usage per {form} is {most}");
        match (of("requests", name), of("limits", name)) {
            (_, None) if !claims => wrong.push(format!("{start}.  No limit is specified")),
            (_, Some(l)) if l > most => wrong.push(format!("{start}, but limit is {l}")),
            (Some(r), _) if r > most => wrong.push(format!("{start}, but request is {r}")),
            _ => {}
        }
    }
    for (name, ratio) in bound("maxLimitRequestRatio") {
        let start = format!("{name} max limit to request ratio per {form} is {ratio}");
        match (of("requests", name), of("limits", name)) {
            (Some(r), Some(l)) if r.to_f64() > 0.0 => {
                let is = l.to_f64() / r.to_f64();
                if is > ratio.to_f64() {
                    wrong.push(format!("{start}, but provided ratio is {is:.6}"));
                }
            }
            _ => wrong.push(format!("{start}, but no request is specified or request is 0")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_worded_like_the_real_ones() {
        let item = json!({"max": {"cpu": "1"}, "min": {"cpu": "100m"}});
        let mut wrong = Vec::new();
        bounds(&item, "Container", &json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "2"}}), &mut wrong);
        assert_eq!(
            wrong,
            ["minimum cpu usage per Container is 100m, but request is 50m", "maximum cpu usage per Container is 1, but limit is 2"]
        );
    }

    #[test]
    fn ranges_complete_themselves() {
        let mut range = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}, "min": {"memory": "1Mi"}}]}});
        complete(&mut range);
        assert_eq!(
            range["spec"]["limits"][0],
            json!({"type": "Container", "max": {"cpu": "1"}, "min": {"memory": "1Mi"}, "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1", "memory": "1Mi"}})
        );
    }
}
