//! Defaults compared with what a real server answered.

use serde_json::{Value, json};

use super::defaults;

#[test]
fn a_deployment_gets_what_the_server_adds() {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {
        "selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}}, "spec": {
            "containers": [{"name": "c", "image": "nginx", "resources": {"limits": {"cpu": 1}}, "readinessProbe": {"httpGet": {"port": 80}}}],
            "volumes": [{"name": "v"}, {"name": "w", "configMap": {"name": "x"}}]}}}});
    defaults("apps/v1", "Deployment", &mut object);
    let spec = &object["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["strategy"], json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}));
    let container = &spec["template"]["spec"]["containers"][0];
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(container["resources"], json!({"limits": {"cpu": "1"}}));
    assert_eq!(
        container["readinessProbe"],
        json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
        "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3})
    );
    assert_eq!(
        spec["template"]["spec"]["volumes"],
        json!([{"name": "v", "emptyDir": {}}, {"name": "w", "configMap": {"name": "x", "defaultMode": 420}}])
    );
    let before = object.clone();
    defaults("apps/v1", "Deployment", &mut object);
    assert_eq!(object, before, "defaults are a fixed point");
}

#[test]
fn a_pod_gets_requests_from_limits_and_its_class() {
    let mut object = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "a:1",
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]}});
    defaults("v1", "Pod", &mut object);
    assert_eq!(object["spec"]["containers"][0]["resources"]["requests"], json!({"cpu": "1", "memory": "1Gi"}));
    assert_eq!(object["status"], json!({"phase": "Pending", "qosClass": "Guaranteed"}));
    assert_eq!(object["spec"]["serviceAccountName"], "default");
}

#[test]
fn plain_secrets_are_encoded() {
    let mut object = json!({"metadata": {"name": "s"}, "stringData": {"p": "q"}});
    defaults("v1", "Secret", &mut object);
    assert_eq!(object, json!({"metadata": {"name": "s"}, "type": "Opaque", "data": {"p": "cQ=="}}));
}

#[test]
fn unknown_kinds_and_odd_shapes_pass_untouched() {
    for object in [json!({"spec": {"replicas": 1}}), json!(3), json!(null), json!([])] {
        let mut copy: Value = object.clone();
        defaults("example.com/v1", "Thing", &mut copy);
        assert_eq!(copy, object);
    }
    let mut odd = json!({"metadata": 1, "spec": {"template": [], "strategy": "x", "containers": {}}});
    defaults("apps/v1", "Deployment", &mut odd);
    assert_eq!(odd["spec"]["strategy"], "x");
}
