use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::{DeleteOptions, Part, create, delete, update};
use super::{Requester, kind, take_warnings};
use crate::sim::config::SimConfig;
use crate::sim::resource::{Key, Resource};
use crate::sim::world::World;

fn world() -> World {
    let mut w = World::new(Arc::new(SimConfig::default()));
    make(&mut w, "", "namespaces", "", json!({"metadata": {"name": "demo", "labels": {"env": "test"}}}));
    w
}

fn make(w: &mut World, group: &str, plural: &str, namespace: &str, object: Value) {
    create(w, &Resource::new(group, plural), namespace, object).unwrap();
    pass(w, 1);
}

fn pass(w: &mut World, seconds: u64) {
    w.settle();
    let later = w.now.after(Duration::from_secs(seconds));
    w.advance_to(later);
}

fn deployments() -> Resource {
    Resource::new("apps", "deployments")
}

fn deployment(name: &str, replicas: u32) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "nginx:1.25"}]}}}})
}

fn policy(name: &str, resource: &str, spec: &Value) -> Value {
    let (group, plural) = resource.split_once('/').unwrap_or(("", resource));
    let rule = json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE", "DELETE"], "resources": [plural]});
    let mut object = json!({"metadata": {"name": name}, "spec": {"matchConstraints": {"resourceRules": [rule]}}});
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    object
}

fn bind(w: &mut World, policy: &str, actions: &[&str], more: &Value) {
    let mut object =
        json!({"metadata": {"name": format!("{policy}-binding")}, "spec": {"policyName": policy, "validationActions": actions}});
    for (field, value) in more.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    make(w, super::GROUP, "validatingadmissionpolicybindings", "", object);
}

fn refused(w: &mut World, resource: &Resource, object: Value) -> (u16, String) {
    create(w, resource, "demo", object).map_or_else(|e| (e.code, e.message), |_| (201, String::new()))
}

#[test]
fn bound_policies_refuse_in_the_real_words() {
    let mut w = world();
    let spec = json!({"validations": [{"expression": "object.spec.replicas <= 5", "messageExpression": "'at most 5 replicas, not ' + string(object.spec.replicas)"}],
        "matchConditions": [{"name": "no-system", "expression": "!object.metadata.name.startsWith('sys')"}]});
    make(&mut w, super::GROUP, "validatingadmissionpolicies", "", policy("limit", "apps/deployments", &spec));
    assert_eq!(refused(&mut w, &deployments(), deployment("a", 6)).0, 201, "a policy that nothing binds says nothing");
    bind(&mut w, "limit", &["Deny"], &json!({"matchResources": {"namespaceSelector": {"matchLabels": {"env": "test"}}}}));
    let text = "deployments.apps \"b\" is forbidden: ValidatingAdmissionPolicy 'limit' with binding 'limit-binding' denied request: at most 5 replicas, not 6";
    let status = create(&mut w, &deployments(), "demo", deployment("b", 6)).unwrap_err();
    assert_eq!((status.code, status.reason, status.message.as_str()), (422, "Invalid", text));
    let why = text.split_once("forbidden: ").unwrap().1;
    assert_eq!(status.details, json!({"name": "b", "group": "apps", "kind": "deployments", "causes": [{"message": why}]}));
    assert_eq!(refused(&mut w, &deployments(), deployment("b", 5)).0, 201);
    assert_eq!(refused(&mut w, &deployments(), deployment("sys", 9)).0, 201, "a condition that does not hold");
    assert!(create(&mut w, &deployments(), "default", deployment("b", 6)).is_ok(), "another namespace's labels");
    let key = Key::new(&deployments(), "demo", "b");
    assert_eq!(update(&mut w, &key, deployment("b", 7), Part::Main).unwrap_err().code, 422);
    let policy = w.store.get(&Key::new(&kind("validatingadmissionpolicies"), "", "limit")).unwrap();
    assert_eq!(policy["status"], json!({"observedGeneration": 1, "typeChecking": {}}));
    delete(&mut w, &Key::new(&kind("validatingadmissionpolicybindings"), "", "limit-binding"), &DeleteOptions::default()).unwrap();
    w.settle();
    assert_eq!(refused(&mut w, &deployments(), deployment("c", 6)).0, 201);
}

#[test]
fn variables_parameters_old_objects_and_warnings_work() {
    let mut w = world();
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "variables": [{"name": "most", "expression": "int(params.data.most)"},
            {"name": "twice", "expression": "variables.most * 2"}],
        "validations": [
            {"expression": "request.operation != 'CREATE' || object.spec.replicas <= variables.twice", "message": "too many", "reason": "Forbidden"},
            {"expression": "request.operation != 'DELETE' || !has(oldObject.metadata.annotations) || !('keep' in oldObject.metadata.annotations)", "message": "it is kept"}]});
    make(&mut w, super::GROUP, "validatingadmissionpolicies", "", policy("p", "apps/deployments", &spec));
    let reference = json!({"paramRef": {"name": "limits", "namespace": "demo", "parameterNotFoundAction": "Deny"}});
    bind(&mut w, "p", &["Deny"], &reference);
    let missing = refused(&mut w, &deployments(), deployment("a", 1));
    assert!(
        missing.1.ends_with(
            "denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        ),
        "{missing:?}"
    );
    make(&mut w, "", "configmaps", "demo", json!({"metadata": {"name": "limits"}, "data": {"most": "2"}}));
    assert_eq!(refused(&mut w, &deployments(), deployment("a", 4)).0, 201);
    let (code, text) = refused(&mut w, &deployments(), deployment("b", 5));
    assert_eq!((code, text.ends_with("denied request: too many")), (403, true), "{text}");
    let mut kept = deployment("kept", 1);
    kept["metadata"]["annotations"] = json!({"keep": "yes"});
    make(&mut w, "apps", "deployments", "demo", kept);
    let key = Key::new(&deployments(), "demo", "kept");
    assert_eq!(delete(&mut w, &key, &DeleteOptions::default()).unwrap_err().code, 422);
    delete(&mut w, &Key::new(&deployments(), "demo", "a"), &DeleteOptions::default()).unwrap();
    // What only warns refuses nothing.
    let spec = json!({"validations": [{"expression": "has(object.metadata.labels.team)", "message": "a team is missing"}]});
    make(&mut w, super::GROUP, "validatingadmissionpolicies", "", policy("team", "configmaps", &spec));
    bind(&mut w, "team", &["Warn", "Audit"], &Value::Null);
    make(&mut w, "", "configmaps", "demo", json!({"metadata": {"name": "w"}}));
    assert!(take_warnings(&w).is_empty(), "nobody asked");
    w.requester = Some(Requester::default());
    make(&mut w, "", "configmaps", "demo", json!({"metadata": {"name": "x"}}));
    assert_eq!(
        take_warnings(&w),
        [
            "Validation failed for ValidatingAdmissionPolicy 'team' with binding 'team-binding': expression 'has(object.metadata.labels.team)' resulted in error: no such key: labels"
        ]
    );
}

#[test]
fn failing_expressions_follow_the_policy() {
    let mut w = world();
    for (name, failure) in [("closed", "Fail"), ("open", "Ignore")] {
        let spec = json!({"failurePolicy": failure, "validations": [{"expression": "object.data.x == 'y'"}],
            "matchConditions": [{"name": "its", "expression": format!("object.metadata.name == '{name}'")}]});
        make(&mut w, super::GROUP, "validatingadmissionpolicies", "", policy(name, "configmaps", &spec));
        bind(&mut w, name, &["Deny"], &Value::Null);
    }
    let maps = Resource::new("", "configmaps");
    let (code, text) = refused(&mut w, &maps, json!({"metadata": {"name": "closed"}}));
    assert_eq!(code, 422);
    assert!(text.ends_with("denied request: expression 'object.data.x == 'y'' resulted in error: no such key: data"), "{text}");
    assert_eq!(refused(&mut w, &maps, json!({"metadata": {"name": "open"}})).0, 201);
    let policies = kind("validatingadmissionpolicies");
    let wrong = create(&mut w, &policies, "", policy("w", "pods", &json!({"validations": [{"expression": "objekt.spec"}]}))).unwrap_err();
    let conditions: Vec<Value> = (0..65).map(|i| json!({"name": format!("c{i}"), "expression": "true"})).collect();
    let many = policy("w", "pods", &json!({"validations": [{"expression": "true"}], "matchConditions": conditions}));
    let many = create(&mut w, &policies, "", many).unwrap_err();
    assert!(many.message.ends_with("spec.matchConditions: Too many: 65: must have at most 64 items"), "{}", many.message);
    let at = "spec.validations[0].expression: Invalid value: \"objekt.spec\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'objekt' (in container '')";
    assert_eq!(wrong.code, 422);
    assert!(wrong.message.contains(at), "{}", wrong.message);
}

#[test]
fn controllers_are_refused_as_clients_are() {
    let mut w = world();
    let spec = json!({"validations": [{"expression": "object.spec.containers.all(c, !c.image.startsWith('nginx'))", "message": "no nginx"},
        {"expression": "request.userInfo.username == 'system:serviceaccount:kube-system:replicaset-controller'", "message": "not by hand"}]});
    make(&mut w, super::GROUP, "validatingadmissionpolicies", "", policy("images", "pods", &spec));
    bind(&mut w, "images", &["Deny"], &Value::Null);
    make(&mut w, "apps", "deployments", "demo", deployment("web", 2));
    let pods = Resource::new("", "pods");
    assert_eq!(w.store.list(&pods, Some("demo")).count(), 0);
    let events: Vec<String> =
        w.store.list(&Resource::new("", "events"), Some("demo")).map(|(_, e)| e["message"].as_str().unwrap().to_owned()).collect();
    let refusal = "ValidatingAdmissionPolicy 'images' with binding 'images-binding' denied request: no nginx";
    assert!(events.iter().any(|m| m.starts_with("Error creating: pods \"web-") && m.ends_with(refusal)), "{events:?}");
    let bare = json!({"metadata": {"name": "bare"}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}});
    assert!(refused(&mut w, &pods, bare).1.ends_with("denied request: not by hand"));
    // Once the policy is gone, the pods come.
    delete(&mut w, &Key::new(&kind("validatingadmissionpolicies"), "", "images"), &DeleteOptions::default()).unwrap();
    pass(&mut w, 60);
    assert_eq!(w.store.list(&pods, Some("demo")).count(), 2);
}

fn hook(name: &str, failure: &str, client: &Value) -> Value {
    json!({"name": name, "failurePolicy": failure, "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": client,
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        "namespaceSelector": {"matchLabels": {"env": "test"}}})
}

#[test]
fn dead_webhooks_stop_what_they_watch() {
    let mut w = world();
    let service = json!({"service": {"name": "guard", "namespace": "demo", "path": "/check"}});
    let closed = json!({"metadata": {"name": "guard"}, "webhooks": [hook("guard.example.com", "Fail", &service)]});
    make(&mut w, super::GROUP, "validatingwebhookconfigurations", "", closed);
    let pods = Resource::new("", "pods");
    let pod = |name: &str| json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "nginx:1.25"}]}});
    let start = "Internal error occurred: failed calling webhook \"guard.example.com\": failed to call webhook: Post \"https://guard.demo.svc:443/check?timeout=10s\": ";
    assert_eq!(refused(&mut w, &pods, pod("a")), (500, format!("{start}service \"guard\" not found")));
    let ports = json!([{"port": 443, "targetPort": 8443}]);
    make(&mut w, "", "services", "demo", json!({"metadata": {"name": "guard"}, "spec": {"selector": {"app": "guard"}, "ports": ports}}));
    assert_eq!(refused(&mut w, &pods, pod("a")), (500, format!("{start}no endpoints available for service \"guard\"")));
    // The classical outage: its own pods need it, too.
    make(&mut w, "apps", "deployments", "demo", deployment("guard", 1));
    assert_eq!(w.store.list(&pods, Some("demo")).count(), 0);
    assert!(create(&mut w, &pods, "default", pod("a")).is_ok(), "another namespace's labels");
    // Whoever fails open lets them pass.
    let key = Key::new(&kind("validatingwebhookconfigurations"), "", "guard");
    let open = json!({"metadata": {"name": "guard"}, "webhooks": [hook("guard.example.com", "Ignore", &service)]});
    update(&mut w, &key, open, Part::Main).unwrap();
    w.settle();
    assert_eq!(refused(&mut w, &pods, pod("a")).0, 201);
    pass(&mut w, 120);
    let endpoints = w.store.get(&Key::new(&Resource::new("", "endpoints"), "demo", "guard")).unwrap();
    assert!(endpoints["subsets"][0]["addresses"].is_array(), "{endpoints}");
    // Somebody is there now, but not for this.
    let client = json!({"service": {"name": "guard", "namespace": "demo", "path": "/check"}});
    let closed = json!({"metadata": {"name": "guard"}, "webhooks": [hook("guard.example.com", "Fail", &client)]});
    update(&mut w, &key, closed, Part::Main).unwrap();
    w.settle();
    let (_, text) = refused(&mut w, &pods, pod("b"));
    assert!(text.ends_with("connection refused") || text.ends_with("HTTPS client"), "{text}");
}

#[test]
fn nothing_outside_is_called() {
    let mut w = world();
    let hooks = [("a.example.com", "https://hooks.example.com/x"), ("b.example.com", "https://127.0.0.1:9443/x")];
    let pods = Resource::new("", "pods");
    for (i, (name, url)) in hooks.into_iter().enumerate() {
        let configuration = json!({"metadata": {"name": "c"}, "webhooks": [hook(name, "Fail", &json!({"url": url}))]});
        make(&mut w, super::GROUP, "mutatingwebhookconfigurations", "", configuration);
        let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "nginx:1.25"}]}});
        let why = ["dial tcp: lookup hooks.example.com: no such host", "dial tcp 127.0.0.1:9443: connect: connection refused"][i];
        let text = format!(
            "Internal error occurred: failed calling webhook \"{name}\": failed to call webhook: Post \"{url}?timeout=10s\": {why}"
        );
        assert_eq!(refused(&mut w, &pods, pod), (500, text));
        delete(&mut w, &Key::new(&kind("mutatingwebhookconfigurations"), "", "c"), &DeleteOptions::default()).unwrap();
        w.settle();
    }
}

#[test]
fn a_webhook_that_stops_everything_can_be_taken_away() {
    let mut w = world();
    make(&mut w, "apps", "deployments", "demo", deployment("web", 2));
    pass(&mut w, 60);
    let rule = json!({"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]});
    let mut all = hook("all.example.com", "Fail", &json!({"service": {"name": "gone", "namespace": "demo"}}));
    all["rules"] = json!([rule]);
    all["namespaceSelector"] = json!({});
    make(&mut w, super::GROUP, "mutatingwebhookconfigurations", "", json!({"metadata": {"name": "all"}, "webhooks": [all]}));
    let pods = Resource::new("", "pods");
    let key = Key::new(&deployments(), "demo", "web");
    assert_eq!(update(&mut w, &key, deployment("web", 3), Part::Main).unwrap_err().code, 500);
    let pod = w.store.list(&pods, Some("demo")).next().map(|(k, _)| k.clone()).unwrap();
    assert_eq!(delete(&mut w, &pod, &DeleteOptions::default()).unwrap_err().code, 500);
    pass(&mut w, 600);
    assert_eq!(w.store.list(&pods, Some("demo")).count(), 2, "what runs goes on");
    let configuration = Key::new(&kind("mutatingwebhookconfigurations"), "", "all");
    delete(&mut w, &configuration, &DeleteOptions::default()).unwrap();
    w.settle();
    update(&mut w, &key, deployment("web", 3), Part::Main).unwrap();
    pass(&mut w, 60);
    assert_eq!(w.store.list(&pods, Some("demo")).count(), 3);
}
