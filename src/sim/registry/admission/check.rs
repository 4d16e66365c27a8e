//! What is wrong with expressions of policies and webhooks, when they are written.

use serde_json::Value;

use super::policy::{compile, names};
use crate::sim::cel::Known;
use crate::sim::schema::Cause;

/// What is wrong with an object of this group; `old`: what it was, whose expressions are left alone.
pub fn mistakes(kind: &str, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut check = Check { causes: Vec::new() };
    match kind {
        "ValidatingAdmissionPolicy" if old.is_none_or(|o| o["spec"] != object["spec"]) => check.policy(&object["spec"]),
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" if old.is_none_or(|o| o["webhooks"] != object["webhooks"]) => {
            let names = names(false, false);
            for (i, hook) in object["webhooks"].as_array().into_iter().flatten().enumerate() {
                let field = format!("webhooks[{i}].matchConditions");
                for (j, condition) in check.few(&field, &hook["matchConditions"], MAX_CONDITIONS).iter().enumerate() {
                    check.expression(
                        &format!("webhooks[{i}].matchConditions[{j}].expression"),
                        &condition["expression"],
                        &names,
                        Some("bool"),
                    );
                }
            }
        }
        _ => {}
    }
    check.causes
}

/// More expressions of one sort than anybody uses: compiling takes its time.
const MAX_EXPRESSIONS: usize = 500;
/// Most match conditions, as in the real server.
const MAX_CONDITIONS: usize = 64;

struct Check {
    causes: Vec<Cause>,
}

impl Check {
    fn policy(&mut self, spec: &Value) {
        let params = spec["paramKind"].is_object();
        let plain = names(params, true);
        for (i, variable) in self.few("spec.variables", &spec["variables"], MAX_EXPRESSIONS).iter().enumerate() {
            self.expression(&format!("spec.variables[{i}].expression"), &variable["expression"], &plain, None);
        }
        for (i, validation) in self.few("spec.validations", &spec["validations"], MAX_EXPRESSIONS).iter().enumerate() {
            self.expression(&format!("spec.validations[{i}].expression"), &validation["expression"], &plain, Some("bool"));
            if validation["messageExpression"].as_str().is_some_and(|m| !m.is_empty()) {
                self.expression(
                    &format!("spec.validations[{i}].messageExpression"),
                    &validation["messageExpression"],
                    &plain,
                    Some("string"),
                );
            }
        }
        for (i, condition) in self.few("spec.matchConditions", &spec["matchConditions"], MAX_CONDITIONS).iter().enumerate() {
            self.expression(&format!("spec.matchConditions[{i}].expression"), &condition["expression"], &plain, Some("bool"));
        }
        for (i, annotation) in self.few("spec.auditAnnotations", &spec["auditAnnotations"], MAX_EXPRESSIONS).iter().enumerate() {
            self.expression(&format!("spec.auditAnnotations[{i}].valueExpression"), &annotation["valueExpression"], &plain, None);
        }
    }

    /// The items of a list that is not too long.
    fn few<'v>(&mut self, field: &str, list: &'v Value, most: usize) -> &'v [Value] {
        let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
        if items.len() <= most {
            return items;
        }
        let message = format!("Too many: {}: must have at most {most} items", items.len());
        self.causes.push(Cause { reason: "FieldValueTooMany", message, field: field.to_owned() });
        &[]
    }

    fn expression(&mut self, field: &str, source: &Value, names: &[(&str, Known)], wanted: Option<&str>) {
        let (text, compiled) = compile(source, names);
        if text.trim().is_empty() {
            let message = "Required value: expression is not specified".to_owned();
            self.causes.push(Cause { reason: "FieldValueRequired", message, field: field.to_owned() });
            return;
        }
        let wrong = match (compiled, wanted) {
            (Err(why), _) => format!("compilation failed: {why}"),
            (Ok(expression), Some(wanted)) if expression.scalar().is_some_and(|is| is != wanted) => {
                format!("compilation failed: must evaluate to {wanted}")
            }
            _ => return,
        };
        self.causes.push(Cause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {text:?}: {wrong}"),
            field: field.to_owned(),
        });
    }
}
