//! The document of `OpenAPI` v2 as protobuf: gnostic's `openapi.v2.Document`, as kubectl reads it.
//!
//! Input: definitions as JSON. Output: bytes. Of the paths nothing is told: clients of this form look for the schemas of kinds.
//! Field numbers are those of `OpenAPIv2.proto` (google/gnostic-models).

use serde_json::{Map, Value};

/// A message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap_or(0));
    }

    fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, value: &Value) {
        if let Some(text) = value.as_str() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn message(&mut self, field: u64, inner: &Self) {
        self.bytes(field, &inner.0);
    }
}

/// One entry of a document's definitions.
pub(super) fn definition(name: &str, found: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.message(1, &named(name, &schema(found)));
    out.0
}

/// A document, given its [`definition`]s one after the other.
pub(super) fn document(title: &str, version: &str, definitions: &[u8]) -> Vec<u8> {
    let (mut out, mut info) = (Message::default(), Message::default());
    out.bytes(1, b"2.0");
    info.bytes(1, title.as_bytes());
    info.bytes(2, version.as_bytes());
    out.message(2, &info);
    // Paths: there, and empty.
    out.bytes(8, &[]);
    out.bytes(9, definitions);
    out.0
}

fn named(name: &str, value: &Message) -> Message {
    let mut out = Message::default();
    out.bytes(1, name.as_bytes());
    out.message(2, value);
    out
}

/// Any value: as YAML, of which JSON is a part.
fn any(value: &Value) -> Message {
    let mut out = Message::default();
    out.bytes(2, value.to_string().as_bytes());
    out
}

/// A schema. Bounded by the depth of the schema, which a JSON reader has bounded.
fn schema(given: &Value) -> Message {
    let mut out = Message::default();
    let keywords = given.as_object().into_iter().flat_map(Map::iter);
    for (keyword, value) in keywords {
        match keyword.as_str() {
            "$ref" => out.text(1, value),
            "format" => out.text(2, value),
            "title" => out.text(3, value),
            "description" => out.text(4, value),
            "default" => out.message(5, &any(value)),
            "pattern" => out.text(13, value),
            "multipleOf" | "maximum" | "minimum" => {
                let field = [("multipleOf", 6), ("maximum", 7)].into_iter().find(|(k, _)| k == keyword).map_or(9, |(_, f)| f);
                out.double(field, value.as_f64().unwrap_or_default());
            }
            "exclusiveMaximum" => out.number(8, u64::from(value == true)),
            "exclusiveMinimum" => out.number(10, u64::from(value == true)),
            "uniqueItems" => out.number(16, u64::from(value == true)),
            "maxLength" | "minLength" | "maxItems" | "minItems" | "maxProperties" | "minProperties" => {
                let fields = [("maxLength", 11), ("minLength", 12), ("maxItems", 14), ("minItems", 15), ("maxProperties", 17)];
                let field = fields.into_iter().find(|(k, _)| k == keyword).map_or(18, |(_, f)| f);
                out.number(field, value.as_u64().unwrap_or_default());
            }
            "required" => value.as_array().into_iter().flatten().for_each(|name| out.text(19, name)),
            "enum" => value.as_array().into_iter().flatten().for_each(|v| out.message(20, &any(v))),
            "additionalProperties" => {
                let mut item = Message::default();
                match value {
                    Value::Bool(open) => item.number(2, u64::from(*open)),
                    _ => item.message(1, &schema(value)),
                }
                out.message(21, &item);
            }
            "type" => {
                let mut item = Message::default();
                item.text(1, value);
                out.message(22, &item);
            }
            "items" => {
                let mut item = Message::default();
                item.message(1, &schema(value));
                out.message(23, &item);
            }
            "allOf" => value.as_array().into_iter().flatten().for_each(|one| out.message(24, &schema(one))),
            "properties" => {
                let mut all = Message::default();
                for (name, inner) in value.as_object().into_iter().flatten() {
                    all.message(1, &named(name, &schema(inner)));
                }
                out.message(25, &all);
            }
            extension if extension.starts_with("x-") => out.message(31, &named(extension, &any(value))),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_has_the_bytes_that_gnostic_reads() {
        let a = json!({"type": "object", "required": ["b"], "properties": {"b": {"$ref": "#/definitions/B"}}, "x-k": [{"kind": "A"}]});
        let m = json!({"additionalProperties": true, "maxLength": 300});
        // Keywords come in the order of their names.
        let want: &[u8] = b"\x0a\x032.0\x12\x07\x0a\x01K\x12\x02v1\x42\x00\x4a\x5a\
            \x0a\x49\x0a\x01A\x12\x44\xca\x01\x18\x0a\x16\x0a\x01b\x12\x11\x0a\x0f#/definitions/B\x9a\x01\x01b\xb2\x01\x08\x0a\x06object\
            \xfa\x01\x17\x0a\x03x-k\x12\x10\x12\x0e[{\"kind\":\"A\"}]\
            \x0a\x0d\x0a\x01M\x12\x08\xaa\x01\x02\x10\x01\x58\xac\x02";
        let got = document("K", "v1", &[definition("A", &a), definition("M", &m)].concat());
        assert_eq!(got, want, "{}", got.escape_ascii());
    }
}
