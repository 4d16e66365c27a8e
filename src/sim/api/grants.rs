//! Who may grant what, what tokens are worth, and what stands behind `proxy`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::tests::Client;
use crate::sim::config::SimConfig;
use crate::sim::server::Sim;
use crate::sim::time::SimTime;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

#[tokio::test]
async fn nobody_grants_what_he_does_not_have() {
    let tokens = BTreeMap::from([("t1".to_owned(), "runner".to_owned()), ("t2".to_owned(), "agent".to_owned())]);
    let groups = BTreeMap::from([("agent".to_owned(), vec!["robots".to_owned()])]);
    let sim = Sim::start(SimConfig { tokens, groups, rbac: true, ..SimConfig::default() }).await.unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::new();
    let send = async |token: &str, method: &str, path: &str, body: Value| {
        let r = http.request(method.parse().unwrap(), format!("{}{RBAC}{path}", sim.url())).bearer_auth(token);
        let r = r.header("content-type", if method == "PATCH" { "application/merge-patch+json" } else { "application/json" });
        let r = r.body(body.to_string()).send().await.unwrap();
        let code = r.status().as_u16();
        (code, serde_json::from_str::<Value>(&r.text().await.unwrap()).unwrap_or_default())
    };
    let binding = |name: &str, kind: &str, role: &str, group: &str| {
        json!({"metadata": {"name": name}, "subjects": [{"kind": "Group", "name": group, "apiGroup": "rbac.authorization.k8s.io"}],
            "roleRef": {"kind": kind, "name": role, "apiGroup": "rbac.authorization.k8s.io"}})
    };
    let (bindings, roles) = ("/namespaces/default/rolebindings", "/namespaces/default/roles");
    assert_eq!(send("t1", "POST", bindings, binding("robots", "ClusterRole", "admin", "robots")).await.0, 201);
    let role = |name: &str, resource: &str, verbs: &[&str]| json!({"metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": [resource], "verbs": verbs}]});
    assert_eq!(send("t2", "POST", roles, role("pods", "pods", &["get", "delete"])).await.0, 201, "it has this itself");
    let (code, refused) = send("t2", "POST", roles, role("nodes", "nodes", &["get", "delete"])).await;
    let held =
        "user \"agent\" (groups=[\"robots\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n";
    let text = format!(
        "roles.rbac.authorization.k8s.io \"nodes\" is forbidden: {held}{{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\" \"delete\"]}}"
    );
    assert_eq!((code, refused["message"].as_str().unwrap(), &refused["reason"]), (403, text.as_str(), &json!("Forbidden")));
    assert_eq!(refused["details"], json!({"name": "nodes", "group": "rbac.authorization.k8s.io", "kind": "roles"}));
    // Changing is granting too; labels are not.
    let more = json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    assert_eq!(send("t2", "PATCH", &format!("{roles}/pods"), more).await.0, 403);
    assert_eq!(send("t2", "PATCH", &format!("{roles}/pods"), json!({"metadata": {"labels": {"a": "b"}}})).await.0, 200);
    // So is binding a role that somebody else has written.
    let (code, refused) = send("t2", "POST", bindings, binding("all", "ClusterRole", "cluster-admin", "robots")).await;
    assert_eq!(code, 403, "{refused}");
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}\n{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}")
    );
    assert_eq!(send("t2", "POST", bindings, binding("viewers", "ClusterRole", "view", "guests")).await.0, 201);
    assert_eq!(send("t2", "POST", bindings, binding("none", "Role", "none", "guests")).await.0, 404);
    // Those who may, may.
    let binder = json!({"metadata": {"name": "binder"}, "rules": [
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["cluster-admin"], "verbs": ["bind"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate"]}]});
    assert_eq!(send("t1", "POST", roles, binder).await.0, 201);
    assert_eq!(send("t1", "POST", bindings, binding("binders", "Role", "binder", "robots")).await.0, 201);
    assert_eq!(send("t2", "POST", bindings, binding("all", "ClusterRole", "cluster-admin", "robots")).await.0, 201);
    assert_eq!(send("t2", "POST", roles, role("nodes", "nodes", &["get"])).await.0, 201);
    sim.shutdown().await;
}

async fn with_pod() -> Client {
    let c = Client::start().await;
    let spec = json!({"containers": [{"name": "c", "image": "nginx:1.25", "ports": [{"name": "http", "containerPort": 80}]}]});
    let pod = json!({"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": spec});
    assert_eq!(c.post("/api/v1/namespaces/demo/pods", &pod).await.0, 201);
    let ports = json!([{"name": "http", "port": 8080, "targetPort": "http"}, {"name": "other", "port": 81}]);
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}});
    assert_eq!(c.post("/api/v1/namespaces/demo/services", &service).await.0, 201);
    c.sim.engine().advance_to(SimTime(30_000));
    c
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pods_token_is_its_accounts_and_ends_with_it() {
    let c = with_pod().await;
    let client = kube::Client::try_from(kube::Config::new(c.sim.url().parse().unwrap())).unwrap();
    let pods: Api<Pod> = Api::namespaced(client, "demo");
    let command = ["cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"];
    let mut process = pods.exec("web", command, &AttachParams::default().stderr(false)).await.unwrap();
    let mut token = String::new();
    process.stdout().unwrap().read_to_string(&mut token).await.unwrap();
    let review = async || {
        let asked = json!({"spec": {"token": token}});
        c.post("/apis/authentication.k8s.io/v1/tokenreviews", &asked).await.1["status"].clone()
    };
    let known = review().await;
    assert_eq!(known["user"]["username"], "system:serviceaccount:demo:default", "{known}");
    let extra = &known["user"]["extra"];
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], json!(["web"]));
    assert!(extra["authentication.kubernetes.io/credential-id"][0].as_str().unwrap().starts_with("JTI="), "{extra}");
    assert!(extra["authentication.kubernetes.io/node-name"][0].as_str().unwrap().starts_with("node-"), "{extra}");
    // So is one that is asked for, bound to the pod.
    let path = "/api/v1/namespaces/demo/serviceaccounts/default/token";
    let wish = |kind: &str, name: &str, uid: &str| json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name, "uid": uid}}});
    assert_eq!(c.post(path, &wish("Pod", "web", "")).await.0, 201);
    assert_eq!(c.post(path, &wish("Pod", "none", "")).await.0, 404);
    assert_eq!(c.post(path, &wish("Pod", "web", "another")).await.0, 409);
    assert_eq!(c.post(path, &wish("ConfigMap", "web", "")).await.0, 400);
    c.send("DELETE", "/api/v1/namespaces/demo/pods/web?gracePeriodSeconds=0", &[], None).await;
    assert_eq!(review().await, json!({"user": {}}), "the pod is gone");
    c.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_answer_as_the_processes_do() {
    let c = with_pod().await;
    let demo = "/api/v1/namespaces/demo";
    for path in
        ["pods/web/proxy/", "pods/web:80/proxy/", "pods/http:web:http/proxy/", "services/web:http/proxy/", "services/web:8080/proxy/"]
    {
        let (code, kind, text) = c.send("GET", &format!("{demo}/{path}"), &[], None).await;
        assert_eq!((code, kind.as_str()), (200, "text/html"), "{path}: {text}");
        assert!(text.contains("Welcome to nginx!"), "{path}: {text}");
    }
    let (code, kind, text) = c.send("GET", &format!("{demo}/pods/web/proxy/other?a=b"), &[], None).await;
    assert_eq!((code, kind.as_str()), (404, "text/html"));
    assert!(text.contains("404 Not Found"), "{text}");
    let refused = async |path: &str| {
        let (code, status) = c.get(&format!("{demo}/{path}")).await;
        (code, status["message"].as_str().unwrap_or_default().to_owned())
    };
    let (code, message) = refused("pods/web:81/proxy/").await;
    assert!(
        code == 503
            && message.starts_with("error trying to reach service: dial tcp 10.")
            && message.ends_with(":81: connect: connection refused"),
        "{message}"
    );
    assert_eq!(refused("pods/none/proxy/").await, (404, "pods \"none\" not found".to_owned()));
    assert_eq!(refused("services/web/proxy/").await, (503, "no service port \"\" found for service \"web\"".to_owned()));
    c.send("DELETE", &format!("{demo}/pods/web?gracePeriodSeconds=0"), &[], None).await;
    c.sim.engine().charge(std::time::Duration::from_secs(2));
    assert_eq!(refused("services/web:http/proxy/").await, (503, "no endpoints available for service \"web\"".to_owned()));
    assert_eq!(c.send("GET", "/api/v1/nodes/node-1/proxy/healthz", &[], None).await.2, "ok");
    assert_eq!(c.get("/api/v1/nodes/node-1/proxy/stats/summary").await.1["node"]["nodeName"], "node-1");
    assert_eq!(c.get("/api/v1/nodes/node-1/proxy/pods").await.1["kind"], "PodList");
    assert_eq!(c.get("/api/v1/nodes/none/proxy/healthz").await.0, 404);
    c.sim.shutdown().await;
}
