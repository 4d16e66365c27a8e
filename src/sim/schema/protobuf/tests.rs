use serde_json::json;

use super::*;

#[test]
fn no_bytes_panic() {
    for bytes in [&b""[..], b"k8s", b"k8s\0", b"k8s\0\x0a", b"k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"k8s\0\x12\x80"] {
        assert!(decode_protobuf(bytes).is_err());
    }
}

fn length(mut length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap());
    out
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &length(bytes.len()), bytes].concat()
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
}

#[test]
fn delete_options_come_under_any_group() {
    // gracePeriodSeconds: 0, propagationPolicy: Background
    let raw = b"\x08\x00\x22\x0aBackground";
    let decoded = decode_protobuf(&envelope("policy/v1", "DeleteOptions", raw)).unwrap();
    assert_eq!(
        decoded,
        json!({"apiVersion": "policy/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "propagationPolicy": "Background"})
    );
    assert!(decode_protobuf(&envelope("chaos-mesh.org/v1alpha1", "StressChaos", b"")).is_err());
}

#[test]
fn nesting_is_bounded() {
    // A schema whose `not` holds a schema, and so on, in the one version of a custom resource definition.
    let nested = |levels: usize| {
        let mut schema = Vec::new();
        for _ in 0..levels {
            schema = [&[0xe2, 0x01][..], &length(schema.len()), &schema].concat();
        }
        let validation = field(1, &schema);
        let version = field(4, &validation);
        envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", &field(2, &field(7, &version)))
    };
    assert!(decode_protobuf(&nested(3)).is_ok());
    assert!(decode_protobuf(&nested(3)).unwrap().pointer("/spec/versions/0/schema/openAPIV3Schema/not/not").is_some());
    assert_eq!(decode_protobuf(&nested(2000)).unwrap_err(), "the protobuf body is nested too deeply");
}

proptest::proptest! {
    #[test]
    fn random_bytes_never_panic(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        for (api_version, kind) in [("v1", "Pod"), ("apps/v1", "Deployment"), ("policy/v1", "Eviction"), ("v1", "Event")] {
            let _ = decode_protobuf(&envelope(api_version, kind, &body));
        }
        let _ = decode_protobuf(&body);
    }
}
