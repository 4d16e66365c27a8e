//! Whatever is sent, the answer is an HTTP status and, for errors, a `Status` or a line of text; and the server goes on.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::tests::Client;

const PIECES: [&str; 24] = [
    "api",
    "apis",
    "v1",
    "apps",
    "namespaces",
    "demo",
    "pods",
    "deployments",
    "web",
    "scale",
    "status",
    "finalize",
    "%ff",
    "%00",
    "~",
    "log",
    "configmaps",
    "chaos-mesh.org",
    "v1alpha1",
    "stresschaos",
    "openapi",
    "v3",
    "eviction",
    "a%2Fb",
];
const PLACES: [&str; 6] = [
    "/api/v1/namespaces/demo/configmaps",
    "/api/v1/namespaces/demo/configmaps/c",
    "/api/v1/namespaces/demo/pods",
    "/apis/apps/v1/namespaces/demo/deployments",
    "/apis/apps/v1/namespaces/demo/deployments/d",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
];
const TYPES: [&str; 8] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "text/nonsense",
];
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.0.next_u32()).unwrap() % n
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    /// A body that is nearly right, or not at all.
    fn body(&mut self) -> String {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "labels": {"a": "b"}}, "data": {"k": "v"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        let mut text = match self.below(8) {
            0 => json!([{"op": "replace", "path": "/data/k", "value": 1}, {"op": "test", "path": "/~2"}]).to_string(),
            1 => json!([{"op": "move", "from": "/data", "path": "/data/k/x"}, {"op": 7}]).to_string(),
            2 => format!("{}1{}", "[".repeat(5000), "]".repeat(5000)),
            3 => format!("{}1", "a: {".repeat(500)),
            4 => "a: &a [*a, *a]\nb: &b [*a, *b]\n".to_owned(),
            5 => format!("k8s\u{0}{object}"),
            _ => object.to_string(),
        };
        for _ in 0..self.below(4) {
            let at = self.below(text.len());
            if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
                let with = self.of(&["", "{", "null", "\"", "-1e999", "\u{0}", "9999999999999999999", "[]", ": "]);
                text.replace_range(at..=at, with);
            }
        }
        text
    }
}

fn acceptable(code: u16, text: &str) -> bool {
    if (200..300).contains(&code) {
        return true;
    }
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let status = value["kind"] == "Status" && value["code"] == code && value["message"].as_str().is_some_and(|m| !m.is_empty());
    (400..=504).contains(&code) && (status || text.starts_with("404 page not found"))
}

#[tokio::test]
async fn nonsense_is_answered() {
    let c = Client::start().await;
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(11));
    for n in 0..1500 {
        let path = if dice.below(3) == 0 {
            (0..=dice.below(8)).fold(String::new(), |p, _| format!("{p}/{}", dice.of(&PIECES)))
        } else {
            dice.of(&PLACES).to_owned()
        };
        let query = dice.of(&[
            "",
            "?limit=-1",
            "?labelSelector=%21%3D",
            "?fieldSelector=a%3Db",
            "?fieldManager=f&force=x",
            "?continue=e30",
            "?dryRun=All",
        ]);
        let (method, kind, body) = (dice.of(&METHODS), dice.of(&TYPES), dice.body());
        let (code, _, text) = c.send(method, &format!("{path}{query}"), &[("content-type", kind)], Some(body.clone())).await;
        assert!(acceptable(code, &text), "{n}: {method} {path}{query} as {kind} with {body:.300}: {code} {text}");
    }
    // Bytes that are no text, after the mark of protobuf and without it.
    for n in 0..300 {
        let mut bytes = if n % 2 == 0 { b"k8s\0".to_vec() } else { Vec::new() };
        bytes.extend((0..dice.below(200)).map(|_| u8::try_from(dice.below(256)).unwrap()));
        let kind = if n % 3 == 0 { "application/json" } else { "application/vnd.kubernetes.protobuf" };
        let (code, text) = c.bytes(PLACES[n % PLACES.len()], kind, bytes).await.unwrap();
        assert!(acceptable(code, &text), "{n}: {code} {text}");
    }
    assert_eq!(c.get("/readyz").await.0, 200);
    c.sim.shutdown().await;
}

#[tokio::test]
async fn bodies_beyond_all_measure_are_refused() {
    let c = Client::start().await;
    let (code, text) = c.bytes(PLACES[0], "application/json", vec![b'x'; 100 << 20]).await.unwrap();
    assert!(code == 413 && text.contains("RequestEntityTooLarge"), "{code} {text}");
    assert_eq!(c.get("/readyz").await.0, 200);
    c.sim.shutdown().await;
}
