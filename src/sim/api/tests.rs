use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::sim::config::SimConfig;
use crate::sim::server::Sim;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

pub(super) struct Client {
    pub(super) sim: Sim,
    http: reqwest::Client,
}

impl Client {
    pub(super) async fn start() -> Self {
        // Another test may have installed it before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tokens = BTreeMap::from([("t1".to_owned(), "runner".to_owned())]);
        let sim = Sim::start(SimConfig { tokens, ..SimConfig::default() }).await.unwrap();
        let c = Self { sim, http: reqwest::Client::new() };
        let (code, _) = c.post("/api/v1/namespaces", &json!({"metadata": {"name": "demo"}})).await;
        assert_eq!(code, 201);
        c
    }

    pub(super) async fn send(&self, method: &str, path: &str, head: &[(&str, &str)], body: Option<String>) -> (u16, String, String) {
        let mut r = self.http.request(method.parse().unwrap(), format!("{}{path}", self.sim.url())).header("authorization", "Bearer t1");
        for (k, v) in head {
            r = r.header(*k, *v);
        }
        if let Some(b) = body {
            r = r.body(b);
        }
        let r = r.send().await.unwrap();
        let kind = r.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        (r.status().as_u16(), kind, r.text().await.unwrap())
    }

    /// Posts bytes; an error is one of the connection.
    pub(super) async fn bytes(&self, path: &str, kind: &str, body: Vec<u8>) -> Result<(u16, String), reqwest::Error> {
        let url = format!("{}{path}", self.sim.url());
        let r = self.http.post(url).header("authorization", "Bearer t1").header("content-type", kind).body(body).send().await?;
        Ok((r.status().as_u16(), r.text().await?))
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        let (code, _, text) = self.send("GET", path, &[], None).await;
        (code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (code, _, text) = self.send("POST", path, &[("content-type", "application/json")], Some(body.to_string())).await;
        (code, serde_json::from_str(&text).unwrap())
    }

    pub(super) async fn patch(&self, path: &str, kind: &str, body: &Value) -> (u16, Value) {
        let (code, _, text) = self.send("PATCH", path, &[("content-type", kind)], Some(body.to_string())).await;
        (code, serde_json::from_str(&text).unwrap())
    }
}

fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": {"app": name}}, "spec": {"replicas": 2,
        "selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "nginx:1.25", "ports": [{"containerPort": 80}]}]}}}})
}

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/demo/deployments";
const MAPS: &str = "/api/v1/namespaces/demo/configmaps";
pub(super) const MERGE: &str = "application/merge-patch+json";

#[tokio::test]
async fn plain_paths() {
    let c = Client::start().await;
    let (code, kind, text) = c.send("GET", "/nope", &[], None).await;
    assert_eq!((code, kind.as_str(), text.as_str()), (404, "text/plain; charset=utf-8", "404 page not found\n"));
    assert_eq!(c.get("/version/").await.1["minor"], "36");
    assert_eq!(c.get("/healthz").await, (200, json!("ok")));
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let (_, kind, _) = c.send("GET", "/apis/", &[("accept", accept)], None).await;
    assert_eq!(kind, super::discovery::AGGREGATED);
    assert_eq!(c.get("/api").await.1["kind"], "APIVersions");
    assert_eq!(
        c.get("/api/v1/nopes").await,
        (
            404,
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "the server could not find the requested resource", "reason": "NotFound", "details": {}, "code": 404})
        )
    );
    let wrong = c.http.get(format!("{}/api/v1/pods", c.sim.url())).bearer_auth("wrong").send().await.unwrap();
    assert_eq!(wrong.status().as_u16(), 401);
    assert_eq!(c.http.get(format!("{}/api/v1/pods", c.sim.url())).send().await.unwrap().status().as_u16(), 200);
    assert!(serde_saphyr::from_str::<Value>(&c.sim.kubeconfig(Some("t1"))).unwrap()["users"][0]["user"]["token"] == "t1");
    c.sim.shutdown().await;
}

#[tokio::test]
async fn objects_live_and_die() {
    let c = Client::start().await;
    let (code, made) = c.post(DEPLOYMENTS, &deployment("web")).await;
    assert_eq!((code, &made["metadata"]["generation"]), (201, &json!(1)));
    assert_eq!(c.post(DEPLOYMENTS, &deployment("web")).await.1["message"], "deployments.apps \"web\" already exists");
    let web = format!("{DEPLOYMENTS}/web");
    let strategic = "application/strategic-merge-patch+json";
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]}}}});
    let (code, patched) = c.patch(&web, strategic, &patch).await;
    assert_eq!(code, 200);
    assert_eq!(patched["spec"]["template"]["spec"]["containers"][0]["image"], "nginx:1.25");
    assert_eq!(patched["metadata"]["generation"], 2);
    let (_, scale) = c.patch(&format!("{web}/scale"), MERGE, &json!({"spec": {"replicas": 5}})).await;
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!("Scale"), &json!(5), &json!("app=web")));
    let (code, refused) = c.patch(&web, "application/json-patch+json", &json!([{"op": "remove", "path": "/spec/nope/x"}])).await;
    assert_eq!((code, &refused["message"]), (422, &json!("the server rejected our request due to an error in our request")));
    let (code, wrong) = c.patch(&web, strategic, &json!({"spec": {"replicas": "two"}})).await;
    let text = " \"\" is invalid: patch: Invalid value: \"map[spec:map[replicas:two]]\": unrecognized type: int32";
    assert_eq!((code, &wrong["message"]), (422, &json!(text)));
    let (code, _) = c.patch(&format!("{web}?dryRun=All"), MERGE, &json!({"spec": {"replicas": 9}})).await;
    assert_eq!(code, 200);
    assert_eq!(c.get(&web).await.1["spec"]["replicas"], 5);
    let (_, _, text) = c.send("DELETE", &web, &[], None).await;
    let gone: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&gone["status"], &gone["details"]["kind"]), (&json!("Success"), &json!("deployments")));
    assert_eq!(c.get(&web).await.1["message"], "deployments.apps \"web\" not found");
    let (code, bad) =
        c.post("/api/v1/namespaces/demo/configmaps?fieldValidation=Strict", &json!({"metadata": {"name": "fv"}, "dataa": {}})).await;
    assert_eq!(
        (code, &bad["message"]),
        (400, &json!("ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"dataa\""))
    );
    let (_, made) = c.post(MAPS, &json!({"metadata": {"name": "fv"}, "dataa": {}})).await;
    assert!(made.get("dataa").is_none());
    let (code, _, text) = c.send("PUT", "/api/v1/namespaces/demo/pods", &[("content-type", "application/json")], Some("{}".into())).await;
    assert!(code == 405 && text.contains("the server does not allow this method on the requested resource"));
    c.sim.shutdown().await;
}

#[tokio::test]
async fn custom_kinds_refuse_strategic_patches() {
    let c = Client::start().await;
    let path = "/apis/chaos-mesh.org/v1alpha1/namespaces/demo/stresschaos";
    let chaos = json!({"metadata": {"name": "cpu"}, "spec": {"mode": "one", "selector": {"namespaces": ["demo"]}, "stressors": {"cpu": {"workers": 1}}}});
    assert_eq!(c.post(path, &chaos).await.0, 201);
    let one = format!("{path}/cpu");
    let (code, no) = c.patch(&one, "application/strategic-merge-patch+json", &json!({})).await;
    assert_eq!((code, &no["reason"]), (415, &json!("UnsupportedMediaType")));
    assert_eq!(c.patch(&one, MERGE, &json!({"spec": {"mode": "all"}})).await.1["metadata"]["generation"], 2);
    let (_, list) = c.get(path).await;
    assert_eq!(
        (&list["kind"], &list["metadata"]["continue"], &list["items"][0]["kind"]),
        (&json!("StressChaosList"), &json!(""), &json!("StressChaos"))
    );
}

#[tokio::test]
async fn lists_are_paged_selected_and_shown_as_tables() {
    let c = Client::start().await;
    for i in 0..5 {
        let labels = json!({"odd": (i % 2 == 1).to_string(), "mine": "yes"});
        assert_eq!(c.post(MAPS, &json!({"metadata": {"name": format!("m{i}"), "labels": labels}, "data": {"a": "1"}})).await.0, 201);
    }
    let names =
        |v: &Value| v["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let (_, odd) = c.get(&format!("{MAPS}?labelSelector=odd%3Dtrue")).await;
    assert_eq!(names(&odd), ["m1", "m3"]);
    assert!(odd["items"][0].get("kind").is_none());
    assert_eq!(names(&c.get(&format!("{MAPS}?fieldSelector=metadata.name%3Dm4")).await.1), ["m4"]);
    assert_eq!(c.get(&format!("{MAPS}?fieldSelector=spec.nope%3D1")).await.1["message"], "field label not supported: spec.nope");
    let (_, first) = c.get(&format!("{MAPS}?limit=2&labelSelector=mine")).await;
    let next = first["metadata"]["continue"].as_str().unwrap();
    let (_, second) = c.get(&format!("{MAPS}?limit=10&labelSelector=mine&continue={next}")).await;
    assert_eq!([names(&first), names(&second)].concat(), ["m0", "m1", "m2", "m3", "m4"]);
    assert_eq!(c.get("/api/v1/pods?limit=1&continue=abc").await.0, 400);
    let (code, late) = c.get("/api/v1/pods?resourceVersion=99999999&resourceVersionMatch=Exact").await;
    assert_eq!((code, &late["details"]["causes"][0]["reason"]), (504, &json!("ResourceVersionTooLarge")));
    let (_, _, text) = c.send("GET", &format!("{MAPS}/m0"), &[("accept", TABLE)], None).await;
    let table: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&table["kind"], &table["columnDefinitions"][1]["name"]), (&json!("Table"), &json!("Data")));
    assert_eq!((&table["rows"][0]["cells"][0], &table["rows"][0]["cells"][1]), (&json!("m0"), &json!(1)));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let (_, _, text) = c.send("DELETE", &format!("{MAPS}?labelSelector=mine"), &[], None).await;
    assert_eq!(names(&serde_json::from_str(&text).unwrap()).len(), 5);
}

#[tokio::test]
async fn watches_tell_what_happens() {
    let c = Client::start().await;
    c.post(MAPS, &json!({"metadata": {"name": "a", "labels": {"x": "1"}}})).await;
    let url = format!(
        "{}{MAPS}?watch=true&labelSelector=x&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan",
        c.sim.url()
    );
    let mut stream = c.http.get(url).send().await.unwrap();
    let mut seen = String::new();
    let mut upto = async |n: usize| {
        while seen.lines().count() < n {
            seen.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
        }
        seen.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()).collect::<Vec<_>>()
    };
    let first = upto(2).await;
    assert_eq!(first[0]["type"], "ADDED");
    assert_eq!(first[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    c.patch(&format!("{MAPS}/a"), MERGE, &json!({"data": {"k": "v"}})).await;
    c.patch(&format!("{MAPS}/a"), MERGE, &json!({"metadata": {"labels": {"x": null}}})).await;
    c.post(MAPS, &json!({"metadata": {"name": "b", "labels": {"x": "1"}}})).await;
    let all = upto(5).await;
    let kinds: Vec<_> = all.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ADDED", "BOOKMARK", "MODIFIED", "DELETED", "ADDED"]);
    drop(stream);
    // In skip mode the time-out of a watch passes at once when the processes that are there only wait.
    let _outside = c.sim.engine().clock.external(Box::new(|| Some(crate::rest::Rest::default())));
    let revision = c.get(MAPS).await.1["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let (code, _, text) = c
        .send("GET", &format!("{MAPS}?watch=1&timeoutSeconds=300&resourceVersion={revision}&fieldSelector=metadata.name%3Dnone"), &[], None)
        .await;
    assert_eq!((code, text.as_str()), (200, ""));
    assert!(c.sim.engine().now().0 >= 300_000);
    assert!(c.sim.engine().with(|w| w.audit.iter().any(|a| &*a.verb == "watch" && &*a.user == "runner")));
    c.sim.shutdown().await;
}

#[tokio::test]
async fn applied_configuration_is_merged_and_pruned() {
    let c = Client::start().await;
    let path = format!("{MAPS}/ssa?fieldManager=me&force=false");
    let kind = "application/apply-patch+yaml";
    let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ssa"}, "data": data});
    let (code, made) = c.patch(&path, kind, &map(json!({"a": "1", "b": "2"}))).await;
    assert_eq!((code, &made["metadata"]["managedFields"][0]["manager"]), (201, &json!("me")));
    c.patch(&format!("{MAPS}/ssa"), MERGE, &json!({"data": {"c": "3"}})).await;
    let (code, again) = c.patch(&path, kind, &map(json!({"a": "1"}))).await;
    assert_eq!((code, &again["data"]), (200, &json!({"a": "1", "c": "3"})));
    let other = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}});
    let (code, refused) = c.patch("/api/v1/namespaces/demo/pods/x?fieldManager=me", kind, &other).await;
    let text = "Incorrect version specified in apply patch. Specified patch version: apps/v1, expected: v1";
    assert_eq!((code, &refused["message"]), (400, &json!(text)));
}

#[tokio::test]
async fn reviews_allow_and_identify() {
    let c = Client::start().await;
    let (code, r) =
        c.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &json!({"spec": {"resourceAttributes": {"verb": "get"}}})).await;
    assert_eq!((code, &r["status"]["allowed"]), (201, &json!(true)));
    let (_, r) = c.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await;
    assert_eq!(r["status"]["userInfo"]["username"], "runner");
}

#[tokio::test]
async fn pods_run_are_measured_and_evicted() {
    let c = Client::start().await;
    c.post(DEPLOYMENTS, &deployment("web")).await;
    c.sim.engine().advance_to(crate::sim::time::SimTime(60_000));
    let (_, _, text) = c.send("GET", "/api/v1/namespaces/demo/pods?labelSelector=app%3Dweb", &[("accept", TABLE)], None).await;
    let table: Value = serde_json::from_str(&text).unwrap();
    let rows = table["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|r| r["cells"][1] == "1/1" && r["cells"][2] == "Running"), "{rows:?}");
    let name = rows[0]["cells"][0].as_str().unwrap();
    let (_, metrics) = c.get("/apis/metrics.k8s.io/v1beta1/namespaces/demo/pods").await;
    assert_eq!((&metrics["kind"], &metrics["items"][0]["containers"][0]["name"]), (&json!("PodMetricsList"), &json!("c")));
    assert_eq!(c.get("/apis/metrics.k8s.io/v1beta1/nodes").await.1["items"].as_array().map(Vec::len), Some(3));
    let (code, _, log) = c.send("GET", &format!("/api/v1/namespaces/demo/pods/{name}/log?tailLines=1&timestamps=true"), &[], None).await;
    assert!(code == 200 && log.starts_with("2026-01-01T00:00:"), "{log}");
    let budget = json!({"metadata": {"name": "web"}, "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}});
    c.post("/apis/policy/v1/namespaces/demo/poddisruptionbudgets", &budget).await;
    let eviction = format!("/api/v1/namespaces/demo/pods/{name}/eviction");
    let (code, refused) = c.post(&eviction, &json!({})).await;
    assert_eq!(
        (code, &refused["details"]["causes"][0]["message"]),
        (429, &json!("The disruption budget web needs 2 healthy pods and has 2 currently"))
    );
    c.patch("/apis/policy/v1/namespaces/demo/poddisruptionbudgets/web", MERGE, &json!({"spec": {"minAvailable": 1}})).await;
    let (code, done) = c.post(&eviction, &json!({})).await;
    assert_eq!((code, &done["status"]), (201, &json!("Success")));
    c.sim.shutdown().await;
}

#[tokio::test]
async fn exec_speaks_to_a_real_client() {
    use k8s_openapi::api::core::v1::Pod;
    use kube::api::{Api, AttachParams, ListParams};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let c = Client::start().await;
    c.post(DEPLOYMENTS, &deployment("web")).await;
    c.sim.engine().advance_to(crate::sim::time::SimTime(30_000));
    let client = kube::Client::try_from(kube::Config::new(c.sim.url().parse().unwrap())).unwrap();
    let pods: Api<Pod> = Api::namespaced(client, "demo");
    let name = pods.list(&ListParams::default().labels("app=web")).await.unwrap().items[0].metadata.name.clone().unwrap();

    let before = c.sim.engine().now();
    let params = AttachParams::default().stdin(true);
    let mut run = pods.exec(&name, ["sh", "-c", "read x; echo got $x; sleep 30; echo late >&2; exit 3"], &params).await.unwrap();
    let (mut stdin, mut stdout, mut stderr) = (run.stdin().unwrap(), run.stdout().unwrap(), run.stderr().unwrap());
    let status = run.take_status().unwrap();
    stdin.write_all(b"this\n").await.unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    tokio::try_join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err)).unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("got this\n", "late\n"));
    let status = status.await.unwrap();
    assert_eq!(status.details.unwrap().causes.unwrap()[0].message.as_deref(), Some("3"));
    assert!(c.sim.engine().now().since(before).as_secs() >= 30, "the sleep took simulated time");

    let mut run = pods.exec(&name, ["no-such-program"], &AttachParams::default()).await.unwrap();
    let status = run.take_status().unwrap().await.unwrap();
    assert!(status.message.unwrap().contains("executable file not found"));
    assert!(c.sim.engine().with(|w| w.audit.iter().any(|a| &*a.verb == "exec" && a.path.ends_with("/exec"))));
    c.sim.shutdown().await;
}

#[tokio::test]
async fn commands_of_pods_are_run_and_attached_to() {
    use k8s_openapi::api::core::v1::Pod;
    use kube::api::{Api, AttachParams};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const PODS: &str = "/api/v1/namespaces/demo/pods";
    let c = Client::start().await;
    let pod = |name: &str, command: &[&str], stdin: bool| {
        json!({"metadata": {"name": name}, "spec": {"restartPolicy": "Never", "containers": [
            {"name": "c", "image": "busybox", "command": command, "stdin": stdin, "stdinOnce": stdin}]}})
    };
    c.post(PODS, &pod("once", &["sh", "-c", "echo $((6 * 7)); hostname; exit 3"], false)).await;
    c.post(PODS, &pod("typed", &["sh"], true)).await;
    c.post(PODS, &pod("wrong", &["no-such-program"], false)).await;
    let ended = |p: &Value| p["status"]["containerStatuses"][0]["state"]["terminated"].clone();
    let wait = async |name: &str| {
        // Each request lets 10 ms pass.
        for _ in 0..2000 {
            let pod = c.get(&format!("{PODS}/{name}")).await.1;
            if ended(&pod).is_object() {
                return ended(&pod);
            }
        }
        panic!("{name} does not end");
    };
    assert_eq!(wait("once").await["exitCode"], 3);
    assert_eq!(c.get(&format!("{PODS}/once/log")).await.1, "42\nonce\n");
    let wrong = wait("wrong").await;
    assert!(wrong["reason"] == "StartError" && wrong["message"].as_str().is_some_and(|m| m.contains("not found in $PATH")), "{wrong}");

    let client = kube::Client::try_from(kube::Config::new(c.sim.url().parse().unwrap())).unwrap();
    let pods: Api<Pod> = Api::namespaced(client, "demo");
    let mut run = pods.attach("typed", &AttachParams::default().stdin(true).stderr(false)).await.unwrap();
    let (mut stdin, mut stdout) = (run.stdin().unwrap(), run.stdout().unwrap());
    stdin.write_all(b"echo hello; exit 4\n").await.unwrap();
    let mut out = String::new();
    stdout.read_to_string(&mut out).await.unwrap();
    assert_eq!(out, "hello\n");
    assert_eq!(wait("typed").await["exitCode"], 4);
    assert_eq!(c.get(&format!("{PODS}/typed/log")).await.1, "hello\n");
    assert_eq!(c.get(&format!("{PODS}/typed/attach?stdout=1")).await.0, 400);
    c.sim.shutdown().await;
}

#[tokio::test]
async fn ports_are_forwarded_to_a_real_client() {
    use k8s_openapi::api::core::v1::Pod;
    use kube::api::Api;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let c = Client::start().await;
    let pod =
        json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "nginx", "ports": [{"containerPort": 80}]}]}});
    assert_eq!(c.post("/api/v1/namespaces/demo/pods", &pod).await.0, 201);
    c.sim.engine().advance_to(crate::sim::time::SimTime(30_000));
    let client = kube::Client::try_from(kube::Config::new(c.sim.url().parse().unwrap())).unwrap();
    let pods: Api<Pod> = Api::namespaced(client, "demo");
    let mut forward = pods.portforward("web", &[80, 81]).await.unwrap();
    let mut stream = forward.take_stream(80).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").await.unwrap();
    let refused = forward.take_error(81).unwrap().await.unwrap();
    assert!(refused.contains("connection refused"), "{refused}");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("Welcome to nginx!"), "{text}");
    let mut again = pods.portforward("web", &[80]).await.unwrap();
    let mut stream = again.take_stream(80).unwrap();
    stream.write_all(b"GET /nope HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").await.unwrap();
    text.clear();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 404 Not Found\r\n"), "{text}");
    assert_eq!(c.get("/api/v1/namespaces/demo/pods/web/portforward?ports=x").await.0, 400);
    c.sim.shutdown().await;
}

#[tokio::test]
async fn roles_are_enforced_over_tls() {
    let tokens = BTreeMap::from([("t1".to_owned(), "runner".to_owned()), ("t2".to_owned(), "agent".to_owned())]);
    let groups = BTreeMap::from([("agent".to_owned(), vec!["robots".to_owned()])]);
    let sim = Sim::start(SimConfig { tokens, groups, rbac: true, tls: true, ..SimConfig::default() }).await.unwrap();
    let authority = reqwest::Certificate::from_pem(sim.authority().unwrap().as_bytes()).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
    let ask = async |token: &str, method: &str, path: &str, head: &[(&str, &str)], body: Value| {
        let mut r = http.request(method.parse().unwrap(), format!("{}{path}", sim.url())).json(&body);
        if !token.is_empty() {
            r = r.bearer_auth(token);
        }
        for (k, v) in head {
            r = r.header(*k, *v);
        }
        let r = r.send().await.unwrap();
        let code = r.status().as_u16();
        (code, serde_json::from_str::<Value>(&r.text().await.unwrap()).unwrap_or_default())
    };
    assert!(sim.url().starts_with("https://"));
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(ask("t1", "GET", pods, &[], Value::Null).await.0, 200);
    let (code, refused) = ask("t2", "GET", pods, &[], Value::Null).await;
    let text = "pods is forbidden: User \"agent\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert_eq!((code, &refused["message"], &refused["reason"]), (403, &json!(text), &json!("Forbidden")));
    let role = json!({"metadata": {"name": "r"}, "rules": [{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}]});
    let home = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    assert_eq!(ask("t1", "POST", &format!("{home}/roles"), &[], role).await.0, 201);
    let binding = json!({"metadata": {"name": "b"}, "subjects": [{"kind": "Group", "name": "robots", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}});
    assert_eq!(ask("t1", "POST", &format!("{home}/rolebindings"), &[], binding).await.0, 201);
    assert_eq!(ask("t2", "GET", pods, &[], Value::Null).await.0, 200);
    assert_eq!(ask("t2", "GET", "/api/v1/pods", &[], Value::Null).await.0, 403);
    assert_eq!(ask("t2", "GET", "/apis", &[], Value::Null).await.0, 200);
    assert_eq!(
        ask("", "GET", "/apis", &[], Value::Null).await.1["message"],
        "forbidden: User \"system:anonymous\" cannot get path \"/apis\""
    );
    assert_eq!(ask("", "GET", "/version", &[], Value::Null).await.0, 200);
    let review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let may = |verb: &str| json!({"spec": {"resourceAttributes": {"namespace": "default", "verb": verb, "resource": "pods"}}});
    let (_, answer) = ask("t2", "POST", review, &[], may("list")).await;
    let why = "RBAC: allowed by RoleBinding \"b/default\" of Role \"r\" to Group \"robots\"";
    assert_eq!(answer["status"], json!({"allowed": true, "reason": why}));
    assert_eq!(ask("t2", "POST", review, &[], may("delete")).await.1["status"], json!({"allowed": false}));
    let other = [("impersonate-user", "jane")];
    assert_eq!(ask("t1", "GET", pods, &other, Value::Null).await.0, 403);
    let (code, refused) = ask("t2", "GET", pods, &other, Value::Null).await;
    assert_eq!((code, &refused["details"]), (403, &json!({"kind": "users", "name": "jane"})));
    // Leave to stand for a user is no leave to bear what is known of him.
    let rule = json!({"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]});
    let role = json!({"metadata": {"name": "stand-in"}, "rules": [rule]});
    assert_eq!(ask("t1", "POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", &[], role).await.0, 201);
    let binding = json!({"metadata": {"name": "stand-in"}, "subjects": [{"kind": "Group", "name": "robots", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "stand-in"}});
    assert_eq!(ask("t1", "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &[], binding).await.0, 201);
    let own = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    assert_eq!(ask("t2", "POST", own, &other, json!({})).await.1["status"]["userInfo"]["username"], "jane");
    for (header, resource) in [("impersonate-uid", "uids"), ("impersonate-extra-scopes", "userextras/scopes")] {
        let more = [other[0], (header, "all")];
        let (code, refused) = ask("t2", "POST", own, &more, json!({})).await;
        let words = format!("cannot impersonate resource \"{resource}\" in API group \"authentication.k8s.io\" at the cluster scope");
        assert!(code == 403 && refused["message"].as_str().unwrap().ends_with(&words), "{refused}");
    }
    sim.shutdown().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let c = Client::start().await;
    let address = c.sim.url().trim_start_matches("http://").to_owned();
    let mut slow = tokio::net::TcpStream::connect(&address).await.unwrap();
    let head = "POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tokio::time::timeout(std::time::Duration::from_mins(1), slow.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert_eq!(c.get("/version").await.0, 200, "and others are served");
}

#[tokio::test]
async fn tokens_of_accounts_are_signed_and_end_with_the_account() {
    let c = Client::start().await;
    let accounts = "/api/v1/namespaces/demo/serviceaccounts";
    assert_eq!(c.post(accounts, &json!({"metadata": {"name": "bot"}})).await.0, 201);
    let (code, made) = c.post(&format!("{accounts}/bot/token"), &json!({"spec": {"expirationSeconds": 600}})).await;
    assert_eq!(code, 201, "{made}");
    let token = made["status"]["token"].as_str().unwrap().to_owned();
    assert_eq!(token.split('.').count(), 3);
    let review = async |token: &str| {
        let asked = json!({"spec": {"token": token}});
        c.post("/apis/authentication.k8s.io/v1/tokenreviews", &asked).await.1["status"].clone()
    };
    let known = review(&token).await;
    assert_eq!(known["authenticated"], true);
    assert_eq!(known["user"]["username"], "system:serviceaccount:demo:bot");
    let (_, other) = c.post(&format!("{accounts}/bot/token"), &json!({"spec": {"audiences": ["vault"]}})).await;
    assert_eq!(review(other["status"]["token"].as_str().unwrap()).await, json!({"user": {}}), "meant for another");
    let (code, refused) = c.post(&format!("{accounts}/bot/token"), &json!({"spec": {"expirationSeconds": 60}})).await;
    assert_eq!((code, &refused["details"]["causes"][0]["field"]), (422, &json!("spec.expirationSeconds")));
    let text = "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes";
    assert_eq!(refused["message"], text);
    assert_eq!(review("sa:demo:bot").await, json!({"user": {}}), "written by hand");
    assert_eq!(c.get("/openid/v1/jwks").await.1["keys"][0]["alg"], "ES256");
    assert_eq!(c.get("/.well-known/openid-configuration").await.0, 200);
    let (code, _, _) = c.send("DELETE", &format!("{accounts}/bot"), &[], None).await;
    assert_eq!(code, 200);
    assert_eq!(c.post(accounts, &json!({"metadata": {"name": "bot"}})).await.0, 201);
    assert_eq!(review(&token).await, json!({"user": {}}), "of an account that is gone");
}

#[tokio::test]
async fn quotas_and_limit_ranges_are_admission() {
    let c = Client::start().await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1", "requests.cpu": "1"}}});
    assert_eq!(c.post("/api/v1/namespaces/demo/resourcequotas", &quota).await.0, 201);
    let pod = |name: &str, resources: Value| json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "nginx", "resources": resources}]}});
    let pods = "/api/v1/namespaces/demo/pods";
    let (code, refused) = c.post(pods, &pod("a", json!({}))).await;
    assert_eq!((code, &refused["message"]), (403, &json!("pods \"a\" is forbidden: failed quota: q: must specify requests.cpu for: c")));
    let range = json!({"metadata": {"name": "lr"}, "spec": {"limits": [{"type": "Container", "default": {"cpu": "100m"}, "defaultRequest": {"cpu": "50m"}, "max": {"cpu": "1"}}]}});
    assert_eq!(c.post("/api/v1/namespaces/demo/limitranges", &range).await.0, 201);
    let (_, refused) = c.post(pods, &pod("a", json!({"limits": {"cpu": "2"}}))).await;
    assert_eq!(refused["message"], "pods \"a\" is forbidden: maximum cpu usage per Container is 1, but limit is 2");
    let (code, made) = c.post(pods, &pod("a", json!({}))).await;
    assert_eq!((code, &made["spec"]["containers"][0]["resources"]), (201, &json!({"limits": {"cpu": "100m"}, "requests": {"cpu": "50m"}})));
    let note = "LimitRanger plugin set: cpu request for container c; cpu limit for container c";
    assert_eq!(made["metadata"]["annotations"]["kubernetes.io/limit-ranger"], note);
    let (_, refused) = c.post(pods, &pod("b", json!({}))).await;
    assert_eq!(refused["message"], "pods \"b\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1");
    c.sim.engine().charge(std::time::Duration::from_secs(1));
    let (_, quota) = c.get("/api/v1/namespaces/demo/resourcequotas/q").await;
    assert_eq!(quota["status"], json!({"hard": {"pods": "1", "requests.cpu": "1"}, "used": {"pods": "1", "requests.cpu": "50m"}}));
    c.sim.shutdown().await;
}

#[tokio::test]
async fn kinds_that_clients_define_are_served() {
    let c = Client::start().await;
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {"size": {"type": "integer", "minimum": 1}, "color": {"type": "string", "default": "red"}, "replicas": {"type": "integer"}}},
        "status": {"type": "object", "required": ["replicas"], "properties": {"replicas": {"type": "integer"}}}}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
            "selectableFields": [{"jsonPath": ".spec.color"}],
            "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]}]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let (code, made) = c.post(definitions, &definition).await;
    assert_eq!(code, 201, "{made}");
    c.sim.engine().charge(std::time::Duration::from_secs(1));
    let (_, crd) = c.get(&format!("{definitions}/widgets.example.com")).await;
    assert_eq!((&crd["status"]["conditions"][1]["type"], &crd["spec"]["names"]["singular"]), (&json!("Established"), &json!("widget")));
    let (_, list) = c.get("/apis/example.com/v1").await;
    let names: Vec<&str> = list["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["widgets", "widgets/status", "widgets/scale"]);
    assert!(c.get("/apis").await.1["groups"].as_array().unwrap().iter().any(|g| g["name"] == "example.com"));
    let widgets = "/apis/example.com/v1/namespaces/demo/widgets";
    let widget = |spec: Value| json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec});
    let (code, refused) = c.post(widgets, &widget(json!({"color": "blue"}))).await;
    assert_eq!((code, &refused["message"]), (422, &json!("Widget.example.com \"w\" is invalid: spec.size: Required value")));
    let (code, made) = c.post(widgets, &widget(json!({"size": 3, "sise": 1}))).await;
    assert_eq!((code, &made["spec"], &made["metadata"]["generation"]), (201, &json!({"size": 3, "color": "red"}), &json!(1)));
    assert_eq!(made.get("status"), None, "nobody has written one, and an empty one would lack a field");
    let (code, refused) = c.post(&format!("{widgets}?fieldValidation=Strict"), &widget(json!({"size": 3, "sise": 1}))).await;
    assert_eq!((code, &refused["message"]), (400, &json!("strict decoding error: unknown field \"spec.sise\"")));
    for (selector, code, found) in [("spec.color%3Dred", 200, 1), ("spec.color%3Dblue", 200, 0), ("spec.size%3D3", 400, 0)] {
        let (status, list) = c.get(&format!("{widgets}?fieldSelector={selector}")).await;
        assert_eq!((status, list["items"].as_array().map_or(0, Vec::len)), (code, found), "{selector}");
    }
    let one = format!("{widgets}/w");
    let (_, patched) = c.patch(&format!("{one}/status"), MERGE, &json!({"status": {"replicas": 2}, "spec": {"size": 9}})).await;
    assert_eq!((&patched["status"], &patched["spec"]["size"]), (&json!({"replicas": 2}), &json!(3)));
    // A default that comes later holds for what is there already, and stays when it is gone.
    let default = |op: &str| json!([{"op": op, "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/replicas/default", "value": 7}]);
    for op in ["add", "remove"] {
        let (code, _) = c.patch(&format!("{definitions}/widgets.example.com"), "application/json-patch+json", &default(op)).await;
        assert_eq!(code, 200);
        c.sim.engine().charge(std::time::Duration::from_secs(1));
        assert_eq!(c.get(&one).await.1["spec"]["replicas"], 7, "{op}");
    }
    let (_, scale) = c.patch(&format!("{one}/scale"), MERGE, &json!({"spec": {"replicas": 4}})).await;
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!("Scale"), &json!(4), &json!(2)));
    let (_, _, text) = c.send("GET", widgets, &[("accept", TABLE)], None).await;
    let table: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&table["columnDefinitions"][1]["name"], &table["rows"][0]["cells"]), (&json!("Size"), &json!(["w", 3])));
    let (_, index) = c.get("/openapi/v3").await;
    let url = index["paths"]["apis/example.com/v1"]["serverRelativeURL"].as_str().unwrap();
    let (_, document) = c.get(url).await;
    let patch = &document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Widget");
    assert_eq!(document["components"]["schemas"]["com.example.v1.Widget"]["properties"]["spec"]["properties"]["size"]["type"], "integer");
    let (code, _, _) = c.send("DELETE", &format!("{definitions}/widgets.example.com"), &[], None).await;
    assert_eq!((code, c.get(widgets).await.0), (200, 404));
    c.sim.shutdown().await;
}

#[tokio::test]
async fn an_address_of_its_own_tells_who_asks() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let sim = Sim::start(SimConfig { doors: vec!["agent".to_owned()], ..SimConfig::default() }).await.unwrap();
    assert!(sim.kubeconfig_of("agent").contains(&sim.url_of("agent")));
    let http = reqwest::Client::new();
    for url in [sim.url(), sim.url_of("agent")] {
        assert_eq!(http.get(format!("{url}/api/v1/namespaces")).send().await.unwrap().status().as_u16(), 200);
    }
    let users: Vec<String> = sim.engine().with(|w| w.audit.iter().map(|a| a.user.to_string()).collect());
    assert_eq!(users, ["system:anonymous", "agent"]);
    sim.shutdown().await;
}
