//! Decodes Kubernetes protobuf request bodies along the table.
//!
//! Input: the bytes after `Content-Type: application/vnd.kubernetes.protobuf`. Output: the object as JSON, without the zero
//! values that Go writes for everything that is not a pointer.

use serde_json::{Map, Value};

use super::table::{Entry, Field, Table, Type, Wire};

const MAGIC: &[u8] = b"k8s\0";
/// The API server's own limit for request bodies.
const MAX_BYTES: usize = 3 << 20;
/// Deeper than any Kubernetes object, shallower than the stack.
const MAX_DEPTH: usize = 48;
/// Go structures that are no pointers: written even when empty.
const PLAIN_STRUCTURES: &[&str] =
    &["metadata", "spec", "status", "strategy", "updateStrategy", "resources", "template", "loadBalancer", "source"];

/// Decodes an enveloped object.
pub fn decode_protobuf(bytes: &[u8]) -> Result<Value, String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!("the protobuf body is larger than {MAX_BYTES} bytes"));
    }
    enveloped(bytes, 0)
}

fn enveloped(bytes: &[u8], depth: usize) -> Result<Value, String> {
    let body = bytes.strip_prefix(MAGIC).ok_or("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &body[..0]);
    let mut reader = Reader(body);
    while let Some((number, payload)) = reader.next()? {
        match number {
            1 => {
                let mut meta = Reader(payload.bytes()?);
                while let Some((number, payload)) = meta.next()? {
                    match number {
                        1 => api_version = payload.text()?,
                        2 => kind = payload.text()?,
                        _ => {}
                    }
                }
            }
            2 => raw = payload.bytes()?,
            _ => {}
        }
    }
    let entry = Table::get().kind(&api_version, &kind).filter(|entry| !entry.is_custom());
    let entry = entry.ok_or_else(|| format!("no kind {kind:?} is registered for version {api_version:?} in scheme"))?;
    let mut map = message(entry, raw, depth + 1)?;
    map.insert("apiVersion".to_owned(), api_version.into());
    map.insert("kind".to_owned(), kind.into());
    Ok(Value::Object(map))
}

fn message(entry: &Entry, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, String> {
    if depth > MAX_DEPTH {
        return Err("the protobuf body is nested too deeply".to_owned());
    }
    let mut map = Map::new();
    let mut reader = Reader(bytes);
    while let Some((number, payload)) = reader.next()? {
        match entry.wire.get(&number) {
            Some(Wire::Field(name)) => put(entry, name, payload, &mut map, depth)?,
            Some(Wire::Embedded(fields)) => {
                let mut embedded = Reader(payload.bytes()?);
                while let Some((number, payload)) = embedded.next()? {
                    if let Some(name) = fields.get(&number) {
                        put(entry, name, payload, &mut map, depth)?;
                    }
                }
            }
            // A field newer than the table.
            None => {}
        }
    }
    Ok(map)
}

fn put(entry: &Entry, name: &str, payload: Payload<'_>, map: &mut Map<String, Value>, depth: usize) -> Result<(), String> {
    let Some(field) = entry.fields.get(name) else { return Ok(()) };
    let slot = map.entry(name.to_owned());
    match &field.kind {
        Type::List(inner) => {
            let list = slot.or_insert_with(|| Value::Array(Vec::new()));
            let Some(list) = list.as_array_mut() else { return Ok(()) };
            match (&**inner, payload) {
                (Type::Int32 | Type::Int64, Payload::Bytes(packed)) => {
                    let mut reader = Reader(packed);
                    while !reader.0.is_empty() {
                        list.push(value(inner, Payload::Varint(reader.varint()?), depth)?);
                    }
                }
                (_, payload) => list.push(value(inner, payload, depth)?),
            }
        }
        Type::Map(inner) => {
            let pairs = slot.or_insert_with(|| Value::Object(Map::new()));
            let (key, item) = pair(inner, payload.bytes()?, depth)?;
            if let Some(pairs) = pairs.as_object_mut() {
                pairs.insert(key, item);
            }
        }
        kind => {
            let decoded = value(kind, payload, depth)?;
            if is_meant(name, field, &decoded) {
                map.insert(name.to_owned(), decoded);
            }
        }
    }
    Ok(())
}

/// Whether a written value says anything: Go writes the zero of everything that is no pointer.
fn is_meant(name: &str, field: &Field, value: &Value) -> bool {
    if value.is_null() {
        return false;
    }
    if field.required || field.keeps_zero {
        return true;
    }
    match value {
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Object(map) => !map.is_empty() || !PLAIN_STRUCTURES.contains(&name),
        _ => true,
    }
}

fn pair(inner: &Type, bytes: &[u8], depth: usize) -> Result<(String, Value), String> {
    let mut key = String::new();
    let mut item = None;
    let mut reader = Reader(bytes);
    while let Some((number, payload)) = reader.next()? {
        match number {
            1 => key = payload.text()?,
            2 => item = Some(value(inner, payload, depth)?),
            _ => {}
        }
    }
    let item = match item {
        Some(item) => item,
        None => value(inner, Payload::Bytes(&[]), depth)?,
    };
    Ok((key, item))
}

fn value(kind: &Type, payload: Payload<'_>, depth: usize) -> Result<Value, String> {
    if depth > MAX_DEPTH {
        return Err("the protobuf body is nested too deeply".to_owned());
    }
    Ok(match kind {
        Type::String => payload.text()?.into(),
        Type::Bytes => super::defaults::base64(payload.bytes()?).into(),
        Type::Boolean => (payload.varint()? != 0).into(),
        Type::Int32 => low_32(payload.varint()?).into(),
        Type::Int64 => payload.varint()?.cast_signed().into(),
        Type::Number => payload.double()?.into(),
        Type::Quantity => {
            let text = string_of(payload.bytes()?, 1)?;
            if text.is_empty() { "0".into() } else { text.into() }
        }
        Type::IntOrString => int_or_string(payload.bytes()?)?,
        Type::Time => time(payload.bytes()?, false)?,
        Type::MicroTime => time(payload.bytes()?, true)?,
        Type::Any => any(payload.bytes()?, depth)?,
        Type::Structure(number) => {
            let entry = Table::get().entry(*number);
            match &entry.alias {
                Some(alias) => value(alias, payload, depth + 1)?,
                None => Value::Object(message(entry, payload.bytes()?, depth + 1)?),
            }
        }
        // A list inside a map is wrapped in a message with one repeated field.
        Type::List(inner) => {
            let mut items = Vec::new();
            let mut reader = Reader(payload.bytes()?);
            while let Some((number, payload)) = reader.next()? {
                if number == 1 {
                    items.push(value(inner, payload, depth + 1)?);
                }
            }
            Value::Array(items)
        }
        Type::Map(_) => return Err("a map of maps has no protobuf form".to_owned()),
    })
}

#[expect(clippy::cast_possible_truncation, reason = "protobuf sends an int32 sign-extended to 64 bits")]
fn low_32(raw: u64) -> i32 {
    raw.cast_signed() as i32
}

fn string_of(bytes: &[u8], wanted: u32) -> Result<String, String> {
    let mut text = String::new();
    let mut reader = Reader(bytes);
    while let Some((number, payload)) = reader.next()? {
        if number == wanted {
            text = payload.text()?;
        }
    }
    Ok(text)
}

fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number_value, mut text) = (false, 0, String::new());
    let mut reader = Reader(bytes);
    while let Some((number, payload)) = reader.next()? {
        match number {
            1 => is_text = payload.varint()? == 1,
            2 => number_value = low_32(payload.varint()?),
            3 => text = payload.text()?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number_value.into() })
}

fn time(bytes: &[u8], micro: bool) -> Result<Value, String> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    let mut reader = Reader(bytes);
    while let Some((number, payload)) = reader.next()? {
        match number {
            1 => seconds = payload.varint()?.cast_signed(),
            2 => nanos = low_32(payload.varint()?),
            _ => {}
        }
    }
    let at = jiff::Timestamp::new(seconds, nanos).map_err(|_| format!("time {seconds} is out of range"))?;
    let format = if micro { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(at.strftime(format).to_string().into())
}

/// `RawExtension` and `FieldsV1`: JSON, or an enveloped protobuf object.
fn any(bytes: &[u8], depth: usize) -> Result<Value, String> {
    let mut raw: &[u8] = &[];
    let mut reader = Reader(bytes);
    while let Some((number, payload)) = reader.next()? {
        if number == 1 {
            raw = payload.bytes()?;
        }
    }
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    if raw.starts_with(MAGIC) {
        return enveloped(raw, depth + 1);
    }
    serde_json::from_slice(raw).map_err(|e| format!("embedded JSON: {e}"))
}

#[derive(Debug, Clone, Copy)]
enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

impl<'a> Payload<'a> {
    fn bytes(self) -> Result<&'a [u8], String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(format!("proto: wrong wireType: expected bytes, got {other:?}")),
        }
    }

    fn text(self) -> Result<String, String> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| "proto: text is not UTF-8".to_owned())
    }

    fn varint(self) -> Result<u64, String> {
        match self {
            Self::Varint(raw) => Ok(raw),
            other => Err(format!("proto: wrong wireType: expected a number, got {other:?}")),
        }
    }

    fn double(self) -> Result<f64, String> {
        match self {
            Self::Fixed64(raw) => Ok(f64::from_bits(raw)),
            other => Err(format!("proto: wrong wireType: expected a double, got {other:?}")),
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next field, or `None` at the end. Every call consumes at least one byte.
    fn next(&mut self) -> Result<Option<(u32, Payload<'a>)>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| "proto: illegal tag".to_owned())?;
        let payload = match tag & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => Payload::Fixed64(u64::from_le_bytes(*self.take(8)?.first_chunk().ok_or("unexpected EOF")?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| "proto: negative length".to_owned())?;
                Payload::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Payload::Fixed32
            }
            other => return Err(format!("proto: illegal wireType {other}")),
        };
        Ok(Some((number, payload)))
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut out = 0_u64;
        for (index, byte) in self.0.iter().enumerate().take(10) {
            out |= u64::from(byte & 0x7f).wrapping_shl(u32::try_from(index * 7).unwrap_or(63));
            if byte & 0x80 == 0 {
                self.0 = self.0.get(index + 1..).unwrap_or_default();
                return Ok(out);
            }
        }
        Err(if self.0.len() < 10 { "unexpected EOF" } else { "proto: integer overflow" }.to_owned())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (head, tail) = self.0.split_at_checked(length).ok_or("unexpected EOF")?;
        self.0 = tail;
        Ok(head)
    }
}

#[cfg(test)]
mod tests;
