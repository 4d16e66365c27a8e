use serde_json::{Value, json};

use super::*;
use crate::sim::schema::defaults;

fn check(api_version: &str, kind: &str, mut object: Value) -> String {
    defaults(api_version, kind, &mut object);
    let causes = validate(api_version, kind, &object);
    if causes.is_empty() { String::new() } else { summary(&causes) }
}

#[test]
fn a_bad_pod_as_the_server_says_it() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "Bad_Name", "namespace": "demo"}, "spec": {"containers": [
        {"image": "nginx", "name": "c", "ports": [{"containerPort": 99999}], "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}}]}});
    assert_eq!(
        check("v1", "Pod", pod),
        "[metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), spec.containers[0].ports[0].containerPort: Invalid value: 99999: must be between 1 and 65535, inclusive, spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1]"
    );
}

fn deployment(spec: &Value) -> String {
    check("apps/v1", "Deployment", json!({"metadata": {"name": "d"}, "spec": spec}))
}

#[test]
fn bad_deployments_as_the_server_says_it() {
    assert_eq!(
        deployment(&json!({"selector": {"matchLabels": {"app": "other"}},
            "template": {"metadata": {"labels": {"app": "bad"}}, "spec": {"containers": [{"image": "nginx", "name": "c"}]}}})),
        "spec.template.metadata.labels: Invalid value: {\"app\":\"bad\"}: `selector` does not match template `labels`"
    );
    assert_eq!(
        deployment(&json!({"selector": {"matchLabels": {"app": "a"}}, "template": {"spec": {}}})),
        "[spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`, spec.template.spec.containers: Required value]"
    );
    assert_eq!(deployment(&json!({})), "[spec.selector: Required value, spec.template.spec.containers: Required value]");
    let good = json!({"selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}}, "spec": {
        "containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}], "volumes": [{"name": "v"}]}}});
    assert_eq!(deployment(&good), "");
    for (pointer, value, expected) in [
        ("/replicas", json!(-1), "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        (
            "/strategy",
            json!({"type": "Fast"}),
            "spec.strategy.type: Unsupported value: \"Fast\": supported values: \"Recreate\", \"RollingUpdate\"",
        ),
        (
            "/template/spec/restartPolicy",
            json!("Never"),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        ("/template/spec/volumes", json!([]), "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"v\""),
        ("/template/spec/containers/0/image", json!(""), "spec.template.spec.containers[0].image: Required value"),
        (
            "/template/spec/containers/0/imagePullPolicy",
            json!("Sometimes"),
            "spec.template.spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ),
        (
            "/template/spec/containers/0/livenessProbe",
            json!({}),
            "spec.template.spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
    ] {
        let mut bad = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap()[key] = value;
        assert_eq!(deployment(&bad), expected, "{pointer}");
    }
}

#[test]
fn chaos_objects_follow_their_schema() {
    let good = json!({"metadata": {"name": "cpu"}, "spec": {"mode": "one", "selector": {"labelSelectors": {"app": "web"}},
        "stressors": {"cpu": {"load": 100, "workers": 10}}}});
    let kind = ("chaos-mesh.org/v1alpha1", "StressChaos");
    assert_eq!(check(kind.0, kind.1, good.clone()), "");
    let mut bad = good.clone();
    bad["spec"]["mode"] = "some".into();
    assert_eq!(
        check(kind.0, kind.1, bad),
        "spec.mode: Unsupported value: \"some\": supported values: \"one\", \"all\", \"fixed\", \"fixed-percent\", \"random-max-percent\""
    );
    let mut bad = good.clone();
    bad["spec"]["stressors"]["cpu"] = json!({"workers": "ten"});
    bad["spec"].as_object_mut().unwrap().remove("selector");
    assert_eq!(
        check(kind.0, kind.1, bad),
        "[spec.selector: Required value, spec.stressors.cpu.workers: Invalid value: \"string\": spec.stressors.cpu.workers in body must be of type integer: \"string\"]"
    );
    let selector = json!({"namespaces": ["demo"], "labelSelectors": {"app": "web"}});
    for (kind, spec) in [
        ("NetworkChaos", json!({"action": "delay", "delay": {"latency": "1000ms", "correlation": "0"}, "direction": "to"})),
        ("NetworkChaos", json!({"action": "loss", "loss": {"loss": "50", "correlation": "0"}})),
        (
            "IOChaos",
            json!({"action": "latency", "volumePath": "/var/log/mysql", "path": "/var/log/mysql/**/*", "delay": "5s", "percent": 50}),
        ),
        ("PodChaos", json!({"action": "pod-failure", "duration": "1200s", "gracePeriod": 0})),
        ("StressChaos", json!({"stressors": {"memory": {"workers": 1, "size": "1280MiB"}}})),
    ] {
        let mut spec = spec;
        spec["mode"] = "one".into();
        spec["selector"] = selector.clone();
        let object = json!({"metadata": {"name": "x"}, "spec": spec});
        assert_eq!(super::super::unknown_fields("chaos-mesh.org/v1alpha1", kind, &object), Vec::<String>::new(), "{kind}");
        assert_eq!(check("chaos-mesh.org/v1alpha1", kind, object.clone()), "", "{kind}");
        let mut same = object.clone();
        defaults("chaos-mesh.org/v1alpha1", kind, &mut same);
        assert_eq!(same, object, "custom resources are stored as they came");
    }
    assert_eq!(check("example.com/v1", "Thing", json!({"metadata": {"name": "x"}, "anything": 1})), "");
}

#[test]
fn wrong_types_are_decoding_errors() {
    let error = |object: Value| decode_error("apps/v1", "Deployment", &object);
    assert_eq!(
        error(json!({"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "lots"}}}]}}}})).as_deref(),
        Some("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    );
    assert_eq!(
        error(json!({"spec": {"replicas": "two"}})).as_deref(),
        Some("json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32")
    );
    assert_eq!(
        error(json!({"spec": {"template": {"spec": {"containers": [{"env": [{"name": "A", "value": 1}]}]}}}})).as_deref(),
        Some("json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value of type string")
    );
    let secret = |data: &str| decode_error("v1", "Secret", &json!({"data": {"p": data}}));
    assert_eq!(secret("c*Q=").as_deref(), Some("illegal base64 data at input byte 1"));
    assert_eq!(secret("cQ=="), None);
    assert!(error(json!({"metadata": {"creationTimestamp": "yesterday"}})).unwrap().starts_with("parsing time \"yesterday\""));
    assert_eq!(error(json!({"spec": {"replicas": null, "strategy": {"rollingUpdate": {"maxSurge": 1}}}})), None);
}

#[test]
fn immutable_fields() {
    let old = json!({"spec": {"selector": {"matchLabels": {"app": "a"}}}});
    let new = json!({"spec": {"selector": {"matchLabels": {"app": "x"}}}});
    let causes = validate_update("apps/v1", "Deployment", &new, &old);
    assert_eq!(summary(&causes), "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"x\"}}: field is immutable");
    let claim = |size: &str, mode: &str| json!({"spec": {"accessModes": [mode], "resources": {"requests": {"storage": size}}}});
    assert!(validate_update("v1", "PersistentVolumeClaim", &claim("2Gi", "ReadWriteOnce"), &claim("1Gi", "ReadWriteOnce")).is_empty());
    assert_eq!(validate_update("v1", "PersistentVolumeClaim", &claim("1Gi", "ReadWriteMany"), &claim("1Gi", "ReadWriteOnce")).len(), 1);
    let set = |name: &str, replicas: i64| json!({"spec": {"serviceName": name, "replicas": replicas}});
    assert!(validate_update("apps/v1", "StatefulSet", &set("a", 2), &set("a", 1)).is_empty());
    assert_eq!(validate_update("apps/v1", "StatefulSet", &set("b", 1), &set("a", 1)).len(), 1);
    let pod =
        |cpu: &str, image: &str| json!({"spec": {"containers": [{"name": "c", "image": image, "resources": {"limits": {"cpu": cpu}}}]}});
    assert!(validate_update("v1", "Pod", &pod("1", "b"), &pod("1", "a")).is_empty());
    assert_eq!(validate_update("v1", "Pod", &pod("2", "a"), &pod("1", "a"))[0].reason, "FieldValueForbidden");
}

#[test]
fn containers_may_mount_the_claims_of_a_stateful_set() {
    let set = |claim: &str| {
        check(
            "apps/v1",
            "StatefulSet",
            json!({"metadata": {"name": "s"}, "spec": {"selector": {"matchLabels": {"app": "a"}}, "serviceName": "s",
            "volumeClaimTemplates": [{"metadata": {"name": claim}}],
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [
                {"name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]}}}}),
        )
    };
    assert_eq!(set("data"), "");
    assert_eq!(set("other"), "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\"");
}

#[test]
fn other_kinds() {
    let service = |spec: Value| check("v1", "Service", json!({"metadata": {"name": "s"}, "spec": spec}));
    assert_eq!(service(json!({"ports": [{"port": 80}]})), "");
    assert_eq!(service(json!({})), "spec.ports: Required value");
    assert!(service(json!({"type": "Odd", "ports": [{"port": 80}]})).starts_with("spec.type: Unsupported value: \"Odd\""));
    assert!(check("v1", "ConfigMap", json!({"metadata": {"name": "c"}, "data": {"a b": "x"}})).starts_with("data[a b]: Invalid value"));
    assert_eq!(check("v1", "ConfigMap", json!({})), "metadata.name: Required value: name or generateName is required");
    assert!(
        check("v1", "ConfigMap", json!({"metadata": {"name": "c", "labels": {"bad key!": "v"}}}))
            .starts_with("metadata.labels: Invalid value: \"bad key!\": name part must")
    );
    assert_eq!(check("authorization.k8s.io/v1", "SelfSubjectAccessReview", json!({"spec": {}})), "");
}
