//! Texts as models write them, and the calls that are meant.

use super::*;
use serde_json::json;

fn tool(name: &str, parameter: &str) -> ToolSpec {
    let schema = json!({ "type": "object", "properties": { parameter: { "type": "string" } }, "required": [parameter] });
    ToolSpec { name: name.to_owned(), description: String::new(), parameters: schema }
}

fn both() -> Vec<ToolSpec> {
    vec![tool("print_playbook", "code"), tool("probe_system", "cmds")]
}

/// The only call found: name and arguments.
#[track_caller]
fn only(text: &str) -> (String, Value) {
    let mut calls = find_tool_calls(text, &both(), 0);
    assert_eq!(calls.len(), 1, "{calls:?}");
    let call = calls.remove(0);
    (call.name, call.arguments.map_or_else(|malformed| json!({ "malformed": malformed.text }), Value::Object))
}

#[track_caller]
fn check(text: &str, name: &str, arguments: &Value) {
    let (found, found_arguments) = only(text);
    assert_eq!((found.as_str(), &found_arguments), (name, arguments));
}

const PLAY: &str = "- hosts: all\n  tasks:\n    - debug: {msg: \"a: {{ b }}\"}";

#[test]
fn fenced_json_in_its_variants() {
    let expected = json!({ "cmds": "kubectl get pods" });
    for object in [
        r#"{"name": "probe_system", "arguments": {"cmds": "kubectl get pods"}}"#,
        r#"{"tool": "Probe-System", "parameters": {"cmds": "kubectl get pods"}}"#,
        r#"{"action": "probe_system", "action_input": "{\"cmds\": \"kubectl get pods\"}"}"#,
        r#"{"tool": "probe_system", "input": "kubectl get pods"}"#,
        r#"{"tool": "probe_system", "cmds": "kubectl get pods"}"#,
        r#"{"type": "function", "function": {"name": "functions.probe_system", "arguments": "{\"cmds\": \"kubectl get pods\"}"}}"#,
        r#"{"tool_calls": [{"name": "probe_system", "arguments": {"cmds": "kubectl get pods"}}]}"#,
        r#"[{"name": "probe_system", "arguments": {"cmds": "kubectl get pods"}}]"#,
    ] {
        check(&format!("I look.\n\n```json\n{object}\n```\nThen I wait."), "probe_system", &expected);
        check(&format!("I look: {object} and wait."), "probe_system", &expected);
    }
}

#[test]
fn line_breaks_in_handwritten_json_are_kept() {
    check(
        &format!("```json\n{{\"name\": \"print_playbook\", \"arguments\": {{\"code\": \"{}\"}}}}\n```", "- hosts: all\n  tasks: []"),
        "print_playbook",
        &json!({ "code": "- hosts: all\n  tasks: []" }),
    );
}

#[test]
fn actions_with_json_over_one_or_more_lines() {
    let expected = json!({ "cmds": "ls" });
    for text in [
        "Thought: look\nAction: probe_system\nAction Input: {\"cmds\": \"ls\"}\nObservation: nothing\nAction: print_playbook\nAction Input: {}",
        "Action: probe_system\nAction Input:\n{\n  \"cmds\": \"ls\"\n}\n",
        "**Action:** `probe_system`\n**Action Input:**\n```json\n{\"cmds\": \"ls\"}\n```\nDone.",
        "Action: probe_system\nAction Input: ls\nObservation: imagined",
    ] {
        check(text, "probe_system", &expected);
    }
}

#[test]
fn actions_with_a_raw_block() {
    check(&format!("Action: print_playbook\nAction Input:\n{PLAY}\nObservation: ok"), "print_playbook", &json!({ "code": PLAY }));
    check(&format!("Action: print_playbook\nAction Input:\n```yaml\n{PLAY}\n```\n"), "print_playbook", &json!({ "code": PLAY }));
}

#[test]
fn actions_of_unknown_tools_are_no_calls() {
    assert!(find_tool_calls("Action: restart the pods\nAction Input: {\"a\": 1}", &both(), 0).is_empty());
}

#[test]
fn calls_between_tags() {
    check(
        "<tool_call>\n{\"name\": \"probe_system\", \"arguments\": {\"cmds\": \"ls\"}}\n</tool_call>",
        "probe_system",
        &json!({ "cmds": "ls" }),
    );
    let text = format!("<tool_call>\n<function=print_playbook>\n<parameter=code>\n{PLAY}\n</parameter>\n</function>\n</tool_call>");
    check(&text, "print_playbook", &json!({ "code": PLAY }));
    check("<function=probe_system>{\"cmds\": \"ls\"}</function>", "probe_system", &json!({ "cmds": "ls" }));
    check("<tool_call>{\"name\": \"fly\", \"arguments\": {}}</tool_call>", "fly", &json!({}));
}

#[test]
fn several_tagged_calls_are_numbered_after_the_earlier_ones() {
    let call = "<tool_call>{\"name\": \"probe_system\", \"arguments\": {\"cmds\": \"ls\"}}</tool_call>";
    let ids: Vec<String> = find_tool_calls(&call.repeat(2), &both(), 3).into_iter().map(|call| call.id).collect();
    assert_eq!(ids, ["call-4", "call-5"]);
}

#[test]
fn malformed_calls_are_calls_all_the_same() {
    let constrained = "{\n    \"action\": \"print_playbook\",\n    \"input\": {\n        \"code\": \"- hosts";
    let cut = "{\"name\": \"print_playbook\", \"arguments\": {\"code\": \"- hosts";
    for text in [
        format!("```json\n{cut}\n```"),
        format!("<tool_call>{cut}</tool_call>"),
        format!("So: {cut}"),
        constrained.to_owned(),
        "Action: print_playbook\nAction Input: {\"code\": \"- hosts".to_owned(),
    ] {
        let (name, arguments) = only(&text);
        assert_eq!(name, "print_playbook");
        assert!(arguments["malformed"].as_str().unwrap().contains("- hosts"), "{arguments}");
    }
}

#[test]
fn a_fenced_playbook_stands_for_the_tool_that_takes_code() {
    let text = format!("First:\n```yaml\n{PLAY}\n```\nBetter:\n```yaml\n---\n# repaired\n{PLAY} # two\n```\n");
    let (name, arguments) = only(&text);
    assert_eq!(name, "print_playbook");
    assert_eq!(arguments["code"], format!("---\n# repaired\n{PLAY} # two\n"));
}

#[test]
fn other_blocks_are_no_playbooks() {
    for block in ["```yaml\nkind: Pod\n```", "```bash\n- hosts: all\n```", "```yaml\n- name: no play\n  shell: ls\n```", "- hosts: all"] {
        assert!(find_tool_calls(block, &both(), 0).is_empty(), "{block}");
    }
    let fenced = format!("```yaml\n{PLAY}\n```");
    assert!(find_tool_calls(&fenced, &[tool("a", "code"), tool("b", "code")], 0).is_empty(), "two tools take code");
    assert!(find_tool_calls(&fenced, &[tool("probe_system", "cmds")], 0).is_empty(), "no tool takes code");
}

#[test]
fn bare_arguments_are_enough_for_a_single_tool() {
    let text = r#"{"code": "- hosts: all"}"#;
    let calls = find_tool_calls(text, &[tool("print_playbook", "code")], 0);
    assert_eq!(calls[0].arguments.as_ref().unwrap()["code"], "- hosts: all");
    assert!(find_tool_calls(text, &both(), 0).is_empty());
}

#[test]
fn plain_answers_hold_no_call() {
    for text in [
        "",
        "I cannot help.",
        "Use print_playbook!",
        "{\"status\": {\"name\": \"pod\"}}",
        "{{{{[[[",
        "kubectl get pod -o jsonpath='{.items[*]}'",
    ] {
        assert!(find_tool_calls(text, &both(), 0).is_empty(), "{text}");
    }
}

#[test]
fn long_texts_are_searched_within_bounds() {
    let text = "{\"ü".repeat(LONGEST_TEXT / 3);
    assert!(find_tool_calls(&text, &both(), 0).is_empty());
}

#[test]
fn the_notation_described_is_the_notation_read() {
    let described = describe(&both(), ToolChoice::Required);
    assert!(described.contains("print_playbook") && described.contains("\"cmds\""), "{described}");
    check(&write_call("probe_system", "{\"cmds\": \"ls\"}"), "probe_system", &json!({ "cmds": "ls" }));
    assert_eq!(describe(&[], ToolChoice::Auto), "");
}

/// Pieces that texts with calls consist of, so that random texts get deep into every notation.
const PIECES: [&str; 26] = [
    "Action: print_playbook\n",
    "Action Input:",
    "Observation: x\n",
    "{\"name\": \"print_playbook\", ",
    "\"arguments\": ",
    "{\"code\": \"a\"}",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    "\n",
    "\r\n",
    "```",
    "````",
    "json\n",
    "yaml\n- hosts: all\n",
    "<tool_call>",
    "</tool_call>",
    "<function=",
    "probe_system>",
    "<parameter=cmds>",
    "</parameter>",
    "ü",
    ":",
];

proptest::proptest! {
    #[test]
    fn no_text_is_too_strange(pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..40)) {
        for (index, call) in find_tool_calls(&pieces.concat(), &both(), 0).into_iter().enumerate() {
            proptest::prop_assert_eq!(call.id, format!("call-{}", index + 1));
        }
    }

    #[test]
    fn whatever_is_written_is_read_again(code in "[ -~\n\tü]{0,200}") {
        let arguments = json!({ "code": code });
        let calls = find_tool_calls(&write_call("print_playbook", &arguments.to_string()), &both(), 0);
        proptest::prop_assert_eq!(calls.len(), 1);
        proptest::prop_assert_eq!(calls[0].arguments.clone().map(Value::Object), Ok(arguments));
    }
}
