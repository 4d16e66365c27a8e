use super::*;
use crate::sim::config::SimConfig;

fn world() -> World {
    let mut w = World::new(Arc::new(SimConfig::default()));
    let ns = Resource::new("", "namespaces");
    if w.store.get(&Key::new(&ns, "", "demo")).is_none() {
        create(&mut w, &ns, "", json!({"metadata": {"name": "demo"}})).unwrap();
    }
    w
}

fn deployment() -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx:1.25"}]}}}})
}

fn deployments() -> Resource {
    Resource::new("apps", "deployments")
}

#[test]
fn creation_gives_identity_and_refuses_doubles() {
    let mut w = world();
    let made = create(&mut w, &deployments(), "demo", deployment()).unwrap();
    assert_eq!((&made["apiVersion"], &made["metadata"]["generation"]), (&json!("apps/v1"), &json!(1)));
    assert_eq!(made["metadata"]["uid"].as_str().map(str::len), Some(36));
    let again = create(&mut w, &deployments(), "demo", deployment()).unwrap_err();
    assert_eq!((again.code, again.message.as_str()), (409, "deployments.apps \"web\" already exists"));
    let lost = create(&mut w, &deployments(), "nope", deployment()).unwrap_err();
    assert_eq!((lost.code, lost.message.as_str()), (404, "namespaces \"nope\" not found"));
    let generated = create(&mut w, &Resource::new("", "configmaps"), "demo", json!({"metadata": {"generateName": "g-"}})).unwrap();
    assert_eq!(generated["metadata"]["name"].as_str().map(str::len), Some(7));
    let nameless = create(&mut w, &Resource::new("", "configmaps"), "demo", json!({})).unwrap_err();
    assert_eq!(nameless.message, "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required");
}

#[test]
fn generations_count_changes_of_the_specification_only() {
    let mut w = world();
    let made = create(&mut w, &deployments(), "demo", deployment()).unwrap();
    let key = Key::new(&deployments(), "demo", "web");
    let mut o = (*made).clone();
    o["metadata"]["labels"]["k"] = "v".into();
    let labelled = update(&mut w, &key, o.clone(), Part::Main).unwrap();
    assert_eq!(labelled["metadata"]["generation"], 1);
    let stale = update(&mut w, &key, o, Part::Main).unwrap_err();
    assert_eq!((stale.code, stale.reason), (409, "Conflict"));
    let mut o = (*labelled).clone();
    o["spec"]["replicas"] = 3.into();
    o["status"] = json!({"replicas": 9});
    let scaled = update(&mut w, &key, o, Part::Main).unwrap();
    assert_eq!((&scaled["metadata"]["generation"], &scaled["status"]), (&json!(2), &json!({})));
    let mut o = (*scaled).clone();
    o["status"]["replicas"] = 1.into();
    assert_eq!(update(&mut w, &key, o, Part::Status).unwrap()["metadata"]["generation"], 2);
    let revision = w.store.revision();
    let same = (**w.store.get(&key).unwrap()).clone();
    update(&mut w, &key, same, Part::Main).unwrap();
    assert_eq!(w.store.revision(), revision, "an update that changes nothing is no change");
}

#[test]
fn selectors_are_immutable() {
    let mut w = world();
    let mut o = (*create(&mut w, &deployments(), "demo", deployment()).unwrap()).clone();
    o["spec"]["selector"]["matchLabels"]["app"] = "x".into();
    o["spec"]["template"]["metadata"]["labels"]["app"] = "x".into();
    let e = update(&mut w, &Key::new(&deployments(), "demo", "web"), o, Part::Main).unwrap_err();
    assert_eq!(
        e.message,
        "Deployment.apps \"web\" is invalid: spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"x\"}}: field is immutable"
    );
}

#[test]
fn services_get_addresses_and_keep_them() {
    let mut w = world();
    let services = Resource::new("", "services");
    let svc = |n: &str, t: &str| json!({"metadata": {"name": n}, "spec": {"type": t, "ports": [{"port": 80}], "selector": {"app": n}}});
    let a = create(&mut w, &services, "demo", svc("a", "ClusterIP")).unwrap();
    let b = create(&mut w, &services, "demo", svc("b", "NodePort")).unwrap();
    assert!(a["spec"]["clusterIP"].as_str().is_some_and(|ip| ip.starts_with("10.96.")));
    assert_ne!(a["spec"]["clusterIP"], b["spec"]["clusterIP"]);
    assert!(b["spec"]["ports"][0]["nodePort"].as_u64().is_some_and(|p| (30_000..32_768).contains(&p)));
    let key = Key::new(&services, "demo", "a");
    let kept = update(&mut w, &key, svc("a", "ClusterIP"), Part::Main).unwrap();
    assert_eq!(kept["spec"]["clusterIP"], a["spec"]["clusterIP"]);
    let mut moved = (*kept).clone();
    moved["spec"]["clusterIP"] = "10.96.9.9".into();
    assert!(update(&mut w, &key, moved, Part::Main).unwrap_err().message.contains("may not change once set"));
    let mut headless = svc("h", "ClusterIP");
    headless["spec"]["clusterIP"] = "None".into();
    assert_eq!(create(&mut w, &services, "demo", headless).unwrap()["spec"]["clusterIPs"], json!(["None"]));
}

#[test]
fn pods_are_deleted_gracefully_and_finalizers_hold() {
    let mut w = world();
    let pods = Resource::new("", "pods");
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "node-1", "terminationGracePeriodSeconds": 30,
        "containers": [{"name": "c", "image": "i"}]}});
    let made = create(&mut w, &pods, "demo", pod).unwrap();
    assert_eq!(made["spec"]["tolerations"].as_array().map(Vec::len), Some(2));
    assert!(made["spec"]["volumes"][0]["name"].as_str().is_some_and(|n| n.starts_with("kube-api-access-")));
    let key = Key::new(&pods, "demo", "p");
    let (left, gone) = delete(&mut w, &key, &DeleteOptions::default()).unwrap();
    assert!(!gone);
    assert_eq!(left["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(left["metadata"]["generation"], 2);
    let now = DeleteOptions { grace_period_s: Some(0), ..DeleteOptions::default() };
    assert!(delete(&mut w, &key, &now).unwrap().1);
    let maps = Resource::new("", "configmaps");
    create(&mut w, &maps, "demo", json!({"metadata": {"name": "c", "finalizers": ["x/y"]}})).unwrap();
    let key = Key::new(&maps, "demo", "c");
    let (held, gone) = delete(&mut w, &key, &DeleteOptions::default()).unwrap();
    assert!(!gone && !held["metadata"]["deletionTimestamp"].is_null());
    let mut o = (*held).clone();
    o["metadata"]["finalizers"] = json!(["x/y", "z/z"]);
    assert!(update(&mut w, &key, o.clone(), Part::Main).unwrap_err().message.contains("no new finalizers"));
    o["metadata"]["finalizers"] = json!([]);
    update(&mut w, &key, o, Part::Main).unwrap();
    assert!(w.store.get(&key).is_none());
}

#[test]
fn namespaces_terminate_first() {
    let mut w = world();
    let ns = Resource::new("", "namespaces");
    let key = Key::new(&ns, "", "demo");
    let (left, gone) = delete(&mut w, &key, &DeleteOptions::default()).unwrap();
    assert!(!gone);
    assert_eq!(left["status"]["phase"], "Terminating");
    let e = create(&mut w, &Resource::new("", "configmaps"), "demo", json!({"metadata": {"name": "c"}})).unwrap_err();
    assert_eq!(e.message, "configmaps \"c\" is forbidden: unable to create new content in namespace demo because it is being terminated");
    finalize_namespace(&mut w, "demo", json!([])).unwrap();
    assert!(w.store.get(&key).is_none());
}

#[test]
fn preconditions_protect_successors() {
    let mut w = world();
    create(&mut w, &deployments(), "demo", deployment()).unwrap();
    let options = DeleteOptions { uid: Some("other".into()), ..DeleteOptions::default() };
    let e = delete(&mut w, &Key::new(&deployments(), "demo", "web"), &options).unwrap_err();
    assert_eq!(e.code, 409);
    assert!(e.message.contains("Precondition failed: UID in precondition: other"));
}

#[test]
fn pods_need_their_service_account() {
    let mut w = world();
    let pods = Resource::new("", "pods");
    let pod = |name: &str| json!({"metadata": {name: "web-"}, "spec": {"serviceAccountName": "bot", "containers": [{"name": "c", "image": "nginx"}]}});
    let refused = create(&mut w, &pods, "demo", pod("generateName")).unwrap_err();
    let wanted = "pods \"web-\" is forbidden: error looking up service account demo/bot: serviceaccount \"bot\" not found";
    assert_eq!((refused.code, refused.message.as_str()), (403, wanted));
    create(&mut w, &Resource::new("", "serviceaccounts"), "demo", json!({"metadata": {"name": "bot"}})).unwrap();
    create(&mut w, &pods, "demo", pod("generateName")).unwrap();
}

#[test]
fn pods_name_classes_that_exist() {
    let mut w = world();
    let pod = |field: &str, class: &str| json!({"metadata": {"name": "p"}, "spec": {field: class, "containers": [{"name": "c", "image": "nginx"}]}});
    let pods = Resource::new("", "pods");
    let refused = |w: &mut World, field: &str| create(w, &pods, "demo", pod(field, "nope")).unwrap_err().message;
    assert_eq!(refused(&mut w, "priorityClassName"), "pods \"p\" is forbidden: no PriorityClass with name nope was found");
    assert_eq!(refused(&mut w, "runtimeClassName"), "pods \"p\" is forbidden: pod rejected: RuntimeClass \"nope\" not found");
    let made = create(&mut w, &pods, "demo", pod("priorityClassName", "system-cluster-critical")).unwrap();
    assert_eq!(made["spec"]["priority"], 2_000_000_000);
}

#[test]
fn a_status_is_written_with_its_metadata() {
    let mut w = world();
    let ingresses = Resource::new("networking.k8s.io", "ingresses");
    let ingress = json!({"metadata": {"name": "i"}, "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}});
    for (resource, object, keeps) in [(ingresses, ingress, ""), (deployments(), deployment(), "labels")] {
        create(&mut w, &resource, "demo", object).unwrap();
        let name = if keeps.is_empty() { "i" } else { "web" };
        let key = Key::new(&resource, "demo", name);
        let mut new = (**w.store.get(&key).unwrap()).clone();
        new["metadata"]["annotations"] = json!({"a": "1"});
        new["metadata"]["labels"] = json!({"l": "1"});
        new["spec"] = json!({});
        update(&mut w, &key, new, Part::Status).unwrap();
        let stored = w.store.get(&key).unwrap();
        assert_eq!(stored["metadata"]["annotations"]["a"], "1", "{name}");
        assert_eq!(stored["metadata"]["labels"]["l"] == "1", keeps.is_empty(), "{name}");
        assert_ne!(stored["spec"], json!({}), "{name}");
    }
}

#[test]
fn the_value_of_a_priority_class_stays() {
    let mut w = world();
    let classes = Resource::new("scheduling.k8s.io", "priorityclasses");
    create(&mut w, &classes, "", json!({"metadata": {"name": "high"}, "value": 5})).unwrap();
    let key = Key::new(&classes, "", "high");
    let mut new = (**w.store.get(&key).unwrap()).clone();
    new["description"] = "words".into();
    update(&mut w, &key, new, Part::Main).unwrap();
    let mut new = (**w.store.get(&key).unwrap()).clone();
    new["value"] = 6.into();
    let refused = update(&mut w, &key, new, Part::Main).unwrap_err();
    assert_eq!(refused.message, "PriorityClass.scheduling.k8s.io \"high\" is invalid: value: Forbidden: may not be changed in an update.");
}

#[test]
fn rules_of_definitions_hold() {
    let mut w = world();
    let definition = |rule: &str| {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": rule, "message": "too large"}]}}});
        json!({"metadata": {"name": "foos.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "foos", "kind": "Foo"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
    };
    let wrong = create(&mut w, &custom::definitions(), "", definition("self.sise < 5")).unwrap_err();
    let shown = "apiextensions.ValidationRule{Rule:\"self.sise < 5\", Message:\"too large\", MessageExpression:\"\", Reason:(*apiextensions.FieldValueErrorReason)(nil), FieldPath:\"\", OptionalOldSelf:(*bool)(nil)}";
    let at = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule";
    let why = "compilation failed: ERROR: <input>:1:5: undefined field 'sise'\n | self.sise < 5\n | ....^";
    let text =
        format!("CustomResourceDefinition.apiextensions.k8s.io \"foos.example.com\" is invalid: {at}: Invalid value: {shown}: {why}");
    assert_eq!((wrong.code, wrong.message), (422, text));
    let mut many = definition("true");
    let schema = &mut many["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    schema["x-kubernetes-validations"] = (0..2000).map(|_| json!({"rule": "self.size < 5"})).collect();
    let refused = create(&mut w, &custom::definitions(), "", many).unwrap_err();
    assert!(refused.message.contains("spec.validation.openAPIV3Schema: Forbidden: x-kubernetes-validations estimated rule cost total"));
    create(&mut w, &custom::definitions(), "", definition("self.size < 5")).unwrap();
    w.settle();
    let foos = Resource::new("example.com", "foos");
    let foo = |size: u32| json!({"metadata": {"name": "x"}, "spec": {"size": size}});
    let refused = create(&mut w, &foos, "demo", foo(7)).unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (422, "Foo.example.com \"x\" is invalid: spec: Invalid value: too large"));
    assert_eq!(
        refused.details["causes"][0],
        json!({"reason": "FieldValueInvalid", "message": "Invalid value: too large", "field": "spec"})
    );
    create(&mut w, &foos, "demo", foo(3)).unwrap();
    let key = Key::new(&foos, "demo", "x");
    assert_eq!(update(&mut w, &key, foo(9), Part::Main).unwrap_err().code, 422);
    update(&mut w, &key, foo(4), Part::Main).unwrap();
}
