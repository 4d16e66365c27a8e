//! What the test suites of client libraries and of kubectl rely on, beyond what the recorded scenarios show.

use base64::Engine as _;
use serde_json::{Value, json};

use super::tests::Client;
use crate::sim::config::SimConfig;
use crate::sim::server::Sim;

const MAPS: &str = "/api/v1/namespaces/demo/configmaps";
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[tokio::test]
async fn errors_are_compared_as_text() {
    let c = Client::start().await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}).to_string();
    assert_eq!(c.send("POST", MAPS, JSON, Some(map.clone())).await.0, 201);
    let (code, _, text) = c.send("POST", MAPS, JSON, Some(map)).await;
    let wanted = concat!(
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"configmaps \"c\" already exists","#,
        r#""reason":"AlreadyExists","details":{"name":"c","kind":"configmaps"},"code":409}"#,
        "\n"
    );
    assert_eq!((code, text.as_str()), (409, wanted));
    let (_, _, text) = c.send("GET", "/api/v1", &[], None).await;
    let maps = concat!(
        r#"{"name":"configmaps","singularName":"configmap","namespaced":true,"kind":"ConfigMap","#,
        r#""verbs":["create","delete","deletecollection","get","list","patch","update","watch"],"shortNames":["cm"],"storageVersionHash":"qFsyl6wFWjQ="}"#
    );
    assert!(text.contains(maps), "{text}");
    c.sim.shutdown().await;
}

#[tokio::test]
async fn resources_stored_as_one_have_one_hash() {
    let c = Client::start().await;
    for (path, resource, hash) in [
        ("/apis/apps/v1", "deployments", "8aSe+NMegvE="),
        ("/api/v1", "events", "r2yiGXH7wu8="),
        ("/apis/events.k8s.io/v1", "events", "r2yiGXH7wu8="),
        ("/apis/autoscaling/v1", "horizontalpodautoscalers", "qwQve8ut294="),
        ("/apis/chaos-mesh.org/v1alpha1", "stresschaos", "bFpwRwAn7G8="),
    ] {
        let (_, list) = c.get(path).await;
        let found = list["resources"].as_array().unwrap().iter().find(|r| r["name"] == resource).unwrap();
        assert_eq!(found["storageVersionHash"], hash, "{path} {resource}");
    }
    c.sim.shutdown().await;
}

#[tokio::test]
async fn version_zero_replaces_whatever_is_stored() {
    let c = Client::start().await;
    assert_eq!(c.post(MAPS, &json!({"metadata": {"name": "c"}})).await.0, 201);
    for (version, code) in [("0", 200), ("1", 409), ("", 200)] {
        let body = json!({"metadata": {"name": "c", "resourceVersion": version, "labels": {"v": version}}}).to_string();
        assert_eq!(c.send("PUT", &format!("{MAPS}/c"), JSON, Some(body)).await.0, code, "{version:?}");
    }
    c.sim.shutdown().await;
}

#[tokio::test]
async fn several_objects_can_be_edited_at_once() {
    // kubectl checks their list against this document before it sends the first of them.
    let c = Client::start().await;
    let (code, kind, body) = c.send("GET", "/openapi/v2", &[("accept", super::discovery::SWAGGER_ASKED)], None).await;
    assert_eq!((code, kind.as_str()), (200, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"));
    assert!(body.starts_with("\n\u{3}2.0") && body.contains("io.k8s.api.apps.v1.Deployment"));
    // Whoever wants JSON gets it whole.
    let (code, kind, body) = c.send("GET", "/openapi/v2", &[("accept", "application/json")], None).await;
    assert_eq!((code, kind.as_str()), (200, "application/json"));
    for text in ["list of returned", "List of services", "Watch for changes to the described resources"] {
        assert!(body.contains(text), "{text}");
    }
    c.sim.shutdown().await;
}

#[tokio::test]
async fn revisions_keep_the_cause_of_a_change() {
    let c = Client::start().await;
    let pod = json!({"metadata": {"labels": {"app": "s"}}, "spec": {"containers": [{"name": "c", "image": "nginx:1.25"}]}});
    let mut set = json!({"metadata": {"annotations": {"kubernetes.io/change-cause": "because"}},
        "spec": {"serviceName": "s", "selector": {"matchLabels": {"app": "s"}}, "template": pod}});
    for plural in ["statefulsets", "daemonsets"] {
        set["metadata"]["name"] = plural.into();
        assert_eq!(c.post(&format!("/apis/apps/v1/namespaces/demo/{plural}"), &set).await.0, 201);
    }
    let mut causes = Vec::new();
    for _ in 0..50 {
        let (_, list) = c.get("/apis/apps/v1/namespaces/demo/controllerrevisions").await;
        causes =
            list["items"].as_array().unwrap().iter().map(|r| r["metadata"]["annotations"]["kubernetes.io/change-cause"].clone()).collect();
        if causes.len() == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(causes, ["because", "because"]);
    c.sim.shutdown().await;
}

#[tokio::test]
async fn a_certificate_tells_who_asks() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    // A token beside a certificate counts for nothing.
    let tokens = [("t".to_owned(), "somebody".to_owned())].into();
    let sim = Sim::start(SimConfig { tokens, rbac: true, tls: true, ..SimConfig::default() }).await.unwrap();
    assert!(sim.kubeconfig(Some("t")).contains("token"));
    let config = sim.administrator_kubeconfig("t").unwrap();
    // Scripts cut keys out by lines.
    for key in ["certificate-authority-data", "client-certificate-data", "client-key-data"] {
        assert!(config.lines().any(|l| l.trim().split_once(": ").is_some_and(|(k, v)| k == key && v.len() > 100)), "{config}");
    }
    let config: kube::config::Kubeconfig = serde_saphyr::from_str(&config).unwrap();
    let config = kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await.unwrap();
    let client = kube::Client::try_from(config).unwrap();
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string().into_bytes();
    let request = http::Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews").header("content-type", "application/json");
    let answer: Value = client.request(request.body(review).unwrap()).await.unwrap();
    let user = &answer["status"]["userInfo"];
    assert_eq!((&user["username"], &user["groups"]), (&json!("kubernetes-admin"), &json!(["system:masters", "system:authenticated"])));
    let credential = user["extra"]["authentication.kubernetes.io/credential-id"][0].as_str().unwrap();
    assert!(credential.strip_prefix("X509SHA256=").is_some_and(|hex| hex.len() == 64), "{credential}");
    let secrets: Value = client.request(http::Request::get("/api/v1/secrets").body(Vec::new()).unwrap()).await.unwrap();
    assert_eq!(secrets["kind"], "SecretList");
    sim.shutdown().await;
}

#[tokio::test]
async fn ephemeral_containers_come_without_the_rest_of_their_pod() {
    let c = Client::start().await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "busybox", "command": ["sleep", "9"]}]}});
    assert_eq!(c.post("/api/v1/namespaces/demo/pods", &pod).await.0, 201);
    let path = "/api/v1/namespaces/demo/pods/p/ephemeralcontainers";
    let shell = |name: &str| json!({"spec": {"ephemeralContainers": [{"name": name, "image": "busybox", "command": ["sleep", "2"]}]}});
    let mut first = shell("one");
    first["metadata"] = json!({"name": "p"});
    let (code, _, text) = c.send("PUT", path, JSON, Some(first.to_string())).await;
    assert_eq!(code, 200, "{text}");
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    let (code, _, text) = c.send("PATCH", path, &strategic, Some(shell("two").to_string())).await;
    assert_eq!(code, 200, "{text}");
    let (_, pod) = c.get(path).await;
    let names: Vec<&Value> = pod["spec"]["ephemeralContainers"].as_array().unwrap().iter().map(|e| &e["name"]).collect();
    assert!(names.len() == 2 && names.contains(&&json!("one")) && pod["spec"]["containers"][0]["name"] == "c", "{pod}");
    c.sim.shutdown().await;
}

#[tokio::test]
async fn requests_for_certificates_are_approved() {
    let c = Client::start().await;
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let request = json!({"metadata": {"name": "r"}, "spec": {"request": "eA==", "signerName": "example.com/s", "usages": ["client auth"]}});
    let (code, made) = c.post(path, &request).await;
    assert_eq!(code, 201, "{made}");
    let approval = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "r"}]}}).to_string();
    let merge = [("content-type", "application/merge-patch+json")];
    let (code, _, text) = c.send("PATCH", &format!("{path}/r/approval"), &merge, Some(approval)).await;
    assert_eq!(code, 200, "{text}");
    let (_, seen) = c.get(&format!("{path}/r/approval")).await;
    let condition = &seen["status"]["conditions"][0];
    assert!(condition["type"] == "Approved" && condition["lastUpdateTime"].is_string(), "{seen}");
    c.sim.shutdown().await;
}

#[tokio::test]
async fn an_approved_request_becomes_a_certificate_that_is_let_in() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The TLS library checks certificates by the machine's clock.
    let start = crate::sim::time::SimTime::of(jiff::Timestamp::now());
    let sim = Sim::start(SimConfig { start, rbac: true, tls: true, ..SimConfig::default() }).await.unwrap();
    let config = |text: &str| serde_saphyr::from_str::<kube::config::Kubeconfig>(text).unwrap();
    let of = async |config: kube::config::Kubeconfig| {
        kube::Client::try_from(kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await.unwrap())
            .unwrap()
    };
    let administrator = config(&sim.administrator_kubeconfig("t").unwrap());
    let client = of(administrator.clone()).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut wanted = rcgen::CertificateParams::default();
    wanted.distinguished_name = rcgen::DistinguishedName::new();
    wanted.distinguished_name.push(rcgen::DnType::CommonName, "jane");
    wanted.distinguished_name.push(rcgen::DnType::OrganizationName, "developers");
    // The same attribute once more, by its number: the library has one place for each name.
    wanted.distinguished_name.push(rcgen::DnType::CustomDnType(vec![2, 5, 4, 10]), "testers");
    let request = base64::engine::general_purpose::STANDARD.encode(wanted.serialize_request(&key).unwrap().pem().unwrap());
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let send = async |method: &str, path: &str, body: &Value| -> Value {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
        client.request(request.body(body.to_string().into_bytes()).unwrap()).await.unwrap()
    };
    for (name, usage) in [("jane", "client auth"), ("server", "server auth")] {
        let spec = json!({"request": request, "signerName": "kubernetes.io/kube-apiserver-client", "usages": [usage]});
        send("POST", path, &json!({"metadata": {"name": name}, "spec": spec})).await;
        let approval = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "r"}]}});
        send("PATCH", &format!("{path}/{name}/approval"), &approval).await;
    }
    let seen = async |name: &str| -> Value {
        for _ in 0..50 {
            let request = http::Request::get(format!("{path}/{name}")).body(Vec::new()).unwrap();
            let seen: Value = client.request(request).await.unwrap();
            if seen["status"]["certificate"].is_string() || seen["status"]["conditions"].as_array().is_some_and(|c| c.len() > 1) {
                return seen;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("{name} was not signed");
    };
    let refused = seen("server").await;
    assert_eq!(refused["status"]["conditions"][1]["reason"], "SignerValidationFailure");
    assert!(refused["status"]["certificate"].is_null());
    let signed = seen("jane").await;
    assert_eq!(signed["spec"]["username"], "kubernetes-admin");
    let mut own = administrator;
    let user = own.auth_infos[0].auth_info.as_mut().unwrap();
    user.token = None;
    user.client_certificate_data = Some(signed["status"]["certificate"].as_str().unwrap().to_owned());
    user.client_key_data = Some(base64::engine::general_purpose::STANDARD.encode(key.serialize_pem()).into());
    let jane = of(own).await;
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string().into_bytes();
    let request = http::Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews").header("content-type", "application/json");
    let answer: Value = jane.request(request.body(review).unwrap()).await.unwrap();
    let user = &answer["status"]["userInfo"];
    assert_eq!((&user["username"], &user["groups"]), (&json!("jane"), &json!(["developers", "testers", "system:authenticated"])));
    let refused = jane.request::<Value>(http::Request::get("/api/v1/secrets").body(Vec::new()).unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("User \"jane\" cannot list resource"), "{refused}");
    sim.shutdown().await;
}

#[tokio::test]
async fn the_parts_of_the_control_plane_are_well() {
    let c = Client::start().await;
    let (_, list) = c.get("/api/v1/componentstatuses").await;
    let names: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|o| &o["metadata"]["name"]).collect();
    assert_eq!(names, ["controller-manager", "etcd-0", "scheduler"]);
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let (code, _, text) = c.send("GET", "/api/v1/componentstatuses/scheduler", &table, None).await;
    assert!(code == 200 && text.contains(r#""cells":["scheduler","Healthy","ok",""]"#), "{text}");
    assert_eq!(c.send("GET", "/api/v1/componentstatuses/other", JSON, None).await.0, 404);
    c.sim.shutdown().await;
}

#[tokio::test]
async fn reviews_of_tokens_name_the_audiences_that_they_hold_for() {
    let c = Client::start().await;
    assert_eq!(c.post("/api/v1/namespaces/demo/serviceaccounts", &json!({"metadata": {"name": "bot"}})).await.0, 201);
    let wish = json!({"spec": {"audiences": ["api"]}});
    let (_, token) = c.post("/api/v1/namespaces/demo/serviceaccounts/bot/token", &wish).await;
    let review = json!({"spec": {"audiences": ["api", "other"], "token": token["status"]["token"]}});
    let (_, review) = c.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
    let status = &review["status"];
    assert!(status["audiences"] == json!(["api"]) && status["authenticated"] == true, "{review}");
    c.sim.shutdown().await;
}

#[tokio::test]
async fn every_served_version_has_an_api_service() {
    let c = Client::start().await;
    let path = "/apis/apiregistration.k8s.io/v1/apiservices";
    let names = |list: &Value| list["items"].as_array().unwrap().iter().map(|s| s["metadata"]["name"].to_string()).collect::<Vec<_>>();
    let (_, list) = c.get(path).await;
    for name in ["v1.", "v1.apps", "v2.autoscaling", "v1alpha1.chaos-mesh.org"] {
        assert!(names(&list).contains(&format!("{name:?}")), "{name}");
    }
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let (_, _, table) = c.send("GET", path, &table, None).await;
    let table: Value = serde_json::from_str(&table).unwrap();
    assert_eq!(table["rows"][0]["cells"].as_array().unwrap()[..3], [json!("v1."), json!("Local"), json!("True")]);
    let definition = json!({"metadata": {"name": "things.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(c.post(definitions, &definition).await.0, 201);
    assert_eq!(c.get(&format!("{path}/v1.example.com")).await.0, 200);
    assert_eq!(c.send("DELETE", &format!("{definitions}/things.example.com"), &[], None).await.0, 200);
    assert_eq!(c.get(&format!("{path}/v1.example.com")).await.0, 404);
    c.sim.shutdown().await;
}

#[tokio::test]
async fn secrets_for_tokens_are_filled_in_and_go_with_their_account() {
    let c = Client::start().await;
    let (secrets, accounts) = ("/api/v1/namespaces/demo/secrets", "/api/v1/namespaces/demo/serviceaccounts");
    assert_eq!(c.post(accounts, &json!({"metadata": {"name": "bot"}})).await.0, 201);
    let secret = json!({"metadata": {"name": "bot", "annotations": {"kubernetes.io/service-account.name": "bot"}}, "type": "kubernetes.io/service-account-token"});
    assert_eq!(c.post(secrets, &secret).await.0, 201);
    let (_, filled) = c.get(&format!("{secrets}/bot")).await;
    assert!(["token", "ca.crt", "namespace"].iter().all(|f| filled["data"][*f].is_string()), "{filled}");
    let token = base64::engine::general_purpose::STANDARD.decode(filled["data"]["token"].as_str().unwrap()).unwrap();
    let review = json!({"spec": {"token": String::from_utf8(token).unwrap()}});
    let (_, review) = c.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
    assert_eq!(review["status"]["user"]["username"], "system:serviceaccount:demo:bot", "{review}");
    assert_eq!(c.send("DELETE", &format!("{accounts}/bot"), &[], None).await.0, 200);
    assert_eq!(c.get(&format!("{secrets}/bot")).await.0, 404);
    c.sim.shutdown().await;
}

#[tokio::test]
async fn a_patch_that_changes_nothing_leaves_the_status_alone() {
    let c = Client::start().await;
    let pod = json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "busybox", "command": ["sleep", "9"]}]}});
    assert_eq!(c.post("/api/v1/namespaces/demo/pods", &pod).await.0, 201);
    let path = "/api/v1/namespaces/demo/pods/p";
    let mut before = c.get(path).await.1;
    for _ in 0..100 {
        if before["status"]["phase"] == "Running" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        before = c.get(path).await.1;
    }
    assert_eq!(before["status"]["conditions"][0].get("lastProbeTime"), Some(&Value::Null), "{before}");
    let same = json!([{"op": "add", "path": "/metadata/labels/a", "value": "b"}]).to_string();
    let (code, _, text) = c.send("PATCH", path, &[("content-type", "application/json-patch+json")], Some(same)).await;
    let after: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &after["status"], &after["metadata"]), (200, &before["status"], &before["metadata"]));
    c.sim.shutdown().await;
}

#[tokio::test]
async fn metrics_are_there_and_hide_what_a_user_is_not_to_see() {
    use super::exposition::families;
    use crate::sim::{Sim, SimConfig};
    let mut c = Client::start().await;
    let hidden = [("agent".to_owned(), vec!["chaos-mesh.org".to_owned()])].into();
    let tokens = [("t1".to_owned(), "runner".to_owned()), ("t2".to_owned(), "agent".to_owned())].into();
    c.sim.shutdown().await;
    c.sim = Sim::start(SimConfig { tokens, hidden, ..SimConfig::default() }).await.unwrap();
    assert_eq!(c.get("/apis/chaos-mesh.org/v1alpha1/stresschaos").await.0, 200);
    assert_eq!(c.get("/api/v1/namespaces/none").await.0, 404);
    let (code, kind, text) = c.send("GET", "/metrics", &[], None).await;
    assert_eq!((code, kind.split(';').next()), (200, Some("text/plain")));
    let metrics = families(&text);
    let served = |group: &str, code: &str| {
        let all = metrics["apiserver_request_total"].iter();
        all.filter(|(l, _)| l.contains(&format!("group=\"{group}\"")) && l.contains(&format!("code=\"{code}\"")))
            .map(|(_, n)| n)
            .sum::<f64>()
    };
    assert_eq!((served("chaos-mesh.org", "200"), served("", "404")), (1.0, 1.0), "{text}");
    let nodes = metrics["apiserver_resource_objects"].iter().find(|(l, _)| l == "group=\"\",resource=\"nodes\"").unwrap();
    assert!((nodes.1 - 3.0).abs() < 0.1, "{nodes:?}");
    // What a user is not to see is not counted for it either, and has no schema.
    for path in ["/metrics", "/openapi/v2"] {
        let r = reqwest::Client::new().get(format!("{}{path}", c.sim.url())).header("authorization", "Bearer t2").send().await.unwrap();
        let text = r.text().await.unwrap();
        assert!(text.len() > 1000 && !text.contains("chaos"), "{path}");
    }
    let (code, _, text) = c.send("GET", "/.sim/metrics", &[], None).await;
    assert_eq!((code, families(&text).len()), (200, 7));
    let (code, _, text) = c.send("GET", "/api/v1/nodes/nope/proxy/metrics", &[], None).await;
    assert_eq!(code, 404, "{text}");
    c.sim.shutdown().await;
}

#[tokio::test]
async fn a_namespace_may_ask_for_a_pod_security_standard() {
    let c = Client::start().await;
    let labels = json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"});
    c.post("/api/v1/namespaces", &json!({"metadata": {"name": "safe", "labels": labels}})).await;
    let pods = "/api/v1/namespaces/safe/pods";
    let pod = |name: &str, spec: Value| {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        pod["spec"]["containers"] = json!([{"name": "c", "image": "nginx"}]);
        pod
    };
    let (code, refused) = c.post(pods, &pod("bold", json!({"hostNetwork": true}))).await;
    let text = "pods \"bold\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)";
    assert_eq!((code, &refused["reason"], &refused["message"]), (403, &json!("Forbidden"), &json!(text)));
    let body = pod("plain", json!({})).to_string();
    let r = reqwest::Client::new().post(format!("{}{pods}", c.sim.url())).header("authorization", "Bearer t1").body(body).send().await;
    let r = r.unwrap();
    let warned = r.headers().get("warning").unwrap().to_str().unwrap().to_owned();
    assert!(r.status().as_u16() == 201 && warned.contains("would violate PodSecurity \\\"restricted:latest\\\": allowPriv"), "{warned}");
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "d", "image": "busybox", "securityContext": {"privileged": true}}]}});
    let (code, refused) = c.patch(&format!("{pods}/plain/ephemeralcontainers"), "application/strategic-merge-patch+json", &debug).await;
    assert!(code == 403 && refused["message"].as_str().unwrap().contains("privileged (container \"d\""), "{refused}");
    c.sim.shutdown().await;
}
