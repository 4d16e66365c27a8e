//! Names, labels and other metadata: what the real server accepts, with its wording.

use serde_json::Value;

use super::seam::Cause;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// An `Invalid value` cause for a string.
pub(super) fn invalid(field: &str, value: &str, why: &str) -> Cause {
    Cause { reason: "FieldValueInvalid".into(), message: format!("Invalid value: {}: {why}", Value::from(value)), field: field.into() }
}

fn label(text: &str, max: usize) -> bool {
    !text.is_empty()
        && text.len() <= max
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// What is wrong with an object's name, if anything.
pub(super) fn name(group: &str, plural: &str, text: &str) -> Option<Cause> {
    let bad = |why: &str| Some(invalid("metadata.name", text, why));
    match (group, plural) {
        ("", "namespaces") if !label(text, 63) => bad(LABEL),
        ("", "services") if !label(text, 63) || text.starts_with(|c: char| c.is_ascii_digit()) => bad(LABEL_1035),
        ("", "namespaces" | "services") => None,
        ("rbac.authorization.k8s.io", _) => {
            let wrong = text == "." || text == ".." || text.contains(['/', '%']);
            if wrong { bad("may not contain '/' or '%', nor be '.' or '..'") } else { None }
        }
        _ if text.len() > 253 => bad("must be no more than 253 bytes"),
        _ if !text.split('.').all(|p| label(p, 253)) => bad(SUBDOMAIN),
        _ => None,
    }
}

fn word(text: &str) -> bool {
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && ends(text.bytes().next())
        && ends(text.bytes().last())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn qualified(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => prefix.split('.').all(|p| label(p, 253)) && word(name),
        None => word(text),
    }
}

/// What is wrong with labels and annotations.
pub(super) fn metadata(meta: &Value, causes: &mut Vec<Cause>) {
    for (field, values) in [("labels", true), ("annotations", false)] {
        for (k, v) in meta[field].as_object().into_iter().flatten() {
            let path = format!("metadata.{field}");
            // Annotation keys are compared without case.
            if !qualified(if values { k.clone() } else { k.to_ascii_lowercase() }.as_str()) {
                causes.push(invalid(&path, k, QUALIFIED));
            }
            if values && v.as_str().is_some_and(|v| !v.is_empty() && !word(v)) {
                causes.push(invalid(&path, v.as_str().unwrap_or_default(), LABEL_VALUE));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_follow_their_kind() {
        assert!(name("", "pods", "a.b-1").is_none());
        assert!(name("", "pods", "Bad_Name").unwrap().message.starts_with("Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain"));
        assert!(name("", "services", "1a").is_some());
        assert!(name("", "namespaces", "a.b").is_some());
        assert!(name("rbac.authorization.k8s.io", "clusterroles", "system:node").is_none());
    }

    #[test]
    fn labels_are_checked_like_recorded() {
        let mut causes = Vec::new();
        metadata(&json!({"labels": {"bad key!": "v", "ok/app": "web"}, "annotations": {"x.y/Z": "any thing"}}), &mut causes);
        assert_eq!(causes.len(), 1);
        assert_eq!(causes[0].field, "metadata.labels");
        assert!(causes[0].message.starts_with("Invalid value: \"bad key!\": name part must consist of"));
    }
}
