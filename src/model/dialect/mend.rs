//! Arguments that say the right thing in the wrong form: a text given as a list of lines or as a data structure, a
//! playbook in a fenced block with prose around it.
//!
//! Input: calls as they were found; output: the same with texts where the schema wants texts, and notes of what was done.

use serde_json::Value;

use super::super::{ToolCall, ToolSpec};
use super::{CODE, fences, is_list_of_plays, offered};

/// Mends the arguments of calls in place. The notes are `joined`, `as-text` or `unfenced`.
pub fn mend(calls: &mut [ToolCall], tools: &[ToolSpec]) -> Vec<&'static str> {
    let mut notes = Vec::new();
    for call in calls {
        let (Some(tool), Ok(arguments)) = (offered(&call.name, tools), &mut call.arguments) else { continue };
        for (name, value) in arguments.iter_mut() {
            let kind = tool.parameters.pointer(&format!("/properties/{}/type", name.replace('~', "~0").replace('/', "~1")));
            if kind.and_then(Value::as_str) != Some("string") {
                continue;
            }
            notes.extend(to_text(value));
            if name == CODE {
                notes.extend(unfence(value));
            }
        }
    }
    notes.dedup();
    notes
}

/// A text that was given as something else. JSON is YAML, so that a playbook given as data stays one.
fn to_text(value: &mut Value) -> Option<&'static str> {
    let (text, note) = match &*value {
        Value::String(_) | Value::Null => return None,
        Value::Array(lines) if !lines.is_empty() && lines.iter().all(Value::is_string) => {
            let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
            (lines.join("\n"), "joined")
        }
        other => (other.to_string(), "as-text"),
    };
    *value = Value::String(text);
    Some(note)
}

/// A playbook between fences: of several the last counts, as in plain text.
fn unfence(value: &mut Value) -> Option<&'static str> {
    let text = value.as_str().filter(|text| !is_list_of_plays(text))?;
    let body = fences(text).into_iter().rfind(|fence| is_list_of_plays(fence.body))?.body.to_owned();
    *value = Value::String(body);
    Some("unfenced")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mended(code: &Value) -> (Value, Vec<&'static str>) {
        let tools = [ToolSpec {
            name: "run".to_owned(),
            description: String::new(),
            parameters: json!({ "type": "object", "properties": { "code": { "type": "string" }, "n": { "type": "integer" } } }),
        }];
        let arguments = json!({ "code": code, "n": 3 }).as_object().unwrap().clone();
        let mut calls = [ToolCall { id: "c".to_owned(), name: "run".to_owned(), arguments: Ok(arguments) }];
        let notes = mend(&mut calls, &tools);
        let arguments = calls[0].arguments.clone().unwrap();
        assert_eq!(arguments["n"], 3);
        (arguments["code"].clone(), notes)
    }

    #[test]
    fn texts_stay_and_other_forms_become_texts() {
        let play = "- hosts: all\n  tasks: []\n";
        assert_eq!(mended(&json!(play)), (json!(play), Vec::new()));
        assert_eq!(mended(&json!("no playbook")), (json!("no playbook"), Vec::new()));
        assert_eq!(mended(&json!(["- hosts: all", "  tasks: []"])), (json!("- hosts: all\n  tasks: []"), vec!["joined"]));
        assert_eq!(mended(&json!([{ "hosts": "all" }])), (json!("[{\"hosts\":\"all\"}]"), vec!["as-text"]));
    }

    #[test]
    fn fences_and_prose_around_a_playbook_are_taken_off() {
        let play = "- hosts: all\n  tasks: []\n";
        for text in [format!("```yaml\n{play}```"), format!("Here it is:\n```\nkubectl get pods\n```\nand\n```yaml\n---\n{play}```\nDone.")]
        {
            let (code, notes) = mended(&json!(text));
            assert!(code.as_str().unwrap().trim_start_matches("---\n") == play, "{code}");
            assert_eq!(notes, ["unfenced"]);
        }
    }
}
