//! Secrets that hold a token of a service account: filled in, and gone with their account.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::kinds::{CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS};
use super::object;
use crate::sim::registry::{self, DeleteOptions, Part};
use crate::sim::resource::Key;
use crate::sim::tokens::{self, Wish};
use crate::sim::world::World;

const TYPE: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";
/// Such tokens do not expire; this one ends with its secret long before.
const LIFE: Duration = Duration::from_hours(10 * 365 * 24);

/// Whether a secret is one of these.
pub(super) fn concerns(secret: &Value) -> bool {
    secret["type"] == TYPE
}

/// The secrets of a namespace that may have lost their account.
pub(super) fn of_namespace(world: &World, namespace: &str) -> Vec<Key> {
    world.store.list(&SECRETS, Some(namespace)).filter(|(_, s)| concerns(s)).map(|(k, _)| k.clone()).collect()
}

/// Fills a secret in, or removes it when its account does not exist.
pub(super) fn reconcile(world: &mut World, key: &Key) {
    let Some(secret) = world.store.get(key).filter(|s| concerns(s)).cloned() else { return };
    let name = object::annotation(&secret, NAME).unwrap_or_default().to_owned();
    let account = world.store.get(&Key::new(&SERVICE_ACCOUNTS, &key.namespace, &name)).map(|a| object::uid(a).to_owned());
    let known = object::annotation(&secret, UID);
    let Some(uid) = account.filter(|uid| known.is_none_or(|k| k == uid)) else {
        // Gone already is as good.
        let _gone = registry::delete(world, key, &DeleteOptions::default());
        return;
    };
    if secret["data"]["token"].is_string() {
        return;
    }
    let wish = Wish {
        namespace: &key.namespace,
        account: (&name, &uid),
        audiences: &json!([tokens::ISSUER]),
        begins: world.now,
        ends: world.now.after(LIFE),
        bound: &json!({"secret": {"name": &*key.name, "uid": object::uid(&secret)}}),
    };
    let Some(token) = world.tokens.issue(&wish) else { return };
    let root = world.store.get(&Key::new(&CONFIG_MAPS, &key.namespace, "kube-root-ca.crt"));
    let authority = root.and_then(|c| c["data"]["ca.crt"].as_str()).unwrap_or_default();
    let mut new = (*secret).clone();
    for (field, text) in [("ca.crt", authority), ("namespace", &*key.namespace), ("token", &token)] {
        new["data"][field] = STANDARD.encode(text).into();
    }
    new["metadata"]["annotations"][UID] = uid.into();
    // Nobody else writes in between: the world is ours.
    let _written = registry::update(world, key, new, Part::Main);
}
