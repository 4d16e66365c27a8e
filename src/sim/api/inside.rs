//! The API server as containers reach it: by its Service, over TLS, with their pod's token, and with roles that hold.
//!
//! Input: requests that the shell's programs make ([`Engine::questions`]). Output: answers, each whole: of one that never ends
//! (a watch, a log that is followed) what there is so far.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::{Extension, Router};
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use crate::sim::shell::{ApiCall, HttpAnswer};
use crate::sim::world::{Engine, Question};

/// Marks a request that comes from a container.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inside;

/// How long an answer may bring nothing before it counts as one without an end, in real time.
const QUIET: Duration = Duration::from_millis(500);
/// Longest answer that is read.
const BODY_MAX: usize = 16 << 20;

/// Answers what containers ask, until `stop`.
pub async fn serve(engine: Arc<Engine>, mut questions: mpsc::UnboundedReceiver<Question>, stop: CancellationToken) {
    let app = super::router(engine, stop.clone()).layer(Extension(Inside));
    loop {
        let (call, asker) = tokio::select! {
            () = stop.cancelled() => return,
            question = questions.recv() => match question {
                Some(q) => q,
                None => return,
            },
        };
        let (app, stop) = (app.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                answer = answer(app, call) => {
                    // The command may have ended meanwhile.
                    let _gone = asker.send(answer);
                }
            }
        });
    }
}

async fn answer(mut app: Router, call: ApiCall) -> HttpAnswer {
    let mut request = Request::builder().method(call.method.as_str()).uri(call.path.as_str());
    for (name, value) in &call.headers {
        request = request.header(name.as_str(), value.as_str());
    }
    let bad = |text: &str| HttpAnswer { status: 400, headers: Vec::new(), body: text.as_bytes().to_vec(), took: Duration::ZERO };
    let Ok(request) = request.body(Body::from(call.body)) else { return bad("400 Bad Request") };
    let Ok(response) = app.call(request).await;
    let (parts, body) = response.into_parts();
    let headers = parts.headers.iter().map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect();
    let (mut bytes, mut pieces) = (Vec::new(), body.into_data_stream());
    while let Ok(Some(Ok(piece))) = tokio::time::timeout(QUIET, pieces.next()).await {
        bytes.extend_from_slice(&piece);
        if bytes.len() > BODY_MAX {
            break;
        }
    }
    HttpAnswer { status: parts.status.as_u16(), headers, body: bytes, took: Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::sim::SimConfig;
    use crate::sim::controllers::kinds::{PODS, SERVICE_ACCOUNTS};
    use crate::sim::kubelet;
    use crate::sim::registry;
    use crate::sim::resource::{Key, Resource};
    use crate::sim::server::Sim;
    use crate::sim::shell::{self, Exit, Output};

    /// What a script in the pod prints, and how it ends.
    async fn script(sim: &Sim, text: &str) -> (String, Exit) {
        let host = kubelet::exec_host(sim.engine(), &Key::new(&PODS, "default", "p"), "").unwrap();
        let (out, mut pieces) = mpsc::channel(8);
        let told = async {
            let mut all = String::new();
            while let Some(Output::Stdout(piece) | Output::Stderr(piece)) = pieces.recv().await {
                all.push_str(&String::from_utf8(piece).unwrap());
            }
            all
        };
        let argv = ["sh", "-c", text].map(str::to_owned).to_vec();
        let (exit, all) = tokio::join!(shell::run(Arc::new(host), argv, mpsc::channel(1).1, out), told);
        (all, exit)
    }

    #[tokio::test]
    async fn containers_ask_with_their_token_and_the_rights_of_their_account() {
        let hidden = BTreeMap::from([("agent".to_owned(), vec!["chaos-mesh.org".to_owned()])]);
        let sim = Sim::start(SimConfig { hidden, ..SimConfig::default() }).await.unwrap();
        sim.engine().with(|w| {
            let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "curlimages/curl", "command": ["sleep", "9999"]}]}});
            registry::create(w, &PODS, "default", pod).unwrap();
        });
        sim.engine().charge(Duration::from_secs(10));
        let api = "curl -sk https://kubernetes.default.svc";
        let with = "-H \"Authorization: Bearer $(cat /var/run/secrets/kubernetes.io/serviceaccount/token)\"";
        assert_eq!(script(&sim, "curl -s https://kubernetes.default.svc/version").await, (String::new(), Exit::Code(60)));
        let trusting = "curl -s --cacert /var/run/secrets/kubernetes.io/serviceaccount/ca.crt https://kubernetes.default.svc/version";
        assert!(script(&sim, trusting).await.0.contains("\n  \"gitVersion\": \"v1.36.0\""));
        assert_eq!(script(&sim, "curl -s --cacert /nope https://kubernetes.default.svc").await.1, Exit::Code(77));
        assert_eq!(script(&sim, "curl -s http://kubernetes.default.svc:443/").await.0, "Client sent an HTTP request to an HTTPS server.\n");
        let (anonymous, _) = script(&sim, &format!("{api}/api/v1/nodes")).await;
        assert!(anonymous.contains("User \\\"system:anonymous\\\" cannot list resource \\\"nodes\\\""), "{anonymous}");
        let pods = format!("{api}/api/v1/namespaces/default/pods {with}");
        let (refused, _) = script(&sim, &format!("{pods} -o /dev/null -w '%{{http_code}}'")).await;
        assert_eq!(refused, "403", "an account has no rights of its own, whatever the cluster's clients may do");
        let groups = script(&sim, &format!("{api}/apis {with}")).await.0;
        assert!(groups.contains("apps") && !groups.contains("chaos-mesh.org"), "what is hidden from anybody is hidden in there");
        sim.engine().with(|w| {
            let account = w.store.get(&Key::new(&SERVICE_ACCOUNTS, "default", "default")).unwrap().clone();
            let bound = json!({"metadata": {"name": "b"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
                "subjects": [{"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": "default"}]});
            registry::create(w, &Resource::new("rbac.authorization.k8s.io", "rolebindings"), "default", bound).unwrap();
        });
        assert!(script(&sim, &pods).await.0.contains("\"kind\": \"PodList\""));
        let made = format!("{api}/api/v1/namespaces/default/configmaps {with} --json '{{\"metadata\":{{\"name\":\"m\"}}}}' -i");
        let (made, _) = script(&sim, &made).await;
        assert!(made.starts_with("HTTP/1.1 201 Created\r\n") && made.contains("\r\ncontent-type: application/json\r\n"), "{made}");
        // One that never ends says what there is.
        let (watched, exit) = script(&sim, &format!("{api}/api/v1/namespaces/default/configmaps?watch=1 {with}")).await;
        assert!(watched.contains("\"ADDED\"") && exit == Exit::Code(0), "{watched}");
        sim.shutdown().await;
    }
}
