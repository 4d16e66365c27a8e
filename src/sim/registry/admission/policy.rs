//! `ValidatingAdmissionPolicy` and its bindings.

use std::sync::Arc;

use serde_json::{Value, json};

use super::matching::{self, matches};
use super::{Operation, Request};
use crate::sim::catalog::{Catalog, Kind};
use crate::sim::cel::{Answer, Budget, Expression, Failure, Input, Known, Outcome, Scope};
use crate::sim::controllers::object::selects;
use crate::sim::registry::forbidden;
use crate::sim::resource::{Key, Resource};
use crate::sim::status::Status;
use crate::sim::world::World;

/// Longer messages that an expression makes are not used.
const MAX_MESSAGE: usize = 5120;
const NO_PARAMS: &str = "no params found for policy binding with `Deny` parameterNotFoundAction";

/// An expression with its text, or why it could not be compiled.
pub(super) type Compiled = (String, Result<Arc<Expression>, String>);

/// The variables of a policy's expressions.
pub(super) fn names(has_params: bool, has_variables: bool) -> Vec<(&'static str, Known)> {
    let mut names = vec!["object", "oldObject", "request", "namespaceObject"];
    if has_params {
        names.push("params");
    }
    if has_variables {
        names.push("variables");
    }
    names.into_iter().map(|name| (name, Known::Any)).collect()
}

pub(super) fn compile(source: &Value, names: &[(&str, Known)]) -> Compiled {
    let text = source.as_str().unwrap_or_default();
    (text.to_owned(), Expression::compile(text, names))
}

/// A policy, compiled.
#[derive(Debug)]
pub(super) struct Policy {
    name: String,
    spec: Value,
    conditions: Vec<Compiled>,
    variables: Vec<(String, Compiled)>,
    validations: Vec<Validation>,
}

#[derive(Debug)]
struct Validation {
    expression: Compiled,
    message: String,
    message_expression: Option<Compiled>,
    reason: &'static str,
}

/// Why a write is refused.
struct Denial {
    reason: &'static str,
    message: String,
}

impl Denial {
    fn error(message: String) -> Self {
        Self { reason: "Invalid", message }
    }
}

impl Policy {
    pub(super) fn is_of(&self, object: &Value) -> bool {
        self.spec == object["spec"] && object["metadata"]["name"] == *self.name
    }

    pub(super) fn compile(object: &Value) -> Self {
        let spec = &object["spec"];
        let list = |field: &str| spec[field].as_array().cloned().unwrap_or_default();
        let params = spec["paramKind"].is_object();
        let names = names(params, true);
        let validations = list("validations").into_iter().map(|v| Validation {
            expression: compile(&v["expression"], &names),
            message: v["message"].as_str().unwrap_or_default().trim().to_owned(),
            message_expression: v["messageExpression"].as_str().filter(|m| !m.is_empty()).map(|_| compile(&v["messageExpression"], &names)),
            reason: match v["reason"].as_str() {
                Some("Unauthorized") => "Unauthorized",
                Some("Forbidden") => "Forbidden",
                Some("RequestEntityTooLarge") => "RequestEntityTooLarge",
                _ => "Invalid",
            },
        });
        Self {
            name: object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            conditions: list("matchConditions").iter().map(|c| compile(&c["expression"], &names)).collect(),
            variables: list("variables")
                .iter()
                .map(|v| (v["name"].as_str().unwrap_or_default().to_owned(), compile(&v["expression"], &names)))
                .collect(),
            validations: validations.collect(),
            spec: spec.clone(),
        }
    }

    fn fails_open(&self) -> bool {
        self.spec["failurePolicy"] == "Ignore"
    }

    fn uses(&self, name: &str) -> bool {
        let messages = self.validations.iter().filter_map(|v| v.message_expression.as_ref());
        let all = self.conditions.iter().chain(self.variables.iter().map(|(_, v)| v));
        let mut all = all.chain(self.validations.iter().map(|v| &v.expression)).chain(messages);
        all.any(|(_, compiled)| compiled.as_ref().is_ok_and(|e| e.uses(name)))
    }

    /// What the policy says about a write, for one object with parameters.
    fn decide(&self, world: &World, request: &Request<'_>, params: Option<&Value>, budget: &mut Budget) -> Vec<Denial> {
        let mut run = Run { scope: scope(world, request, |name| self.uses(name)), failed: Vec::new() };
        if self.spec["paramKind"].is_object() {
            run.scope.set("params", Input::Json(params.unwrap_or(&Value::Null)));
        }
        if self.uses("variables") {
            let mut parts: Vec<(String, Outcome)> = Vec::new();
            run.scope.set_parts("variables", &parts);
            for (name, variable) in &self.variables {
                match run.value(variable, budget) {
                    Ok(outcome) => {
                        parts.push((name.clone(), outcome));
                        run.scope.set_parts("variables", &parts);
                    }
                    Err(why) => run.failed.push((name.clone(), why)),
                }
            }
        }
        for condition in &self.conditions {
            match run.evaluate(condition, budget) {
                Ok(outcome) if outcome.is_true() => {}
                Ok(_) => return Vec::new(),
                Err(_) if self.fails_open() => return Vec::new(),
                Err(why) => return vec![Denial::error(why)],
            }
        }
        let mut denials = Vec::new();
        for validation in &self.validations {
            match run.evaluate(&validation.expression, budget) {
                Ok(outcome) if outcome.is_true() => {}
                Ok(_) => {
                    let made = validation.message_expression.as_ref().and_then(|m| run.evaluate(m, budget).ok());
                    let made = made.as_ref().and_then(Answer::text).map(str::trim);
                    let made = made.filter(|m| !m.is_empty() && m.len() <= MAX_MESSAGE && !m.contains('\n')).map(str::to_owned);
                    let given = Some(&validation.message).filter(|m| !m.is_empty()).cloned();
                    let message = made.or(given).unwrap_or_else(|| format!("failed expression: {}", validation.expression.0.trim()));
                    denials.push(Denial { reason: validation.reason, message });
                }
                Err(_) if self.fails_open() => {}
                Err(why) => denials.push(Denial::error(why)),
            }
        }
        denials
    }
}

/// The variables of a write, as far as they are asked for.
pub(super) fn scope(world: &World, request: &Request<'_>, uses: impl Fn(&str) -> bool) -> Scope {
    let mut scope = Scope::default();
    let nothing = Value::Null;
    if uses("object") {
        scope.set("object", Input::Json(request.object.filter(|_| request.operation != Operation::Delete).unwrap_or(&nothing)));
    }
    if uses("oldObject") {
        scope.set("oldObject", Input::Json(request.old.unwrap_or(&nothing)));
    }
    if uses("request") {
        scope.set("request", Input::Json(&request.described(world)));
    }
    if uses("namespaceObject") {
        let namespace = world.store.get(&Key::new(&Resource::new("", "namespaces"), "", &request.key.namespace));
        scope.set("namespaceObject", Input::Json(namespace.map_or(&nothing, |n| n)));
    }
    scope
}

struct Run {
    scope: Scope,
    failed: Vec<(String, String)>,
}

impl Run {
    fn evaluate(&self, compiled: &Compiled, budget: &mut Budget) -> Result<Answer, String> {
        self.run(compiled, |expression| expression.evaluate(&self.scope, budget))
    }

    fn value(&self, compiled: &Compiled, budget: &mut Budget) -> Result<Outcome, String> {
        self.run(compiled, |expression| expression.value(&self.scope, budget))
    }

    fn run<T>(&self, (text, compiled): &Compiled, run: impl FnOnce(&Expression) -> Result<T, Failure>) -> Result<T, String> {
        let told = |why: String| format!("expression '{text}' resulted in error: {why}");
        let expression = compiled.as_ref().map_err(|why| told(why.clone()))?;
        run(expression).map_err(|failure| {
            let why = failure.to_string();
            let missing = why.strip_prefix("no such key: ").and_then(|name| self.failed.iter().find(|(failed, _)| failed == name));
            match (&failure, missing) {
                (Failure::Evaluation(_), Some((name, cause))) if expression.uses("variables") => {
                    told(format!("composited variable {name:?} fails to evaluate: {cause}"))
                }
                _ => told(why),
            }
        })
    }
}

/// Refuses what a bound policy denies; warns where a binding only warns.
pub(super) fn enforce(
    world: &World,
    policies: &[Arc<Policy>],
    bindings: &[Arc<Value>],
    request: &Request<'_>,
    budget: &mut Budget,
) -> Result<(), Status> {
    let mut refused: Option<Status> = None;
    for policy in policies {
        let constraints = &policy.spec["matchConstraints"];
        if !matching::has_rules(constraints, "resourceRules") || !matches(world, constraints, "resourceRules", request) {
            continue;
        }
        for binding in bindings.iter().filter(|b| b["spec"]["policyName"] == *policy.name) {
            let spec = &binding["spec"];
            if !matches(world, &spec["matchResources"], "resourceRules", request) {
                continue;
            }
            let name = binding["metadata"]["name"].as_str().unwrap_or_default();
            let denials = match params(world, policy, spec, request) {
                Ok(all) => all.iter().flat_map(|one| policy.decide(world, request, one.as_deref(), budget)).collect(),
                Err(_) if policy.fails_open() => Vec::new(),
                // What is configured wrongly refuses, whatever the binding's actions are.
                Err((why, with_binding)) => {
                    let (what, name) = if with_binding { ("binding", Some(name)) } else { ("policy", None) };
                    let denial = Denial::error(format!("failed to configure {what}: {why}"));
                    refused.get_or_insert_with(|| status(request, policy, name, &denial));
                    continue;
                }
            };
            for denial in &denials {
                for action in spec["validationActions"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    match action {
                        "Deny" => {
                            refused.get_or_insert_with(|| status(request, policy, Some(name), denial));
                        }
                        // Controllers do not read warnings.
                        "Warn" if world.requester.is_some() => world.warnings.borrow_mut().push(format!(
                            "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{name}': {}",
                            policy.name, denial.message
                        )),
                        // Annotations of audit events are not kept.
                        _ => {}
                    }
                }
            }
        }
    }
    refused.map_or(Ok(()), Err)
}

fn status(request: &Request<'_>, policy: &Policy, binding: Option<&str>, denial: &Denial) -> Status {
    let with = binding.map(|name| format!(" with binding '{name}'")).unwrap_or_default();
    let why = format!("ValidatingAdmissionPolicy '{}'{with} denied request: {}", policy.name, denial.message);
    let mut status = forbidden(&request.key.resource, &request.key.name, &why);
    status.reason = denial.reason;
    status.code = match denial.reason {
        "Unauthorized" => 401,
        "Forbidden" => 403,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    status.details["causes"] = json!([{"message": why}]);
    status
}

/// The objects with parameters that a binding names, `None` for none; or why not, and whether that is the binding's fault.
fn params(world: &World, policy: &Policy, binding: &Value, request: &Request<'_>) -> Result<Vec<Option<Arc<Value>>>, (String, bool)> {
    let wanted = &policy.spec["paramKind"];
    if !wanted.is_object() {
        return Ok(vec![None]);
    }
    let api_version = wanted["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let named = wanted["kind"].as_str().unwrap_or_default();
    let custom = || world.customs.kinds().iter().find(|k| k.group == group && k.version == version && k.kind == named);
    let kind: &Arc<Kind> = Catalog::get()
        .by_kind(group, version, named)
        .or_else(custom)
        .ok_or_else(|| (format!("failed to find resource referenced by paramKind: '{api_version}, Kind={named}'"), false))?;
    let reference = &binding["paramRef"];
    if !reference.is_object() {
        return Ok(vec![None]);
    }
    let namespace = match (kind.namespaced, reference["namespace"].as_str().filter(|n| !n.is_empty())) {
        (true, Some(given)) => given,
        (true, None) if !request.key.namespace.is_empty() => &*request.key.namespace,
        (true, None) => {
            return Err(("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".to_owned(), true));
        }
        (false, Some(_)) => return Err(("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned(), true)),
        (false, None) => "",
    };
    let found: Vec<Option<Arc<Value>>> = match reference["name"].as_str().filter(|n| !n.is_empty()) {
        Some(name) => world.store.get(&Key::new(&kind.resource, namespace, name)).map(|o| Some(Arc::clone(o))).into_iter().collect(),
        None => world
            .store
            .list(&kind.resource, Some(namespace).filter(|_| kind.namespaced))
            .filter(|(_, o)| selects(&reference["selector"], &o["metadata"]["labels"]))
            .map(|(_, o)| Some(Arc::clone(o)))
            .collect(),
    };
    if found.is_empty() && reference["parameterNotFoundAction"] != "Allow" {
        return Err((NO_PARAMS.to_owned(), true));
    }
    Ok(found)
}
