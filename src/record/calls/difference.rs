//! What a request that is not kept differs in from the closest one that is.

use serde_json::Value;

/// Characters of a value that are shown.
const SHOWN: usize = 80;

/// A sentence about the first difference from the closest of the requests `kept`.
pub(super) fn closest<'a>(request: &Value, kept: impl Iterator<Item = &'a Value>) -> String {
    let part = |value: &Value, pointer: &str| value.pointer(pointer).cloned().unwrap_or_default();
    let likeness = |other: &Value| {
        let same = |pointer: &str| part(request, pointer) == part(other, pointer);
        let messages = |value: &Value| part(value, "/chat/messages").as_array().map_or(0, Vec::len);
        let common = common_messages(request, other);
        (same("/chat/sample"), same("/model/name"), messages(request) == messages(other), common, same("/model"), same("/chat/seed"))
    };
    let Some(other) = kept.max_by_key(|other| likeness(other)) else { return "it holds no reply at all".to_owned() };
    if part(request, "/chat/sample") != part(other, "/chat/sample") {
        return format!("nothing was asked in the trial {}", part(request, "/chat/sample"));
    }
    if part(request, "/model/name") != part(other, "/model/name") {
        return format!("the model {} was not asked in this trial", part(request, "/model/name"));
    }
    difference(request, other, "").unwrap_or_else(|| "it is the same, but its file has another name".to_owned())
}

fn common_messages(a: &Value, b: &Value) -> usize {
    let list = |value: &Value| value.pointer("/chat/messages").and_then(Value::as_array).cloned().unwrap_or_default();
    list(a).iter().zip(list(b).iter()).take_while(|(a, b)| a == b).count()
}

/// The first difference, by path: what is asked now, and what was asked.
fn difference(now: &Value, then: &Value, path: &str) -> Option<String> {
    if now == then {
        return None;
    }
    match (now, then) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|key| {
                let (a, b) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
                difference(a, b, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") })
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(index, (a, b))| difference(a, b, &format!("{path}[{index}]")))
        }
        (Value::Array(a), Value::Array(b)) => Some(format!("{path} has {} entries, and had {}", a.len(), b.len())),
        (Value::String(a), Value::String(b)) => {
            let at = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
            let from = |text: &str| short(&text.chars().skip(at.saturating_sub(10)).collect::<String>());
            Some(format!("{path} differs from its character {at} on: {:?}, and was {:?}", from(a), from(b)))
        }
        _ => Some(format!("{path} is {}, and was {}", short(&now.to_string()), short(&then.to_string()))),
    }
}

fn short(text: &str) -> String {
    if text.chars().count() <= SHOWN { text.to_owned() } else { text.chars().take(SHOWN).chain("...".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(sample: &str, temperature: f64, messages: &[&str]) -> Value {
        json!({ "model": { "name": "m", "provider": { "openai": { "options": { "temperature": temperature } } } },
                "chat": { "sample": sample, "messages": messages.iter().map(|m| json!({ "content": m })).collect::<Vec<_>>() } })
    }

    #[test]
    fn the_first_difference_from_the_closest_request_is_named() {
        let kept = [request("a", 0.0, &["x"]), request("a", 0.0, &["x", "the pods are fine"]), request("b", 0.0, &["y"])];
        for (asked, part) in [
            (request("c", 0.0, &["x"]), "nothing was asked in the trial \"c\""),
            (request("a", 0.0, &["x", "the pods are gone"]), "chat.messages[1].content differs from its character 13 on"),
            (request("a", 1.0, &["x"]), "model.provider.openai.options.temperature is 1.0, and was 0.0"),
            (request("a", 0.0, &["x", "a", "b"]), "chat.messages has 3 entries, and had 2"),
        ] {
            let said = closest(&asked, kept.iter());
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(closest(&kept[0], [].iter()), "it holds no reply at all");
    }
}
