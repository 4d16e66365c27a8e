//! Tokens of service accounts: JSON web tokens, signed by this cluster and accepted by no other.
//!
//! Input: claims; output: a token, or the claims of one that this cluster has signed and that has not expired. The key is
//! made at random when the first token is asked for: nobody can write a token, though all else follows from the seed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::controllers::kinds::NODES;
use super::store::Store;
use super::time::SimTime;

/// Who signs, and for whom a token is when nobody says it: the API server (as recorded).
pub const ISSUER: &str = "https://kubernetes.default.svc";
/// Longest token that is looked at, in bytes.
const LONGEST: usize = 16 * 1024;

/// What `/.well-known/openid-configuration` says.
pub fn configuration() -> Value {
    json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/openid/v1/jwks"), "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"]})
}

/// The cluster's key.
#[derive(Default)]
pub struct Tokens {
    key: OnceLock<Option<Key>>,
    issued: AtomicU64,
}

/// What a token is to say.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The account's namespace.
    pub namespace: &'a str,
    /// Its name and uid.
    pub account: (&'a str, &'a str),
    /// For whom it is meant.
    pub audiences: &'a Value,
    /// From when.
    pub begins: SimTime,
    /// Until when.
    pub ends: SimTime,
    /// `pod` and `node`, or `secret`: what it ends with.
    pub bound: &'a Value,
}

/// The claims that bind a token to a pod.
pub fn of_pod(store: &Store, pod: &Value) -> Value {
    let mut claims = json!({"pod": {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}});
    if let Some(name) = pod["spec"]["nodeName"].as_str() {
        let node = store.get(&super::resource::Key::new(&NODES, "", name));
        claims["node"] = json!({"name": name, "uid": node.map_or(&Value::Null, |n| &n["metadata"]["uid"])});
    }
    claims
}

struct Key {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    id: String,
}

impl Key {
    fn new() -> Option<Self> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).ok()?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).ok()?;
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(pair.public_key().as_ref()));
        Some(Self { pair, random, id })
    }
}

impl Tokens {
    fn key(&self) -> Option<&Key> {
        self.key.get_or_init(Key::new).as_ref()
    }

    /// A token of a service account; `None` when this machine gives no random numbers.
    pub fn issue(&self, wish: &Wish<'_>) -> Option<String> {
        let (name, uid) = wish.account;
        let mut of = json!({"namespace": wish.namespace, "serviceaccount": {"name": name, "uid": uid}});
        if let (Some(of), Some(bound)) = (of.as_object_mut(), wish.bound.as_object()) {
            of.extend(bound.clone());
        }
        let begins = wish.begins.timestamp().as_second();
        let mut claims = json!({"aud": wish.audiences, "exp": wish.ends.timestamp().as_second(), "iat": begins, "iss": ISSUER,
            "kubernetes.io": of, "nbf": begins, "sub": format!("system:serviceaccount:{}:{name}", wish.namespace)});
        // Its own identity, laid out like a random UUID: no two tokens have the same, and nobody else's numbers are used up.
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let digest = Sha256::digest(format!("{number} {claims}"));
        let hex = digest.iter().take(16).map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat();
        let parts: Option<Vec<&str>> = [0..8, 8..12, 13..16, 17..20, 20..32].into_iter().map(|r| hex.get(r)).collect();
        if let [a, b, c, d, e] = *parts? {
            claims["jti"] = format!("{a}-{b}-4{c}-8{d}-{e}").into();
        }
        self.sign(&claims)
    }

    /// A token with these claims; `None` when this machine gives no random numbers.
    pub fn sign(&self, claims: &Value) -> Option<String> {
        let key = self.key()?;
        let head = json!({"alg": "ES256", "kid": key.id});
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(head.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = key.pair.sign(&key.random, text.as_bytes()).ok()?;
        Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims of a token of ours that holds now and is meant for one of `audiences`.
    pub fn verify(&self, token: &str, audiences: &[&str], now: SimTime) -> Option<Value> {
        if token.len() > LONGEST {
            return None;
        }
        let (text, signature) = token.rsplit_once('.')?;
        let (_, claims) = text.split_once('.')?;
        let key = self.key()?;
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair.public_key());
        public.verify(text.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let meant = claims["aud"].as_array()?.iter().filter_map(Value::as_str).any(|a| audiences.contains(&a));
        (meant && claims["exp"].as_i64()? > now.timestamp().as_second()).then_some(claims)
    }

    /// The public key, as a JSON web key set (RFC 7517, 7518 section 6.2).
    pub fn public(&self) -> Value {
        let keys = self.key().into_iter().map(|key| {
            // An uncompressed point: one byte of form, then the two coordinates.
            let point = key.pair.public_key().as_ref().get(1..).unwrap_or_default();
            let (x, y) = point.split_at(point.len() / 2);
            json!({"use": "sig", "kty": "EC", "kid": key.id, "crv": "P-256", "alg": "ES256",
                "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
        });
        json!({"keys": keys.collect::<Vec<_>>()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_of_ones_own_are_accepted_and_only_in_time() {
        let (ours, others, now) = (Tokens::default(), Tokens::default(), SimTime(60_000));
        let claims = json!({"sub": "system:serviceaccount:a:b", "aud": [ISSUER], "exp": now.timestamp().as_second() + 10});
        let token = ours.sign(&claims).unwrap();
        assert_eq!(ours.verify(&token, &[ISSUER], now), Some(claims.clone()));
        assert_eq!(ours.verify(&token, &["vault"], now), None, "meant for another");
        assert_eq!(others.verify(&token, &[ISSUER], now), None, "another cluster's");
        assert_eq!(ours.verify(&token, &[ISSUER], SimTime(70_000)), None, "expired");
        let parts: Vec<&str> = token.split('.').collect();
        let more = json!({"sub": "system:serviceaccount:kube-system:admin", "aud": [ISSUER], "exp": claims["exp"].as_i64().unwrap()});
        let forged = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(more.to_string()), parts[2]);
        assert_eq!(ours.verify(&forged, &[ISSUER], now), None, "changed");
        let none = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), parts[1]);
        assert_eq!(ours.verify(&none, &[ISSUER], now), None, "unsigned");
        assert_eq!(ours.verify("sa:kube-system:admin", &[ISSUER], now), None, "no token at all");
        assert_eq!(ours.public()["keys"][0]["x"].as_str().unwrap().len(), 43);
    }
}
