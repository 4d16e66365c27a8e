//! Access and identity reviews, answered by [`super::access`].

use serde_json::{Value, json};

use super::access::{self, Action, Identity};
use super::answer::{Answer, Form};
use super::body;
use super::call::{Call, Target};
use crate::sim::controllers::kinds::{PODS, SECRETS};
use crate::sim::registry;
use crate::sim::resource::{Key, Resource};
use crate::sim::schema::Cause;
use crate::sim::status::{Status, details};
use crate::sim::tokens;
use crate::sim::world::World;

/// Lives of a token that the real server allows, in seconds: from here ...
const SHORTEST_TOKEN: i64 = 600;
/// ... to less than here.
const LONGEST_TOKEN: i64 = (1 << 32) + 1;

/// Answers a review; `None` when the kind is no review.
pub(super) fn answer(world: &World, call: &Call, target: &Target, body: &[u8]) -> Option<Result<Answer, Status>> {
    let kind = &target.kind;
    let status: fn(&World, &Call, &Value) -> Value = match kind.kind.as_str() {
        "SelfSubjectAccessReview" => |w, c, o| access_status(w, &c.who, &o["spec"]),
        "SubjectAccessReview" | "LocalSubjectAccessReview" => |w, _, o| {
            let text = |f: &str| o["spec"][f].as_str().unwrap_or_default().to_owned();
            let groups = o["spec"]["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
            let who = Identity { user: text("user"), uid: text("uid"), groups, ..Identity::default() };
            access_status(w, &who, &o["spec"])
        },
        "SelfSubjectRulesReview" => |w, c, o| access::rules(w, &c.who, o["spec"]["namespace"].as_str().unwrap_or_default()),
        "SelfSubjectReview" => |_, c, _| json!({"userInfo": c.who.info()}),
        "TokenReview" => |w, _, o| token_status(w, &o["spec"]),
        _ => return None,
    };
    if Form::of(&call.accept) != Form::Whole {
        let accepted =
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        return Some(Err(Status::new(406, "NotAcceptable", accepted)));
    }
    Some(body::of_kind(&call.content_type, body, kind).map(|mut object| {
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.kind.as_str().into();
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        // Of those that are not stored, only this one is stamped (recorded); the others leave the time out.
        if kind.kind == "SelfSubjectReview" {
            object["metadata"]["creationTimestamp"] = world.now.rfc3339().into();
        } else if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("creationTimestamp");
        }
        object["status"] = status(world, call, &object);
        Answer::json(201, &object)
    }))
}

/// `status` of a token review. Whoever names no audience asks for the API server.
fn token_status(world: &World, spec: &Value) -> Value {
    let named: Vec<&str> = spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut audiences = if named.is_empty() { vec![tokens::ISSUER] } else { named };
    let token = spec["token"].as_str().unwrap_or_default();
    match Identity::of_token(token, &audiences, world) {
        Some(who) => {
            audiences.retain(|audience| Identity::of_token(token, &[audience], world).is_some());
            json!({"authenticated": true, "user": who.info(), "audiences": audiences})
        }
        None => json!({"user": {}}),
    }
}

/// `status` of an access review.
fn access_status(world: &World, who: &Identity, spec: &Value) -> Value {
    let (r, n) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let text = |of: &'_ Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
    let resource = r.is_object();
    let (verb, path) = (text(if resource { r } else { n }, "verb"), text(n, "path"));
    let (group, plural, subresource) = (text(r, "group"), text(r, "resource"), text(r, "subresource"));
    let (namespace, name) = (text(r, "namespace"), text(r, "name"));
    let action = Action {
        verb: &verb,
        group: &group,
        resource: &plural,
        subresource: &subresource,
        namespace: &namespace,
        name: &name,
        path: &path,
    };
    match access::allowed(world, who, &action) {
        Some(why) if why.is_empty() => json!({"allowed": true}),
        Some(why) => json!({"allowed": true, "reason": why}),
        None => json!({"allowed": false}),
    }
}

/// The claims of the object that a token is bound to: it ends with it.
fn bound(world: &World, namespace: &str, reference: &Value, account: &str) -> Result<Value, Status> {
    let (kind, name) = (reference["kind"].as_str().unwrap_or_default(), reference["name"].as_str().unwrap_or_default());
    let find = |resource: &Resource| {
        let object = world.store.get(&Key::new(resource, namespace, name)).ok_or_else(|| Status::not_found(resource, name))?;
        let (uid, asked) = (&object["metadata"]["uid"], &reference["uid"]);
        if asked.as_str().is_some_and(|a| !a.is_empty()) && asked != uid {
            let text = format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
                asked.as_str().unwrap_or_default()
            );
            return Err(Status {
                details: details(resource, name),
                ..Status::new(409, "Conflict", format!("Operation cannot be fulfilled on {} {name:?}: {text}", resource.qualified()))
            });
        }
        Ok(object)
    };
    match kind {
        "" => Ok(json!({})),
        "Pod" => {
            let pod = find(&PODS)?;
            if pod["spec"]["serviceAccountName"].as_str().unwrap_or_default() != account {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                )));
            }
            Ok(tokens::of_pod(&world.store, pod))
        }
        "Secret" => Ok(json!({"secret": {"name": name, "uid": find(&SECRETS)?["metadata"]["uid"]}})),
        _ => Err(Status::bad_request(format!(
            "cannot bind token to object of type {}, Kind={kind}",
            reference["apiVersion"].as_str().unwrap_or_default()
        ))),
    }
}

/// `serviceaccounts/token`: a token that this server accepts.
pub(super) fn token(world: &World, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, Status> {
    let key = target.key();
    let account = world.store.get(&key).ok_or_else(|| Status::not_found(&key.resource, &key.name))?;
    let mut object = body::object(&call.content_type, body, "authentication.k8s.io/v1", "TokenRequest")?;
    let seconds = object["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
    let wrong = match seconds {
        ..SHORTEST_TOKEN => Some("may not specify a duration less than 10 minutes"),
        LONGEST_TOKEN.. => Some("may not specify a duration larger than 2^32 seconds"),
        _ => None,
    };
    if let Some(why) = wrong {
        let message = format!("Invalid value: {seconds}: {why}");
        let cause = Cause { reason: "FieldValueInvalid", message, field: "spec.expirationSeconds".into() };
        return Err(registry::invalid_as("authentication.k8s.io", "TokenRequest", "", &[cause]));
    }
    let seconds = seconds.unsigned_abs();
    object["apiVersion"] = "authentication.k8s.io/v1".into();
    object["kind"] = "TokenRequest".into();
    object["metadata"] = json!({"name": &*key.name, "namespace": &*key.namespace, "uid": account["metadata"]["uid"],
        "creationTimestamp": world.now.rfc3339()});
    object["spec"]["expirationSeconds"] = seconds.into();
    if object["spec"]["audiences"].as_array().is_none_or(Vec::is_empty) {
        object["spec"]["audiences"] = json!([tokens::ISSUER]);
    }
    let bound = bound(world, &key.namespace, &object["spec"]["boundObjectRef"], &key.name)?;
    let ends = world.now.after(std::time::Duration::from_secs(seconds));
    let wish = tokens::Wish {
        namespace: &key.namespace,
        account: (&key.name, account["metadata"]["uid"].as_str().unwrap_or_default()),
        audiences: &object["spec"]["audiences"],
        begins: world.now,
        ends,
        bound: &bound,
    };
    let token = world.tokens.issue(&wish);
    let token = token.ok_or_else(|| Status::new(500, "InternalError", "failed to sign the token: no random numbers to be had"))?;
    object["status"] = json!({"token": token, "expirationTimestamp": ends.rfc3339()});
    Ok(Answer::json(201, &object))
}
