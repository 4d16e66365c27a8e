//! Objects of the cluster, asked by an expression.

use serde_json::{Value, json};

use crate::cluster::ObjectRef;
use crate::execute::judge::{Finding, Judge};
use crate::execute::stop::Stop;
use crate::manifest::fault::ObjectCheck;
use crate::template::{self, TemplateError};

/// One finding for each object.
pub(in crate::execute) async fn measure(judge: &Judge<'_>, check: &ObjectCheck) -> Result<Vec<Finding>, Stop> {
    let broken = |e: TemplateError| Stop::Infra(e.to_string());
    let kind = template::render("object.kind", &check.kind, judge.context).map_err(broken)?;
    let objects = match &check.name {
        Some(name) => {
            let name = template::render("object.name", name, judge.context).map_err(broken)?;
            let at = ObjectRef::new(&check.api_version, &kind, judge.namespace, &name);
            match judge.cluster.get(&at).await? {
                Some(object) => vec![object.into()],
                None => return Ok(vec![Finding::fail(at.to_string(), None, "it does not exist")]),
            }
        }
        None => judge.cluster.list(&check.api_version, &kind, judge.namespace, "").await?,
    };
    let mut findings = Vec::new();
    for object in objects {
        let at = ObjectRef::of(&object, judge.namespace).to_string();
        if holds(&check.pass, judge.context, Value::clone(&object)).map_err(broken)? {
            findings.push(Finding { subject: at, passed: true, ..Finding::default() });
        } else {
            findings.push(Finding::fail(at, None, format!("not {}", check.pass)));
        }
    }
    if findings.is_empty() {
        findings.push(Finding { passed: true, note: format!("there is no {kind}"), ..Finding::default() });
    }
    Ok(findings)
}

fn holds(expression: &str, context: &Value, object: Value) -> Result<bool, TemplateError> {
    let mut context = context.clone();
    context["object"] = object;
    Ok(template::evaluate(expression, &context)? == json!(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_see_the_object_and_the_trial() {
        let deployment = json!({"spec": {"replicas": 2}, "status": {"readyReplicas": 2}});
        let context = json!({"target": "web"});
        let ask = |e: &str| holds(e, &context, deployment.clone()).unwrap();
        assert!(ask("object.status.readyReplicas == object.spec.replicas and target == 'web'"));
        assert!(!ask("object.status.readyReplicas == 3"));
        assert!(ask("not object.spec.paused|default(false)"));
        // Something that is no truth value is no pass.
        assert!(!ask("object.spec.replicas"));
    }
}
