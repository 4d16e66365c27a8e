//! Defaults of admission webhooks and policies.

use serde_json::{Map, Value, json};

use super::set;

/// Sets the defaults of one kind.
pub(super) fn defaults(kind: &str, root: &mut Map<String, Value>) {
    match kind {
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => {
            for hook in root.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
                webhook(hook, kind == "MutatingWebhookConfiguration");
            }
        }
        "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy" => {
            let Some(spec) = root.get_mut("spec").and_then(Value::as_object_mut) else { return };
            set(spec, "failurePolicy", "Fail");
            constraints(spec.get_mut("matchConstraints"));
        }
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => {
            constraints(root.get_mut("spec").and_then(|spec| spec.get_mut("matchResources")));
        }
        _ => {}
    }
}

fn webhook(hook: &mut Map<String, Value>, mutating: bool) {
    set(hook, "failurePolicy", "Fail");
    set(hook, "timeoutSeconds", 10);
    if mutating {
        set(hook, "reinvocationPolicy", "Never");
    }
    if let Some(service) = hook.get_mut("clientConfig").and_then(|c| c.get_mut("service")).and_then(Value::as_object_mut) {
        set(service, "port", 443);
    }
    selection(hook, &["rules"]);
}

fn constraints(given: Option<&mut Value>) {
    if let Some(constraints) = given.and_then(Value::as_object_mut) {
        selection(constraints, &["resourceRules", "excludeResourceRules"]);
    }
}

fn selection(of: &mut Map<String, Value>, rules: &[&str]) {
    set(of, "matchPolicy", "Equivalent");
    set(of, "namespaceSelector", json!({}));
    set(of, "objectSelector", json!({}));
    for field in rules {
        for rule in of.get_mut(*field).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
            set(rule, "scope", "*");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_and_policies_are_completed() {
        let rule = json!({"apiGroups": [""], "operations": ["*"]});
        let mut hooks = json!({"webhooks": [{"name": "a", "clientConfig": {"service": {"name": "s"}}, "rules": [rule]}]});
        defaults("MutatingWebhookConfiguration", hooks.as_object_mut().unwrap());
        let expected = json!({"name": "a", "clientConfig": {"service": {"name": "s", "port": 443}}, "failurePolicy": "Fail", "timeoutSeconds": 10,
            "reinvocationPolicy": "Never", "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
            "rules": [{"apiGroups": [""], "operations": ["*"], "scope": "*"}]});
        assert_eq!(hooks["webhooks"][0], expected);
        let mut policy = json!({"spec": {"failurePolicy": "Ignore", "matchConstraints": {"resourceRules": [rule]}}});
        defaults("ValidatingAdmissionPolicy", policy.as_object_mut().unwrap());
        assert_eq!(policy["spec"]["failurePolicy"], "Ignore");
        assert_eq!(policy["spec"]["matchConstraints"]["resourceRules"][0]["scope"], "*");
    }
}
