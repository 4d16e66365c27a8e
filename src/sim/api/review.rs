//! Access and identity reviews: everybody may do everything, and is told who they are.

use serde_json::{Value, json};

use super::answer::Answer;
use super::body;
use super::call::{Call, Target};
use crate::sim::status::Status;
use crate::sim::world::World;

fn groups(user: &str) -> Value {
    if user == "system:anonymous" { json!(["system:unauthenticated"]) } else { json!(["system:masters", "system:authenticated"]) }
}

/// Answers a review; `None` when the kind is no review.
pub(super) fn answer(world: &World, call: &Call, target: &Target, body: &[u8]) -> Option<Result<Answer, Status>> {
    let kind = &target.kind;
    let status: fn(&World, &Call, &Value) -> Value = match kind.kind.as_str() {
        "SelfSubjectAccessReview" | "SubjectAccessReview" | "LocalSubjectAccessReview" => |_, _, _| json!({"allowed": true}),
        "SelfSubjectRulesReview" => |_, _, _| {
            json!({"resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}], "incomplete": false})
        },
        "SelfSubjectReview" => {
            |w, c, _| json!({"userInfo": {"username": c.user, "uid": format!("u-{}", w.config.seed), "groups": groups(&c.user)}})
        }
        "TokenReview" => |w, _, o| match w.config.tokens.get(o["spec"]["token"].as_str().unwrap_or_default()) {
            Some(user) => json!({"authenticated": true, "user": {"username": user, "groups": groups(user)}}),
            None => json!({"user": {}}),
        },
        _ => return None,
    };
    Some(body::of_kind(&call.content_type, body, kind).map(|mut object| {
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.kind.as_str().into();
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        object["metadata"]["creationTimestamp"] = Value::Null;
        object["status"] = status(world, call, &object);
        Answer::json(201, &object)
    }))
}

/// `serviceaccounts/token`: a token that this server accepts.
pub(super) fn token(world: &World, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, Status> {
    let key = target.key();
    if world.store.get(&key).is_none() {
        return Err(Status::not_found(&key.resource, &key.name));
    }
    let mut object = body::object(&call.content_type, body, "authentication.k8s.io/v1", "TokenRequest")?;
    let seconds = object["spec"]["expirationSeconds"].as_u64().filter(|s| *s > 0).unwrap_or(3600);
    object["apiVersion"] = "authentication.k8s.io/v1".into();
    object["kind"] = "TokenRequest".into();
    object["metadata"] = json!({"name": &*key.name, "namespace": &*key.namespace, "creationTimestamp": world.now.rfc3339()});
    object["spec"]["expirationSeconds"] = seconds.into();
    if object["spec"]["audiences"].as_array().is_none_or(Vec::is_empty) {
        object["spec"]["audiences"] = json!(["https://kubernetes.default.svc"]);
    }
    object["status"] = json!({
        "token": format!("sa:{}:{}", key.namespace, key.name),
        "expirationTimestamp": world.now.after(std::time::Duration::from_secs(seconds)).rfc3339()
    });
    Ok(Answer::json(201, &object))
}
