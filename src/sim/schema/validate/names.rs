//! Names, labels and annotations.

use serde_json::{Map, Value};

use super::{Causes, object, text};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const KEY_NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const MAX_ANNOTATIONS: usize = 256 * 1024;

pub(super) fn metadata(api_version: &str, kind: &str, root: &Map<String, Value>, causes: &mut Causes) {
    let empty = Map::new();
    let meta = object(root, "metadata").unwrap_or(&empty);
    // Reviews are questions, not objects; and a binding names its pod elsewhere.
    if api_version.starts_with("authorization.") || api_version.starts_with("authentication.") {
        return;
    }
    let (name, generate) = (text(meta, "name"), text(meta, "generateName"));
    if name.is_empty() && generate.is_empty() {
        causes.required("metadata.name", "name or generateName is required");
    } else if !name.is_empty() {
        for problem in name_problems(kind, name) {
            causes.invalid("metadata.name", &name.into(), problem);
        }
    }
    if let Some(labels) = object(meta, "labels") {
        self::labels(labels, "metadata.labels", causes);
    }
    if let Some(annotations) = object(meta, "annotations") {
        let mut size = 0;
        for (key, value) in annotations {
            size += key.len() + value.as_str().map_or(0, str::len);
            for problem in qualified(&key.to_lowercase()) {
                causes.invalid("metadata.annotations", &key.as_str().into(), problem);
            }
        }
        if size > MAX_ANNOTATIONS {
            causes.push("FieldValueTooLong", format!("Too long: may not be more than {MAX_ANNOTATIONS} bytes"), "metadata.annotations");
        }
    }
}

pub(super) fn labels(labels: &Map<String, Value>, path: &str, causes: &mut Causes) {
    for (key, value) in labels {
        for problem in qualified(key) {
            causes.invalid(path, &key.as_str().into(), problem);
        }
        for problem in label_value(value.as_str().unwrap_or_default()) {
            causes.invalid(path, value, problem);
        }
    }
}

fn name_problems(kind: &str, name: &str) -> Vec<String> {
    match kind {
        "Namespace" => label(name),
        "Service" => label_1035(name),
        "Role" | "ClusterRole" | "RoleBinding" | "ClusterRoleBinding" => path_segment(name),
        _ => subdomain(name),
    }
}

fn path_segment(name: &str) -> Vec<String> {
    match name {
        "." | ".." => vec![format!("may not be '{name}'")],
        _ => ["/", "%"].iter().filter(|c| name.contains(**c)).map(|c| format!("may not contain '{c}'")).collect(),
    }
}

fn checked(name: &str, limit: usize, valid: bool, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if name.len() > limit {
        out.push(format!("must be no more than {limit} bytes"));
    }
    if !valid {
        out.push(text.to_owned());
    }
    out
}

fn is_label(text: &str) -> bool {
    let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|c| edge(*c)) && bytes.last().is_some_and(|c| edge(*c)) && bytes.iter().all(|c| edge(*c) || *c == b'-')
}

fn subdomain(name: &str) -> Vec<String> {
    checked(name, 253, name.split('.').all(is_label), SUBDOMAIN)
}

fn label(name: &str) -> Vec<String> {
    checked(name, 63, is_label(name), LABEL)
}

pub(super) fn check_label(name: &str, path: &str, causes: &mut Causes) {
    for problem in label(name) {
        causes.invalid(path, &name.into(), problem);
    }
}

fn label_1035(name: &str) -> Vec<String> {
    checked(name, 63, is_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase()), LABEL_1035)
}

fn is_name_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

/// What is wrong with a label's key: an optional DNS prefix and a name.
pub fn qualified(key: &str) -> Vec<String> {
    let mut out = Vec::new();
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            out.push("prefix part must be non-empty".to_owned());
        } else {
            out.extend(subdomain(prefix).into_iter().map(|problem| format!("prefix part {problem}")));
        }
    }
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        out.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_name_part(name) {
        out.push(KEY_NAME.to_owned());
    }
    out
}

/// What is wrong with a label's value.
pub fn label_value(value: &str) -> Vec<String> {
    checked(value, 63, value.is_empty() || is_name_part(value), LABEL_VALUE)
}
