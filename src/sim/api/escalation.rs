//! Nobody grants what he may not do himself: roles and bindings are checked against the rules of who writes them.
//!
//! Input: the object that is about to be stored. Output: nothing, or the real server's 403. Those who may `escalate` the role or
//! `bind` it may do so all the same.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::access::{self, Action, Identity};
use crate::sim::resource::{Key, Resource};
use crate::sim::status::Status;
use crate::sim::world::World;

const API_GROUP: &str = "rbac.authorization.k8s.io";

/// Refuses a role or binding that grants more than `who` has. Everything else passes.
pub(super) fn check(world: &World, who: &Identity, key: &Key, new: &Value) -> Result<(), Status> {
    if &*key.resource.group != API_GROUP || access::may_everything(world, who) {
        return Ok(());
    }
    // Written again as it is, or with other metadata only: nothing is granted anew.
    if world.store.get(key).is_some_and(|old| ["rules", "roleRef", "subjects", "aggregationRule"].iter().all(|f| old[*f] == new[*f])) {
        return Ok(());
    }
    let may = |verb: &str, resource: &str, namespace: &str, name: &str| {
        access::allowed(world, who, &Action { verb, group: API_GROUP, resource, namespace, name, ..Action::default() }).is_some()
    };
    let granted = match &*key.resource.plural {
        plural @ ("roles" | "clusterroles") => {
            if may("escalate", plural, &key.namespace, &key.name) {
                return Ok(());
            }
            let mut rules = list(&new["rules"]);
            if new["aggregationRule"].is_object() {
                rules.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
                rules.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
            }
            rules
        }
        "rolebindings" | "clusterrolebindings" => {
            let name = new["roleRef"]["name"].as_str().unwrap_or_default();
            let (plural, home) = if new["roleRef"]["kind"] == "Role" { ("roles", &*key.namespace) } else { ("clusterroles", "") };
            if may("bind", plural, &key.namespace, name) {
                return Ok(());
            }
            let role = Key::new(&Resource::new(API_GROUP, plural), home, name);
            list(&world.store.get(&role).ok_or_else(|| Status::not_found(&role.resource, name))?["rules"])
        }
        _ => return Ok(()),
    };
    let owned = access::rules_of(world, who, &key.namespace);
    let missing: Vec<Value> = granted.iter().flat_map(pieces).filter(|piece| !owned.iter().any(|rule| covers(rule, piece))).collect();
    if missing.is_empty() { Ok(()) } else { Err(refusal(who, key, &missing)) }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn texts<'a>(rule: &'a Value, field: &str) -> Vec<&'a str> {
    rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A rule taken apart: one group, resource, verb and name each.
fn pieces(rule: &Value) -> Vec<Value> {
    let mut out = Vec::new();
    for verb in texts(rule, "verbs") {
        for url in texts(rule, "nonResourceURLs") {
            out.push(json!({"nonResourceURLs": [url], "verbs": [verb]}));
        }
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                let plain = json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]});
                let names = texts(rule, "resourceNames");
                if names.is_empty() {
                    out.push(plain);
                    continue;
                }
                out.extend(names.into_iter().map(|name| {
                    let mut named = plain.clone();
                    named["resourceNames"] = json!([name]);
                    named
                }));
            }
        }
    }
    out
}

/// Whether a rule allows all that a piece of another allows.
fn covers(rule: &Value, piece: &Value) -> bool {
    let has = |field: &str, wanted: &str| texts(rule, field).iter().any(|v| *v == "*" || *v == wanted);
    let each = |field: &str| texts(piece, field).into_iter().all(|wanted| has(field, wanted));
    let resources = texts(piece, "resources").into_iter().all(|wanted| {
        has("resources", wanted)
            || wanted.split_once('/').is_some_and(|(_, sub)| texts(rule, "resources").contains(&format!("*/{sub}").as_str()))
    });
    let urls = texts(piece, "nonResourceURLs").into_iter().all(|wanted| {
        texts(rule, "nonResourceURLs")
            .iter()
            .any(|u| *u == "*" || *u == wanted || u.strip_suffix('*').is_some_and(|start| wanted.starts_with(start)))
    });
    let (own, named) = (texts(rule, "resourceNames"), texts(piece, "resourceNames"));
    let names = own.is_empty() || (!named.is_empty() && named.iter().all(|n| own.contains(n)));
    each("verbs") && each("apiGroups") && resources && urls && names
}

/// What is missing, with the verbs of each resource together, as Go prints it.
fn refusal(who: &Identity, key: &Key, missing: &[Value]) -> Status {
    let mut simple: BTreeMap<String, Value> = BTreeMap::new();
    for piece in missing {
        let mut place = piece.clone();
        let verbs = place["verbs"].take();
        // Verbs are joined for resources only.
        let place = if piece["resources"].is_array() { place.to_string() } else { piece.to_string() };
        match simple.get_mut(&place).and_then(|known| known["verbs"].as_array_mut()) {
            Some(known) => {
                for verb in list(&verbs).into_iter().filter(|v| !piece["resources"].is_null() && !v.is_null()) {
                    if !known.contains(&verb) {
                        known.push(verb);
                    }
                }
            }
            None => {
                simple.insert(place, piece.clone());
            }
        }
    }
    let mut lines: Vec<String> = simple.values().map(printed).collect();
    lines.sort();
    let groups = quoted(who.groups.iter().map(String::as_str));
    let message = format!(
        "{} {:?} is forbidden: user {:?} (groups={groups}) is attempting to grant RBAC permissions not currently held:\n{}",
        key.resource.qualified(),
        &*key.name,
        who.user,
        lines.join("\n")
    );
    let mut status = Status::new(403, "Forbidden", message);
    status.details = json!({"name": &*key.name, "group": API_GROUP, "kind": &*key.resource.plural});
    status
}

fn printed(rule: &Value) -> String {
    let field = |(name, label): (&str, &str)| {
        let values = texts(rule, name);
        (!values.is_empty()).then(|| format!("{label}:{}", quoted(values.into_iter())))
    };
    let fields = [
        ("apiGroups", "APIGroups"),
        ("resources", "Resources"),
        ("nonResourceURLs", "NonResourceURLs"),
        ("resourceNames", "ResourceNames"),
        ("verbs", "Verbs"),
    ];
    format!("{{{}}}", fields.into_iter().filter_map(field).collect::<Vec<_>>().join(", "))
}

/// `["a" "b"]`.
fn quoted<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", texts.map(|t| format!("{t:?}")).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_compared_piece_by_piece() {
        let rule = json!({"apiGroups": [""], "resources": ["pods", "*/scale"], "verbs": ["get", "list"]});
        let covered = |piece: Value| pieces(&piece).iter().all(|p| covers(&rule, p));
        assert!(covered(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]})));
        assert!(covered(json!({"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["get"]})));
        assert!(covered(json!({"apiGroups": [""], "resources": ["replicationcontrollers/scale"], "verbs": ["get"]})));
        assert!(!covered(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["delete"]})));
        assert!(!covered(json!({"apiGroups": ["", "apps"], "resources": ["pods"], "verbs": ["get"]})));
        assert!(!covered(json!({"nonResourceURLs": ["/metrics"], "verbs": ["get"]})));
        let named = json!({"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["get"]});
        assert!(!covers(&named, &json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]})));
        let urls = json!({"nonResourceURLs": ["/api/*"], "verbs": ["get"]});
        assert!(covers(&urls, &json!({"nonResourceURLs": ["/api/v1"], "verbs": ["get"]})));
    }

    #[test]
    fn what_is_missing_is_printed_as_go_does() {
        let who = Identity { user: "jane".to_owned(), groups: vec!["a".to_owned(), "b".to_owned()], ..Identity::default() };
        let key = Key::new(&Resource::new(API_GROUP, "roles"), "demo", "x");
        let rules = [
            json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}),
            json!({"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"], "verbs": ["delete"]}),
            json!({"nonResourceURLs": ["/metrics"], "verbs": ["get"]}),
        ];
        let status = refusal(&who, &key, &rules.iter().flat_map(pieces).collect::<Vec<_>>());
        assert_eq!(
            status.message,
            "roles.rbac.authorization.k8s.io \"x\" is forbidden: user \"jane\" (groups=[\"a\" \"b\"]) is attempting to grant RBAC permissions not currently held:\n\
             {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}\n\
             {APIGroups:[\"apps\"], Resources:[\"deployments\"], ResourceNames:[\"web\"], Verbs:[\"delete\"]}\n\
             {NonResourceURLs:[\"/metrics\"], Verbs:[\"get\"]}"
        );
    }
}
