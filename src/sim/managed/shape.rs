//! How server-side apply looks at a value: as one, by field, by key or by value.

use serde_json::{Map, Value};

use crate::sim::schema::table::{Entry, Field, Table, Type};

/// How a value is taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape<'a> {
    /// Not at all.
    Leaf,
    /// A structure of the table.
    Structure(&'static Entry),
    /// A map whose values have this type.
    Map(&'static Type),
    /// A list whose items are told apart by keys.
    Keyed(&'static [&'static str], &'static Type),
    /// A list of different values.
    Values,
    /// An object of a kind that a client defined, by its schema.
    Root(&'a Value),
    /// A part of such an object, by its part of the schema.
    Defined(&'a Value),
    /// Whatever the value looks like: maps by field, everything else as one.
    Guessed,
}

impl<'a> Shape<'a> {
    /// The shape of a whole object; `defined`: the schema of a kind that a client defined.
    pub(super) fn of_kind(api_version: &str, kind: &str, defined: Option<&'a Value>) -> Self {
        match (Table::get().kind(api_version, kind), defined) {
            (Some(entry), _) => Self::Structure(entry),
            (None, Some(schema)) => Self::Root(schema),
            (None, None) => Self::Guessed,
        }
    }

    /// Whether this is a custom kind, of which Go prints nothing by itself.
    pub(super) fn is_custom(self) -> bool {
        match self {
            Self::Structure(entry) => entry.is_custom(),
            _ => true,
        }
    }

    /// The shape of a field; `custom`: it belongs to a custom kind.
    fn of_field(field: &'static Field, custom: bool) -> Self {
        if field.list_type == "atomic" { Self::Leaf } else { Self::of_type(&field.kind, Some(field), custom) }
    }

    fn of_type(kind: &'static Type, field: Option<&'static Field>, custom: bool) -> Self {
        match kind {
            Type::Structure(number) => {
                let entry = Table::get().entry(*number);
                match &entry.alias {
                    Some(alias) => Self::of_type(alias, None, custom),
                    None if entry.atomic => Self::Leaf,
                    None => Self::Structure(entry),
                }
            }
            Type::List(inner) => match field {
                Some(f) if f.list_type == "map" && !f.list_keys.is_empty() => Self::Keyed(&f.list_keys, inner),
                Some(f) if f.list_type == "set" => Self::Values,
                _ => Self::Leaf,
            },
            Type::Map(inner) => Self::Map(inner),
            Type::Any if custom => Self::Guessed,
            _ => Self::Leaf,
        }
    }

    /// Whether `value` is taken apart as a map.
    pub(super) fn as_map(self, value: &Value) -> Option<&Map<String, Value>> {
        match self {
            Self::Defined(schema) if schema["x-kubernetes-map-type"] == "atomic" => None,
            Self::Structure(_) | Self::Map(_) | Self::Guessed | Self::Root(_) | Self::Defined(_) => value.as_object(),
            _ => None,
        }
    }

    /// The shape of a map's value, and whether the key is a declared field.
    pub(super) fn below(self, key: &str) -> (Self, bool) {
        match self {
            Self::Structure(entry) => match entry.fields.get(key) {
                Some(field) => (Self::of_field(field, entry.is_custom()), true),
                None => (Self::Guessed, false),
            },
            Self::Map(inner) => (Self::of_type(inner, None, false), false),
            Self::Root(_) if matches!(key, "apiVersion" | "kind") => (Self::Leaf, true),
            Self::Root(_) if key == "metadata" => (Table::get().named("meta.v1.ObjectMeta").map_or(Self::Guessed, Self::Structure), true),
            Self::Root(schema) | Self::Defined(schema) => match (&schema["properties"][key], &schema["additionalProperties"]) {
                (known @ Value::Object(_), _) => (Self::Defined(known), true),
                (_, any @ Value::Object(_)) => (Self::Defined(any), false),
                _ => (Self::Guessed, false),
            },
            _ => (Self::Guessed, false),
        }
    }

    /// Whether lists of this shape are taken apart.
    pub(super) fn has_items(self) -> bool {
        match self {
            Self::Keyed(..) | Self::Values => true,
            Self::Defined(schema) => matches!(schema["x-kubernetes-list-type"].as_str(), Some("map" | "set")),
            _ => false,
        }
    }

    /// The items of a list with their path elements and shape; `None` when the list is one value.
    pub(super) fn items(self, value: &Value) -> Option<Vec<(String, Self, &Value)>> {
        let list = value.as_array()?;
        match self {
            Self::Defined(schema) if schema["x-kubernetes-list-type"] == "map" => {
                let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"].as_array()?.iter().filter_map(Value::as_str).collect();
                let inner = &schema["items"];
                let default = |key: &str| inner["properties"][key]["default"].clone();
                Some(list.iter().map(|item| (key_element(&keys, item, default), Self::Defined(inner), item)).collect())
            }
            Self::Defined(schema) if schema["x-kubernetes-list-type"] == "set" => {
                Some(list.iter().map(|item| (format!("v:{item}"), Self::Leaf, item)).collect())
            }
            Self::Keyed(keys, inner) => {
                Some(list.iter().map(|item| (key_element(keys, item, protocol), Self::of_type(inner, None, false), item)).collect())
            }
            Self::Values => Some(list.iter().map(|item| (format!("v:{item}"), Self::Leaf, item)).collect()),
            _ => None,
        }
    }
}

/// The only key of the table's lists that has a default.
fn protocol(key: &str) -> Value {
    if key == "protocol" { "TCP".into() } else { Value::Null }
}

/// `k:{"containerPort":80,"protocol":"TCP"}`.
fn key_element(keys: &[&str], item: &Value, default: impl Fn(&str) -> Value) -> String {
    let mut map = Map::new();
    for key in keys {
        let value = if item[*key].is_null() { default(key) } else { item[*key].clone() };
        if !value.is_null() {
            map.insert((*key).to_owned(), value);
        }
    }
    format!("k:{}", Value::Object(map))
}
