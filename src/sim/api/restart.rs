//! The time of a `kubectl rollout restart`, in the cluster's calendar.
//!
//! kubectl writes the second that its own clock shows into the pod template, and sends nothing (but "if restart has already
//! been triggered within the past second, please wait") where that is there already. Minutes of simulated time may pass
//! within one second of the machine's, so that a second restart would fail here for our speed alone, and what two runs
//! store would differ.
//!
//! Input: the patch; output: the same with the cluster's time in it. Which command asks is in the header `Kubectl-Command`.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use serde_json::Value;

use super::call::Target;
use crate::sim::time::parse_rfc3339;
use crate::sim::world::World;

const COMMAND: &str = "kubectl rollout restart";
const FIELD: &str = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";

/// The body of a patch, with the cluster's time if it is a restart by kubectl.
pub(super) fn stamped(world: &World, headers: &HeaderMap, target: &Target, body: Bytes) -> Bytes {
    if headers.get("kubectl-command").is_none_or(|command| command != COMMAND) {
        return body;
    }
    let Ok(mut patch) = serde_json::from_slice::<Value>(&body) else { return body };
    let Some(field @ Value::String(_)) = patch.pointer_mut(FIELD) else { return body };
    let before = world.store.get(&target.key()).and_then(|o| parse_rfc3339(o.pointer(FIELD)?.as_str()?));
    // What a client computes takes no simulated time; kubectl does not restart twice in a second.
    let next = before.map(|b| b.after(Duration::from_secs(1))).filter(|next| world.now.since(*next) == Duration::ZERO);
    *field = next.unwrap_or(world.now).rfc3339().into();
    patch.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::super::tests::Client;
    use super::*;
    use serde_json::json;

    const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/demo/deployments";

    /// What is stored after a restart by that command, whose clock always shows the same second.
    async fn restart(c: &Client, command: &str) -> String {
        let patch =
            json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "2030-02-03T04:05:06Z"}}}}});
        let head = [("content-type", "application/strategic-merge-patch+json"), ("kubectl-command", command)];
        let (code, _, text) = c.send("PATCH", &format!("{DEPLOYMENTS}/web"), &head, Some(patch.to_string())).await;
        assert_eq!(code, 200, "{text}");
        let now: Value = serde_json::from_str(&text).unwrap();
        now.pointer(FIELD).unwrap().as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_restart_by_kubectl_is_a_new_one_within_a_second_of_its_clock() {
        let c = Client::start().await;
        let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "nginx:1.25"}]}}}});
        assert_eq!(c.post(DEPLOYMENTS, &web).await.0, 201);
        let first = restart(&c, COMMAND).await;
        let second = restart(&c, COMMAND).await;
        assert!(first.starts_with("2026-01-01T00:0") && first < second, "{first} {second}");
        // What others write is theirs.
        assert_eq!(restart(&c, "kubectl patch").await, "2030-02-03T04:05:06Z");
        // Whatever is there.
        assert!(restart(&c, COMMAND).await.starts_with("2030-02-03T04:05:07"));
    }
}
