//! Requests for certificates: what is approved is signed by the cluster's authority, where there is one.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::object;
use crate::sim::registry::{self, Part};
use crate::sim::resource::Key;
use crate::sim::world::World;

/// The signer of clients' certificates; others are somebody else's.
const CLIENTS: &str = "kubernetes.io/kube-apiserver-client";
/// How long a certificate holds when nobody asks for less.
const LIFE_S: u64 = 365 * 24 * 3600;
/// What a client may use it for.
const USAGES: [&str; 3] = ["client auth", "digital signature", "key encipherment"];

/// Signs a request that has been approved, or says why it cannot be.
pub(super) fn reconcile(world: &mut World, key: &Key) {
    let (Some(authority), Some(request)) = (world.authority.clone(), world.store.get(key).cloned()) else { return };
    let (spec, status) = (&request["spec"], &request["status"]);
    let has = |kind: &str| object::condition(status, kind).is_some();
    if spec["signerName"] != CLIENTS || status["certificate"].is_string() || !has("Approved") || has("Denied") || has("Failed") {
        return;
    }
    let usages: Vec<&str> = spec["usages"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut new = (*request).clone();
    let fitting = usages.contains(&"client auth") && usages.iter().all(|u| USAGES.contains(u));
    let signed = if fitting {
        let text = spec["request"].as_str().and_then(|t| STANDARD.decode(t).ok()).unwrap_or_default();
        // Whoever checks it has the machine's clock, and the cluster's may be ahead of that: it holds from the cluster's start on.
        let begins = world.config.start;
        let life = spec["expirationSeconds"].as_u64().unwrap_or(LIFE_S);
        let ends = world.now.after(Duration::from_secs(life));
        authority.sign(&String::from_utf8_lossy(&text), (begins, ends)).map_err(|e| ("SigningError", e.to_string()))
    } else {
        Err(("SignerValidationFailure", format!("usages did not match {USAGES:?}")))
    };
    match signed {
        Ok(pem) => new["status"]["certificate"] = STANDARD.encode(pem).into(),
        Err((reason, message)) => {
            let now = world.now.rfc3339();
            let failed = json!({
                "type": "Failed", "status": "True", "reason": reason, "message": message, "lastUpdateTime": now, "lastTransitionTime": now,
            });
            if let Some(conditions) = new["status"]["conditions"].as_array_mut() {
                conditions.push(failed);
            }
        }
    }
    // Nobody else writes in between: the world is ours.
    let _written = registry::update(world, key, new, Part::Status);
}
