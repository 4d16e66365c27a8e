//! `x-kubernetes-validations`: what the rules of a definition's schema say about an object.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::sim::cel::{Answer, Budget, Expression, Failure, Input, Known, Scope};
use crate::sim::schema::Cause;

/// Deeper than any schema that is looked at.
const MAX_DEPTH: usize = 64;
/// More rules than definitions have that people use: compiling takes its time.
const MAX_RULES: usize = 1000;
const TOO_MANY: &str = "Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
/// Longer messages that an expression makes are not used.
const MAX_MESSAGE: usize = 5120;
/// With one of these, rules are not evaluated: the object is not what they were written for.
const BLOCKING: [&str; 5] =
    ["FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"];

/// The compiled rules of a schema, by where they stand.
#[derive(Debug, Default)]
pub struct Rules {
    here: Vec<Rule>,
    properties: BTreeMap<String, Rules>,
    rest: Option<Box<Rules>>,
    items: Option<Box<Rules>>,
}

#[derive(Debug)]
struct Rule {
    expression: Arc<Expression>,
    message_expression: Option<Arc<Expression>>,
    /// `message`, or the rule itself.
    told: String,
    /// What is told when there is no expression for it.
    message: String,
    reason: Option<String>,
    field_path: String,
    optional_old: bool,
}

impl Rules {
    /// Compiles the rules of a definition's schema; those with mistakes are left out and told, with their place in the schema
    /// (`.properties[spec].x-kubernetes-validations[0].rule`).
    pub fn compile(schema: &Value) -> (Self, Vec<Cause>) {
        let mut mistakes = Vec::new();
        if count(schema, 0) > MAX_RULES {
            mistakes.push(Cause { reason: "FieldValueForbidden", message: TOO_MANY.to_owned(), field: String::new() });
            return (Self::default(), mistakes);
        }
        let rules = compile(schema, "", true, 0, &mut mistakes).unwrap_or_default();
        (rules, mistakes)
    }

    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.properties.is_empty() && self.rest.is_none() && self.items.is_none()
    }

    /// What the rules say about an object. `before`: what is wrong with it already.
    pub fn check(&self, schema: &Value, new: &Value, old: Option<&Value>, before: &[Cause]) -> Vec<Cause> {
        if self.is_empty() {
            return Vec::new();
        }
        if before.iter().any(|cause| BLOCKING.contains(&cause.reason)) {
            let message = "Invalid value: \"null\": some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            return vec![Cause { reason: "FieldValueInvalid", message: message.to_owned(), field: "<nil>".to_owned() }];
        }
        let mut run = Run { budget: Budget::default(), causes: Vec::new(), over: false };
        run.node(self, schema, new, old, "", 0);
        run.causes
    }
}

fn text(v: &Value) -> String {
    v.as_str().unwrap_or_default().to_owned()
}

/// How many rules there are, as far as they are looked at.
fn count(schema: &Value, depth: usize) -> usize {
    if depth > MAX_DEPTH {
        return 0;
    }
    let here = schema["x-kubernetes-validations"].as_array().map_or(0, Vec::len);
    let below = schema["properties"].as_object().into_iter().flat_map(|p| p.values());
    let below = below.chain([&schema["additionalProperties"], &schema["items"]]).filter(|s| s.is_object());
    here + below.map(|s| count(s, depth + 1)).sum::<usize>()
}

fn compile(schema: &Value, path: &str, root: bool, depth: usize, mistakes: &mut Vec<Cause>) -> Option<Rules> {
    if depth > MAX_DEPTH || !schema.is_object() {
        return None;
    }
    let mut rules = Rules::default();
    let given = schema["x-kubernetes-validations"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (i, rule) in given.iter().enumerate() {
        let known = if root { Known::of_resource(schema) } else { Known::of(schema) };
        match compile_rule(rule, &known) {
            Ok(rule) => rules.here.push(rule),
            Err((field, detail)) => {
                let message = format!("Invalid value: {}: {detail}", shown(rule));
                let field = format!("{path}.x-kubernetes-validations[{i}].{field}");
                mistakes.push(Cause { reason: "FieldValueInvalid", message, field });
            }
        }
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(inner) = compile(inner, &format!("{path}.properties[{name}]"), false, depth + 1, mistakes) {
            rules.properties.insert(name.clone(), inner);
        }
    }
    let mut below = |field: &str| compile(&schema[field], &format!("{path}.{field}"), false, depth + 1, mistakes).map(Box::new);
    rules.rest = below("additionalProperties");
    rules.items = below("items");
    Some(rules).filter(|rules| !rules.is_empty())
}

fn compile_rule(rule: &Value, known: &Known) -> Result<Rule, (&'static str, String)> {
    let source = text(&rule["rule"]);
    if source.trim().is_empty() {
        return Err(("rule", "rule is not specified".to_owned()));
    }
    let optional_old = rule["optionalOldSelf"] == true;
    let old = if optional_old { Known::Optional(Box::new(known.clone())) } else { known.clone() };
    let names = [("self", known.clone()), ("oldSelf", old)];
    let expression = Expression::compile(&source, &names).map_err(|e| ("rule", format!("compilation failed: {e}")))?;
    if expression.scalar().is_some_and(|name| name != "bool") {
        return Err(("rule", "cel expression must evaluate to a bool".to_owned()));
    }
    let message_expression = match rule["messageExpression"].as_str().filter(|m| !m.trim().is_empty()) {
        None => None,
        Some(source) => {
            let wrong = |e: String| ("messageExpression", format!("messageExpression compilation failed: {e}"));
            let compiled = Expression::compile(source, &names).map_err(wrong)?;
            if compiled.scalar().is_some_and(|name| name != "string") {
                return Err(("messageExpression", "messageExpression must evaluate to a string".to_owned()));
            }
            Some(compiled)
        }
    };
    let given = text(&rule["message"]);
    let told = if given.is_empty() { source.trim().to_owned() } else { given.trim().to_owned() };
    Ok(Rule {
        expression,
        message_expression,
        message: if given.is_empty() { format!("failed rule: {told}") } else { told.clone() },
        told,
        reason: rule["reason"].as_str().map(str::to_owned),
        field_path: field_path(rule["fieldPath"].as_str().unwrap_or_default()),
        optional_old,
    })
}

/// A rule as Go prints its type.
fn shown(rule: &Value) -> String {
    let pointer = |v: &Value, name: &str| if v.is_null() { format!("(*{name})(nil)") } else { format!("(*{name})(0xc000000000)") };
    format!(
        "apiextensions.ValidationRule{{Rule:{:?}, Message:{:?}, MessageExpression:{:?}, Reason:{}, FieldPath:{:?}, OptionalOldSelf:{}}}",
        text(&rule["rule"]),
        text(&rule["message"]),
        text(&rule["messageExpression"]),
        pointer(&rule["reason"], "apiextensions.FieldValueErrorReason"),
        text(&rule["fieldPath"]),
        pointer(&rule["optionalOldSelf"], "bool"),
    )
}

/// `.a.b['c.d']` as fields are named in answers: `a.b.c.d`.
fn field_path(given: &str) -> String {
    given.replace("['", ".").replace("']", "").trim_start_matches('.').to_owned()
}

struct Run {
    budget: Budget,
    causes: Vec<Cause>,
    over: bool,
}

impl Run {
    fn node(&mut self, rules: &Rules, schema: &Value, new: &Value, old: Option<&Value>, path: &str, depth: usize) {
        if depth > MAX_DEPTH || new.is_null() {
            return;
        }
        let old = old.filter(|o| !o.is_null());
        self.rules_here(rules, schema, new, old, path);
        for (name, inner) in new.as_object().into_iter().flatten() {
            let known = rules.properties.get(name);
            let (next, below, here) = match known {
                Some(next) => (next, &schema["properties"][name.as_str()], join(path, name)),
                None if schema["properties"][name.as_str()].is_object() => continue,
                None => match &rules.rest {
                    Some(next) => (&**next, &schema["additionalProperties"], format!("{path}[{name}]")),
                    None => continue,
                },
            };
            self.node(next, below, inner, old.and_then(|o| o.get(name)), &here, depth + 1);
        }
        if let Some(next) = &rules.items {
            let items = &schema["items"];
            for (i, inner) in new.as_array().into_iter().flatten().enumerate() {
                let before = old.and_then(|o| correlated(schema, o, inner));
                self.node(next, items, inner, before, &format!("{path}[{i}]"), depth + 1);
            }
        }
    }

    fn rules_here(&mut self, rules: &Rules, schema: &Value, new: &Value, old: Option<&Value>, path: &str) {
        if rules.here.is_empty() || self.over {
            return;
        }
        let field = if path.is_empty() { "<nil>" } else { path };
        let mut plain = Scope::default();
        plain.set("self", Input::Typed(new, schema));
        if let Some(old) = old {
            plain.set("oldSelf", Input::Typed(old, schema));
        }
        for rule in &rules.here {
            let transition = rule.expression.uses("oldSelf");
            // What was so before and has not changed is left alone, even where a rule has come since.
            if (transition && old.is_none() && !rule.optional_old) || (!transition && old == Some(new)) {
                continue;
            }
            let mut optional = Scope::default();
            let scope = if rule.optional_old {
                optional.set("self", Input::Typed(new, schema));
                optional.set("oldSelf", Input::Optional(old.map(|o| (o, schema))));
                &optional
            } else {
                &plain
            };
            match rule.expression.evaluate(scope, &mut self.budget) {
                Ok(outcome) if outcome.is_true() => {}
                Ok(_) => {
                    let message = rule.message_expression.as_ref().and_then(|m| m.evaluate(scope, &mut self.budget).ok());
                    let message = message.as_ref().and_then(usable).unwrap_or(&rule.message);
                    let below = if rule.field_path.is_empty() { field.to_owned() } else { join(path, &rule.field_path) };
                    self.causes.push(cause(rule.reason.as_deref(), &below, &value_shown(new), message));
                }
                Err(failure) => {
                    let why = match &failure {
                        Failure::Budget => {
                            self.over = true;
                            format!(
                                "'{failure}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                                rule.told
                            )
                        }
                        Failure::Evaluation(why) if why.starts_with("no such overload") => {
                            format!(
                                "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                                rule.told
                            )
                        }
                        Failure::Evaluation(why) => format!("{why} evaluating rule: {}", rule.told),
                    };
                    self.causes.push(cause(None, field, &value_shown(new), &why));
                    if self.over {
                        return;
                    }
                }
            }
        }
    }
}

/// A message that an expression made, if it is one.
fn usable(outcome: &Answer) -> Option<&str> {
    outcome.text().map(str::trim).filter(|m| !m.is_empty() && m.len() <= MAX_MESSAGE && !m.contains('\n'))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Of objects and lists nothing is shown; of anything else, the value.
fn value_shown(value: &Value) -> String {
    if value.is_object() || value.is_array() { String::new() } else { format!(" {value}:") }
}

fn cause(reason: Option<&str>, field: &str, shown: &str, message: &str) -> Cause {
    let (reason, message) = match reason {
        Some("FieldValueForbidden") => ("FieldValueForbidden", format!("Forbidden: {message}")),
        Some("FieldValueRequired") => ("FieldValueRequired", format!("Required value: {message}")),
        Some("FieldValueDuplicate") => ("FieldValueDuplicate", format!("Duplicate value:{shown}").trim_end_matches(':').to_owned()),
        _ => ("FieldValueInvalid", format!("Invalid value:{shown} {message}")),
    };
    Cause { reason, message, field: field.to_owned() }
}

/// The item of an old list that is this one: only lists that are maps tell.
fn correlated<'o>(schema: &Value, old: &'o Value, item: &Value) -> Option<&'o Value> {
    if schema["x-kubernetes-list-type"] != "map" {
        return None;
    }
    let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"].as_array()?.iter().filter_map(Value::as_str).collect();
    old.as_array()?.iter().find(|other| keys.iter().all(|key| other[*key] == item[*key]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({"type": "object",
            "x-kubernetes-validations": [{"rule": "self.metadata.name != 'bad'", "message": "not that name"}],
            "properties": {"spec": {"type": "object",
                "x-kubernetes-validations": [
                    {"rule": "self.min <= self.max", "messageExpression": "'min %d is above max %d'.format([self.min, self.max])"},
                    {"rule": "!has(self.kind) || self.kind == oldSelf.kind", "message": "kind is immutable", "fieldPath": ".kind", "reason": "FieldValueForbidden"}],
                "properties": {"min": {"type": "integer"}, "max": {"type": "integer"},
                    "kind": {"type": "string"},
                    "size": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf.orValue(0)", "optionalOldSelf": true}]},
                    "labels": {"type": "object", "additionalProperties": {"type": "string", "x-kubernetes-validations": [{"rule": "self.size() < 4"}]}},
                    "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object",
                        "x-kubernetes-validations": [{"rule": "self.port == oldSelf.port", "message": "ports stay"}],
                        "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}}}}}}})
    }

    fn told(new: &Value, old: Option<&Value>) -> Vec<String> {
        let schema = schema();
        let (rules, mistakes) = Rules::compile(&schema);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        rules.check(&schema, new, old, &[]).iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn rules_at_every_depth_are_evaluated() {
        let good =
            json!({"metadata": {"name": "x"}, "spec": {"min": 1, "max": 2, "labels": {"a": "b"}, "ports": [{"name": "a", "port": 1}]}});
        assert!(told(&good, None).is_empty());
        let bad = json!({"metadata": {"name": "bad"}, "spec": {"min": 3, "max": 2, "size": -1, "labels": {"a": "long"}}});
        assert_eq!(
            told(&bad, None),
            [
                "<nil>: Invalid value: not that name",
                "spec: Invalid value: min 3 is above max 2",
                "spec.labels[a]: Invalid value: \"long\": failed rule: self.size() < 4",
                "spec.size: Invalid value: -1: failed rule: self >= oldSelf.orValue(0)",
            ]
        );
    }

    #[test]
    fn transitions_compare_with_what_was() {
        let old =
            json!({"spec": {"min": 1, "max": 2, "kind": "a", "size": 2, "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}});
        let new =
            json!({"metadata": {"name": "x"}, "spec": {"min": 1, "max": 2, "kind": "b", "size": 1, "ports": [{"name": "b", "port": 3}]}});
        assert_eq!(
            told(&new, Some(&old)),
            [
                "spec.kind: Forbidden: kind is immutable",
                "spec.ports[0]: Invalid value: ports stay",
                "spec.size: Invalid value: 1: failed rule: self >= oldSelf.orValue(0)",
            ]
        );
        // What is wrong already and does not change is left alone.
        let wrong = json!({"metadata": {"name": "x"}, "spec": {"min": 3, "max": 2}});
        assert!(told(&wrong, Some(&wrong)).is_empty());
    }

    #[test]
    fn failing_rules_say_why() {
        let missing = told(&json!({"metadata": {"name": "x"}, "spec": {"min": 1}}), None);
        assert_eq!(missing, ["spec: Invalid value: no such key: max evaluating rule: self.min <= self.max"]);
        let schema = schema();
        let required = [Cause { reason: "FieldValueRequired", message: "Required value".into(), field: "spec.min".into() }];
        let causes = Rules::compile(&schema).0.check(&schema, &json!({"spec": {}}), None, &required);
        assert!(causes.len() == 1 && causes[0].message.contains("some validation rules were not checked"));
    }

    #[test]
    fn mistakes_in_rules_are_placed() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.b > 1"}, {"rule": "self.a"}, {"rule": "self.a > 1", "messageExpression": "self.a"}]}}});
        let (_, mistakes) = Rules::compile(&schema);
        let told: Vec<String> = mistakes
            .iter()
            .map(|m| format!("{}: {}", m.field, m.message.split_once("OptionalOldSelf:(*bool)(nil)}: ").unwrap().1))
            .collect();
        assert_eq!(
            told,
            [
                ".properties[spec].x-kubernetes-validations[0].rule: compilation failed: ERROR: <input>:1:5: undefined field 'b'\n | self.b > 1\n | ....^",
                ".properties[spec].x-kubernetes-validations[1].rule: cel expression must evaluate to a bool",
                ".properties[spec].x-kubernetes-validations[2].messageExpression: messageExpression must evaluate to a string",
            ]
        );
        assert!(mistakes[0].message.starts_with("Invalid value: apiextensions.ValidationRule{Rule:\"self.b > 1\", Message:\"\", MessageExpression:\"\", Reason:(*apiextensions.FieldValueErrorReason)(nil)"));
    }
}
