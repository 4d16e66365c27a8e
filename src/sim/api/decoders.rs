//! Everything that reads bytes from outside, one function each: what the fuzz targets in `fuzz/` feed, and what the tests below feed with
//! random input at every run. None may panic, loop or grow without bound; what it makes of its input is tested elsewhere.

use serde_json::Value;

use super::call::Target;
use super::selector::Selector;
use super::{body, forward};
use crate::sim::catalog::{Catalog, Kind};
use crate::sim::controllers::schedule::Schedule;
use crate::sim::custom::Customs;
use crate::sim::schema::quantity;
use crate::sim::{custom, kubelet, managed, patch, schema, shell, time};

const KINDS: [(&str, &str, &str); 4] =
    [("", "v1", "Pod"), ("", "v1", "Service"), ("apps", "v1", "Deployment"), ("chaos-mesh.org", "v1alpha1", "StressChaos")];

fn kinds() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter_map(|(group, version, kind)| Catalog::get().of_version(group, version).find(|k| k.kind == *kind).map(|k| &**k))
}

/// Protobuf bodies: as they come, and as the raw object in an envelope.
pub fn protobuf(bytes: &[u8]) {
    let _decoded = schema::decode_protobuf(bytes);
    for (api_version, kind) in [("v1", "Pod"), ("apps/v1", "Deployment"), ("batch/v1", "CronJob"), ("policy/v1", "Eviction")] {
        let field = |number: u8, inner: &[u8]| {
            let mut out = vec![number << 3 | 2];
            let mut length = inner.len();
            while length > 0x7f {
                out.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
                length >>= 7;
            }
            out.push(u8::try_from(length).unwrap_or_default());
            out.extend_from_slice(inner);
            out
        };
        let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        let _decoded = schema::decode_protobuf(&[b"k8s\0".as_slice(), &field(1, &meta), &field(2, bytes)].concat());
    }
}

/// JSON and YAML bodies, and patches of every type of an object.
pub fn bodies(bytes: &[u8]) {
    let _options = body::optional("application/json", bytes);
    for kind in kinds() {
        let read = ["application/json", "application/yaml"].map(|content| body::of_kind(content, bytes, kind).ok());
        for mut object in read.into_iter().flatten() {
            let _unknown = schema::unknown_fields(&kind.api_version(), &kind.kind, &object);
            schema::defaults(&kind.api_version(), &kind.kind, &mut object);
            let _causes = schema::validate(&kind.api_version(), &kind.kind, &object);
            if let Ok(change) = serde_json::from_slice::<Value>(bytes) {
                patches(&kind.api_version(), &kind.kind, &object, &change);
            }
        }
    }
    // A patch of something that has what most patches touch.
    let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}, "finalizers": ["x"]},
        "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}], "tolerations": [{"key": "k"}]}});
    for change in [serde_json::from_slice::<Value>(bytes).ok(), body::yaml(bytes).ok()].into_iter().flatten() {
        patches("v1", "Pod", &pod, &change);
        let mut new = pod.clone();
        patch::merge(&mut new, &change);
        // A patch that leaves no name is refused before this.
        if new["metadata"]["name"] == pod["metadata"]["name"] {
            let writer = managed::Writer::Client { manager: "m".to_owned(), api_version: "v1".to_owned(), subresource: String::new() };
            managed::update(("v1", "Pod", None), Some(&pod), &mut new, &writer, "2026-01-01T00:00:00Z");
        }
    }
}

fn patches(api_version: &str, kind: &str, object: &Value, change: &Value) {
    let _patched = patch::json(object, change);
    let _patched = patch::strategic(api_version, kind, object, change).map(|p| patch::result_error(api_version, kind, &p, Some(change)));
    let mut merged = object.clone();
    patch::merge(&mut merged, change);
}

/// Paths with their queries.
pub fn paths(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path: Vec<String> = text.split('?').next().unwrap_or_default().split('/').filter(|p| !p.is_empty()).map(str::to_owned).collect();
    let _target = Target::parse(&path, &Customs::default());
    if let Ok(uri) = text.parse::<http::Uri>() {
        super::call::taken_apart(&uri);
    }
}

/// Frames of port-forwarding's SPDY, in pieces as a socket might bring them.
pub fn frames(bytes: &[u8]) {
    let cut = bytes.first().map_or(1, |b| usize::from(*b).max(1));
    forward::read_frames(bytes.chunks(cut));
}

/// Label and field selectors, as text and as objects.
pub fn selectors(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let object = serde_json::json!({"metadata": {"name": "p", "namespace": "n", "labels": {"a": "b", "x/y": ""}}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}});
    for kind in kinds() {
        for (labels, fields) in [(Some(&*text), None), (None, Some(&*text))] {
            if let Ok(selector) = Selector::parse(kind, labels, fields) {
                let _matches = selector.matches(&object);
                let _text = selector.text();
            }
        }
    }
    if let Ok(given) = serde_json::from_slice::<Value>(bytes) {
        let _matches = Selector::from_object(&given).matches(&object);
    }
}

/// Shell scripts, parsed and not run.
pub fn scripts(bytes: &[u8]) {
    shell::parse_only(&String::from_utf8_lossy(bytes));
}

/// Quantities, durations, times, schedules and field paths.
pub fn small(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _quantity =
        text.parse::<quantity::Quantity>().map(|q| (q.to_string(), q.plus(q), q.minus(q), q.to_milli(), q.to_units(), q.to_f64()));
    let _canonical = quantity::canonical(&text);
    let _quantity = kubelet::quantity::parse_text(&text);
    let _size = kubelet::quantity::byte_size(&text);
    let _duration = kubelet::quantity::duration(&text);
    let at = time::parse_rfc3339(&text);
    let _next = Schedule::parse(&text).map(|s| s.next(at.unwrap_or(time::SimTime(0)), &jiff::tz::TimeZone::UTC));
    let _found = custom::find(&serde_json::json!({"a": [{"b": 1}], "c": {"d": "e"}}), &text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pieces that the readers know, in any order, with noise between them.
    fn nearly_right(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![4 => proptest::sample::select(pieces).prop_map(|p| p.as_bytes().to_vec()), 1 => proptest::collection::vec(any::<u8>(), 0..4)];
        proptest::collection::vec(piece, 0..24).prop_map(|all| all.concat())
    }

    const JSON: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"metadata\":",
        "\"spec\":",
        "\"containers\":",
        "\"name\":\"c\"",
        "\"$patch\":\"delete\"",
        "null",
        "1e999",
        "-1",
        "{\"op\":\"move\",\"from\":\"/spec\",\"path\":\"/spec/x\"}",
        "{\"$setElementOrder/containers\":[{\"name\":\"c\"}]}",
        "{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":null}]}}",
        "\"$deleteFromPrimitiveList/finalizers\":[\"x\"]",
        "{\"$retainKeys\":[\"a\"]}",
    ];
    const PATHS: &[&str] = &[
        "/",
        "api",
        "apis",
        "v1",
        "apps",
        "namespaces",
        "pods",
        "deployments",
        "scale",
        "status",
        "log",
        "exec",
        "?",
        "&",
        "=",
        "%",
        "%2F",
        "%ff",
        "watch=1",
        "limit=-1",
        "labelSelector=",
        "fieldSelector=",
        "timeoutSeconds=99999999999999999999",
        "dryRun=All",
        "continue=",
        "resourceVersion=",
    ];
    const SELECTORS: &[&str] =
        &["a", "x/y", "=", "==", "!=", "!", " in ", " notin ", "(", ")", ",", "metadata.name", "spec.nodeName", "status.phase", "\\", " "];
    const SMALL: &[&str] = &[
        "1",
        "0",
        "9223372036854775807",
        ".",
        "-",
        "+",
        "e",
        "E",
        "Ki",
        "Ei",
        "m",
        "n",
        "u",
        "s",
        "h",
        "ms",
        "*",
        "/",
        ",",
        "L",
        "@daily",
        " ",
        "2026-01-01T00:00:00Z",
        ".a",
        "[0]",
        "[*]",
        "['c']",
        "..",
        "{",
        "}",
        "?(@.b==1)",
    ];

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for read in [protobuf, bodies, paths, frames, selectors, scripts, small] {
                read(&bytes);
            }
        }

        #[test]
        fn nearly_right_text_is_read_or_refused(a in nearly_right(JSON), b in nearly_right(PATHS), c in nearly_right(SELECTORS), d in nearly_right(SMALL)) {
            bodies(&a);
            paths(&b);
            selectors(&c);
            small(&d);
        }
    }
}
