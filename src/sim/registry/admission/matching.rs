//! Which writes rules and selectors mean.

use serde_json::Value;

use super::Request;
use crate::sim::controllers::object::selects;
use crate::sim::resource::{Key, Resource};
use crate::sim::world::World;

/// Whether `matchConstraints`, `matchResources`, or a webhook's own rules, mean a write. `rules`: the field with the rules.
pub(super) fn matches(world: &World, constraints: &Value, rules: &str, request: &Request<'_>) -> bool {
    let exact = constraints["matchPolicy"] == "Exact";
    let any = |field: &str| constraints[field].as_array().into_iter().flatten().any(|rule| rule_matches(rule, exact, request));
    // A binding without rules of its own means whatever its policy means.
    let given = constraints[rules].as_array().is_some_and(|r| !r.is_empty());
    (!given || any(rules))
        && !any("excludeResourceRules")
        && namespace_matches(world, &constraints["namespaceSelector"], request)
        && object_matches(&constraints["objectSelector"], request)
}

/// Whether there is a rule at all.
pub(super) fn has_rules(constraints: &Value, rules: &str) -> bool {
    constraints[rules].as_array().is_some_and(|r| !r.is_empty())
}

fn lists(rule: &Value, field: &str, wanted: impl Fn(&str) -> bool) -> bool {
    rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).any(|given| given == "*" || wanted(given))
}

fn rule_matches(rule: &Value, exact: bool, request: &Request<'_>) -> bool {
    let kind = request.kind;
    let resource = |given: &str| {
        let (plural, sub) = given.split_once('/').unwrap_or((given, ""));
        (plural == "*" || plural == kind.plural) && (sub == request.subresource || (sub == "*" && given != "*"))
    };
    // A star alone means all resources, but none of their subresources.
    let named = rule["resources"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut named = named.map(|given| if given == "*" { request.subresource.is_empty() } else { resource(given) });
    let scope = match rule["scope"].as_str() {
        Some("Namespaced") => kind.namespaced,
        Some("Cluster") => !kind.namespaced,
        _ => true,
    };
    let names = rule["resourceNames"].as_array().is_none_or(|names| names.is_empty() || names.iter().any(|n| *n == *request.key.name));
    lists(rule, "operations", |given| given == request.operation.name())
        && lists(rule, "apiGroups", |given| given == kind.group)
        // Any version of a kind is as good as the one that is kept.
        && (lists(rule, "apiVersions", |given| given == kind.version) || !exact)
        && named.any(|yes| yes)
        && scope
        && names
}

fn namespace_matches(world: &World, selector: &Value, request: &Request<'_>) -> bool {
    if is_empty(selector) {
        return true;
    }
    let namespaces = Resource::new("", "namespaces");
    let labels = |object: &Value| object["metadata"]["labels"].clone();
    if request.key.resource == namespaces {
        return request.object.or(request.old).is_none_or(|namespace| selects(selector, &labels(namespace)));
    }
    if request.key.namespace.is_empty() {
        return true;
    }
    let namespace = world.store.get(&Key::new(&namespaces, "", &request.key.namespace));
    namespace.is_none_or(|namespace| selects(selector, &labels(namespace)))
}

fn object_matches(selector: &Value, request: &Request<'_>) -> bool {
    is_empty(selector) || request.object.into_iter().chain(request.old).any(|object| selects(selector, &object["metadata"]["labels"]))
}

fn is_empty(selector: &Value) -> bool {
    let none = |field: &str| {
        selector[field].as_object().is_none_or(serde_json::Map::is_empty) && selector[field].as_array().is_none_or(Vec::is_empty)
    };
    none("matchLabels") && none("matchExpressions")
}
