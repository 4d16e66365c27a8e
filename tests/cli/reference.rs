//! The tables of docs/manifests.md, made from schemas/: `UPDATE_DOCS=1 cargo test --test cli reference` writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

const MARK: &str = "<!-- made from schemas/ -->\n";
const KINDS: [&str; 6] = ["system", "fault", "pipeline", "sequence", "experiment", "model"];

#[test]
fn reference_of_data_files_matches_the_schemas() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("docs/manifests.md");
    let old = std::fs::read_to_string(&path).unwrap();
    let head = old.split(MARK).next().unwrap();
    let mut text = format!("{}\n\n{MARK}", head.trim_end());
    for kind in KINDS {
        let schema: Value = serde_json::from_slice(&std::fs::read(root.join("schemas").join(format!("{kind}.json"))).unwrap()).unwrap();
        write!(text, "\n## {kind}\n\n").unwrap();
        let unless = demanded_without_parent(&schema);
        table(&schema, unless.get("").copied(), &mut text);
        for (name, part) in schema["$defs"].as_object().into_iter().flatten() {
            write!(text, "\n### {kind}: {name}\n\n{}\n\n", cell(part["description"].as_str().unwrap_or_default())).unwrap();
            table(part, unless.get(name.as_str()).copied(), &mut text);
        }
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
    } else {
        assert!(old == text, "docs/manifests.md is out of date: UPDATE_DOCS=1 cargo test --test cli reference");
    }
}

/// What tables demand of files without `extends`, by the tables' names; the file's own has none.
fn demanded_without_parent(schema: &Value) -> BTreeMap<&str, &Value> {
    let then = &schema["then"];
    let variants = schema["$defs"]["Provider"]["oneOf"].as_array().into_iter().flatten();
    let tables = variants.filter_map(|variant| variant["properties"].as_object()?.iter().next());
    let named = tables.filter_map(|(tag, of)| Some((of["$ref"].as_str()?, &then["properties"]["provider"]["properties"][tag]["required"])));
    let price = ("Price", &then["properties"]["price"]["required"]);
    let named = named.map(|(reference, required)| (reference.rsplit('/').next().unwrap_or_default(), required));
    named.chain([price, ("", &then["required"])]).filter(|(_, required)| required.is_array()).collect()
}

fn table(part: &Value, unless: Option<&Value>, text: &mut String) {
    if let Some(values) = part["oneOf"].as_array().or_else(|| part["anyOf"].as_array()) {
        text.push_str("| one of | what |\n|---|---|\n");
        for value in values {
            let name = match value["properties"].as_object().and_then(|p| p.iter().next()) {
                Some((key, of)) => format!("`{key} = {{ ... }}` ({})", kind(of)),
                None => value["const"].as_str().map_or_else(|| kind(value), |c| format!("`\"{c}\"`")),
            };
            writeln!(text, "| {name} | {} |", cell(value["description"].as_str().unwrap_or_default())).unwrap();
        }
        return;
    }
    let Some(properties) = part["properties"].as_object() else { return };
    text.push_str("| key | type | default | what |\n|---|---|---|---|\n");
    let names =
        |list: &'_ Value| -> Vec<String> { list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect() };
    let required = names(&part["required"]);
    let unless = unless.map(names).unwrap_or_default();
    for (key, of) in properties {
        let default = match &of["default"] {
            _ if required.contains(key) => "**required**".to_owned(),
            _ if unless.contains(key) => "**required**, here or in what `extends` names".to_owned(),
            Value::Null => String::new(),
            Value::Object(_) => "see there".to_owned(),
            value => format!("`{value}`"),
        };
        writeln!(text, "| `{key}` | {} | {default} | {} |", kind(of), cell(of["description"].as_str().unwrap_or_default())).unwrap();
    }
}

/// A type in words.
fn kind(of: &Value) -> String {
    let named = |r: &str| r.rsplit('/').next().unwrap_or_default().to_owned();
    if let Some(r) = of["$ref"].as_str() {
        return named(r);
    }
    if let Some(parts) = of["anyOf"].as_array().or_else(|| of["allOf"].as_array()) {
        return parts.iter().map(kind).filter(|k| k != "null").collect::<Vec<_>>().join(" or ");
    }
    let word = |t: &str| match t {
        "array" => format!("list of {}", kind(&of["items"])),
        "object" if of["additionalProperties"].is_object() => format!("table of {}", kind(&of["additionalProperties"])),
        "object" => "table".to_owned(),
        "string" => "text".to_owned(),
        "integer" => "whole number".to_owned(),
        other => other.to_owned(),
    };
    match &of["type"] {
        Value::String(t) => word(t),
        Value::Array(ts) => ts.iter().filter_map(Value::as_str).filter(|t| *t != "null").map(word).collect::<Vec<_>>().join(" or "),
        _ => "any value".to_owned(),
    }
}

/// Text that stays in its cell.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|").trim().to_owned()
}
