//! The table of all Kubernetes structures, decoded once from `data/schema.json.gz` (built by `tools/schema_table.py`).
//!
//! Input: a kind (`apps/v1`, `Deployment`). Output: its fields with types, merge keys, list types and protobuf numbers.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::OnceLock;

use flate2::read::GzDecoder;
use serde::Deserialize;

static DATA: &[u8] = include_bytes!("../data/schema.json.gz");
static UNKNOWN: Entry =
    Entry { name: "", kinds: Vec::new(), alias: Some(Type::Any), atomic: false, fields: BTreeMap::new(), wire: BTreeMap::new() };

/// The bytes of the table, for a hash that changes with it.
pub(super) fn digest_input() -> &'static [u8] {
    DATA
}

/// A piece of the table's text, which is unpacked once and lives as long as the program: nothing of it is copied.
pub type Text = &'static str;

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// Text.
    String,
    /// Bytes; base64 text in JSON.
    Bytes,
    /// True or false.
    Boolean,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A floating-point number.
    Number,
    /// A resource quantity.
    Quantity,
    /// A number or text, such as a port or a percentage.
    IntOrString,
    /// A time with seconds.
    Time,
    /// A time with microseconds.
    MicroTime,
    /// Any JSON.
    Any,
    /// Another structure of the table, by its number there.
    Structure(usize),
    /// A list.
    List(Box<Type>),
    /// A map from text.
    Map(Box<Type>),
}

/// One field of a structure.
#[derive(Debug, Clone)]
pub struct Field {
    /// What it holds.
    pub kind: Type,
    /// Whether it must be there.
    pub required: bool,
    /// Whether a written zero, false or empty text differs from nothing.
    pub keeps_zero: bool,
    /// The key by which strategic merge patch matches list items.
    pub merge_key: Option<Text>,
    /// `merge`, `replace`, `retainKeys`, or several joined by commas; empty for none.
    pub strategy: Text,
    /// The keys by which server-side apply matches list items.
    pub list_keys: Box<[Text]>,
    /// `atomic`, `set`, `map` or empty.
    pub list_type: Text,
    /// The values allowed; empty for no limit.
    pub allowed: Box<[Text]>,
}

/// What a protobuf field number stands for.
#[derive(Debug, Clone)]
pub enum Wire {
    /// A field.
    Field(Text),
    /// An embedded structure whose fields belong to the outer one.
    Embedded(BTreeMap<u32, Text>),
}

/// One structure.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Short name: `core.v1.Container`.
    pub name: Text,
    /// API versions and kinds, when it is a top-level object.
    pub kinds: Vec<(Text, Text)>,
    /// For names that stand for something other than a structure with fields.
    pub alias: Option<Type>,
    /// Whether server-side apply treats it as one value.
    pub atomic: bool,
    /// Fields by JSON name.
    pub fields: BTreeMap<Text, Field>,
    /// Fields by protobuf number.
    pub wire: BTreeMap<u32, Wire>,
}

impl Entry {
    /// Whether it came from a custom resource definition: no strategic merge, no protobuf.
    pub fn is_custom(&self) -> bool {
        self.name.starts_with("chaos-mesh.")
    }
}

/// The whole table.
#[derive(Debug, Default)]
pub struct Table {
    entries: Vec<Entry>,
    names: BTreeMap<Text, usize>,
    kinds: BTreeMap<Text, BTreeMap<Text, usize>>,
}

impl Table {
    /// The table of this build.
    pub fn get() -> &'static Table {
        static TABLE: OnceLock<Table> = OnceLock::new();
        // The data are part of the binary and a test reads them, so the empty table is never seen.
        TABLE.get_or_init(|| Table::load(DATA).unwrap_or_default())
    }

    /// A structure by number.
    pub fn entry(&self, number: usize) -> &Entry {
        self.entries.get(number).unwrap_or(&UNKNOWN)
    }

    /// A structure by short name, such as `core.v1.PodSpec`.
    pub fn named(&self, name: &str) -> Option<&Entry> {
        self.names.get(name).map(|number| self.entry(*number))
    }

    /// The structure of a kind. Kinds that every group serves (`DeleteOptions`, ...) are found under any API version.
    pub fn kind(&self, api_version: &str, kind: &str) -> Option<&Entry> {
        self.number(api_version, kind).map(|number| self.entry(number))
    }

    /// The number of a kind's structure.
    pub fn number(&self, api_version: &str, kind: &str) -> Option<usize> {
        let exact = self.kinds.get(api_version).and_then(|kinds| kinds.get(kind));
        exact.or_else(|| if kind.ends_with("Options") { self.names.get(format!("meta.v1.{kind}").as_str()) } else { None }).copied()
    }

    /// All structures in the order of their names.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn load(data: &[u8]) -> Result<Self, String> {
        let mut text = Vec::new();
        GzDecoder::new(data).take(16 << 20).read_to_end(&mut text).map_err(|e| e.to_string())?;
        let raw: BTreeMap<Text, RawEntry<'static>> = serde_json::from_slice(Vec::leak(text)).map_err(|e| e.to_string())?;
        let names: BTreeMap<Text, usize> = raw.keys().enumerate().map(|(number, name)| (*name, number)).collect();
        let mut table = Self { names, ..Self::default() };
        for (number, (name, entry)) in raw.into_iter().enumerate() {
            for (version, kind) in &entry.k {
                table.kinds.entry(*version).or_default().insert(*kind, number);
            }
            let entry = entry.resolve(name, &table.names)?;
            table.entries.push(entry);
        }
        Ok(table)
    }
}

#[derive(Deserialize)]
struct RawEntry<'a> {
    #[serde(borrow, default)]
    k: Vec<(&'a str, &'a str)>,
    #[serde(borrow)]
    t: Option<&'a str>,
    #[serde(default)]
    a: u8,
    #[serde(borrow, default)]
    f: BTreeMap<&'a str, RawField<'a>>,
}

#[derive(Deserialize)]
struct RawField<'a> {
    #[serde(borrow)]
    t: &'a str,
    #[serde(borrow)]
    p: Option<&'a str>,
    #[serde(default)]
    r: u8,
    #[serde(default)]
    z: u8,
    #[serde(borrow)]
    m: Option<&'a str>,
    #[serde(borrow, default)]
    s: &'a str,
    #[serde(borrow, default)]
    k: Box<[&'a str]>,
    #[serde(borrow, default)]
    l: &'a str,
    #[serde(borrow, default)]
    e: Box<[&'a str]>,
}

impl RawEntry<'static> {
    fn resolve(self, name: Text, names: &BTreeMap<Text, usize>) -> Result<Entry, String> {
        let mut fields = BTreeMap::new();
        let mut wire = BTreeMap::new();
        for (json, raw) in self.f {
            if let Some(path) = &raw.p {
                number(&mut wire, path, json)?;
            }
            let field = Field {
                kind: parse(raw.t, names)?,
                required: raw.r == 1,
                keeps_zero: raw.z == 1,
                merge_key: raw.m,
                strategy: raw.s,
                list_keys: raw.k,
                list_type: raw.l,
                allowed: raw.e,
            };
            fields.insert(json, field);
        }
        let alias = self.t.map(|t| parse(t, names)).transpose()?;
        Ok(Entry { name, kinds: self.k, alias, atomic: self.a == 1, fields, wire })
    }
}

fn number(wire: &mut BTreeMap<u32, Wire>, path: &str, json: Text) -> Result<(), String> {
    let parse = |text: &str| text.parse::<u32>().map_err(|e| e.to_string());
    match path.split_once('.') {
        None => {
            wire.insert(parse(path)?, Wire::Field(json));
        }
        Some((outer, inner)) => {
            let slot = wire.entry(parse(outer)?).or_insert_with(|| Wire::Embedded(BTreeMap::new()));
            if let Wire::Embedded(fields) = slot {
                fields.insert(parse(inner)?, json);
            }
        }
    }
    Ok(())
}

fn parse(text: &str, names: &BTreeMap<Text, usize>) -> Result<Type, String> {
    Ok(match text {
        "s" => Type::String,
        "y" => Type::Bytes,
        "b" => Type::Boolean,
        "i" => Type::Int32,
        "l" => Type::Int64,
        "n" => Type::Number,
        "q" => Type::Quantity,
        "o" => Type::IntOrString,
        "T" => Type::Time,
        "U" => Type::MicroTime,
        "j" => Type::Any,
        _ => {
            if let Some(rest) = text.strip_prefix('[') {
                Type::List(Box::new(parse(rest, names)?))
            } else if let Some(rest) = text.strip_prefix('{') {
                Type::Map(Box::new(parse(rest, names)?))
            } else {
                let name = text.strip_prefix('.').unwrap_or(text);
                Type::Structure(*names.get(name).ok_or_else(|| format!("no entry {name}"))?)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_loads_and_knows_merge_keys_and_numbers() {
        let table = Table::load(DATA).unwrap();
        assert!(table.entries().len() > 500);
        let container = table.named("core.v1.Container").unwrap();
        assert_eq!(container.fields["ports"].merge_key, Some("containerPort"));
        assert_eq!(*container.fields["ports"].list_keys, ["containerPort", "protocol"]);
        assert!(container.fields["name"].required);
        let volume = table.named("core.v1.Volume").unwrap();
        assert!(matches!(&volume.wire[&2], Wire::Embedded(fields) if fields[&2] == "emptyDir"));
        assert_eq!(table.kind("apps/v1", "Deployment").unwrap().name, "apps.v1.Deployment");
        assert_eq!(table.kind("policy/v1", "DeleteOptions").unwrap().name, "meta.v1.DeleteOptions");
        assert!(table.kind("apps/v1", "Nothing").is_none());
    }
}
