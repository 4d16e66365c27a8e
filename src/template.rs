//! Templates and expressions: one strict minijinja environment for every data file.
//!
//! Inputs: template text and a context; outputs: text or a value. An undefined variable is an error, output is never
//! escaped, and the work of one rendering is bounded.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};
use serde_json::Value as Json;

/// Instructions that one rendering may execute.
const FUEL: u64 = 5_000_000;

/// A template or an expression that is wrong, or that its context does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to render {name}{}: {message}", line.map(|l| format!(", line {l}")).unwrap_or_default())]
pub struct TemplateError {
    /// Name of the template.
    pub name: String,
    /// Line, from 1.
    pub line: Option<usize>,
    /// Bytes of the place in the template.
    pub range: Option<Range<usize>>,
    /// What is wrong.
    pub message: String,
}

impl TemplateError {
    fn new(name: &str, error: &minijinja::Error, source: &str) -> Self {
        let kind = error.kind();
        let mut message = match error.detail() {
            Some(detail) => detail.to_owned(),
            None => kind.to_string(),
        };
        if kind == ErrorKind::UndefinedError
            && let Some(text) = error.range().and_then(|r| source.get(r))
        {
            message = format!("`{}` is undefined", text.trim());
        }
        Self { name: name.to_owned(), line: error.line(), range: error.range(), message }
    }
}

impl TemplateError {
    fn plain(message: String) -> Self {
        Self { name: "expression".to_owned(), line: None, range: None, message }
    }
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_debug(true);
    env.set_fuel(Some(FUEL));
    env.set_auto_escape_callback(|_| AutoEscape::None);
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build() {
        env.set_syntax(syntax);
    }
    env.add_filter("to_json", to_json);
    env.add_filter("to_yaml", to_yaml);
    env.add_filter("yaml_string", yaml_string);
    env
});

fn broken(what: &str, error: &dyn std::fmt::Display) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, format!("{what}: {error}"))
}

/// JSON on one line, not escaped for HTML as minijinja's own `tojson` is.
fn to_json(value: &Value) -> Result<String, minijinja::Error> {
    serde_json::to_string(value).map_err(|e| broken("no JSON", &e))
}

/// A YAML document without the final line break.
fn to_yaml(value: &Value) -> Result<String, minijinja::Error> {
    serde_saphyr::to_string(value).map(|t| t.trim_end().to_owned()).map_err(|e| broken("no YAML", &e))
}

/// Text as a double-quoted YAML scalar: JSON's strings are YAML's.
fn yaml_string(text: &str) -> Result<String, minijinja::Error> {
    serde_json::to_string(text).map_err(|e| broken("no text", &e))
}

/// Renders a template.
pub fn render(name: &str, source: &str, context: &Json) -> Result<String, TemplateError> {
    ENVIRONMENT.render_named_str(name, source, Value::from(Serde(context))).map_err(|e| TemplateError::new(name, &e, source))
}

fn compute(expression: &str, context: &Json) -> Result<Value, TemplateError> {
    let wrong = |e: minijinja::Error| TemplateError::new("expression", &e, expression);
    let value = ENVIRONMENT.compile_expression(expression).and_then(|c| c.eval(Value::from(Serde(context)))).map_err(wrong)?;
    if value.is_undefined() { Err(TemplateError::plain(format!("`{expression}` is undefined"))) } else { Ok(value) }
}

/// Evaluates an expression, such as `options.t_max + 1`.
pub fn evaluate(expression: &str, context: &Json) -> Result<Json, TemplateError> {
    let value = compute(expression, context)?;
    serde_json::to_value(&value).map_err(|e| TemplateError::plain(format!("`{expression}` has no value that JSON knows: {e}")))
}

/// Evaluates a condition, such as `verdict.recovered and attempt < 3`: minijinja's idea of truth (empty text, zero, none
/// and empty lists are false).
pub fn holds(expression: &str, context: &Json) -> Result<bool, TemplateError> {
    compute(expression, context).map(|v| v.is_true())
}

/// The variables that a template reads and does not set, nested names included (`fault.name`).
pub fn undeclared(name: &str, source: &str) -> Result<BTreeSet<String>, TemplateError> {
    let template = ENVIRONMENT.template_from_named_str(name, source).map_err(|e| TemplateError::new(name, &e, source))?;
    let names: BTreeSet<String> = template.undeclared_variables(true).into_iter().collect();
    Ok(without_globals(names))
}

/// The variables that an expression reads, nested names included.
pub fn undeclared_in_expression(expression: &str) -> Result<BTreeSet<String>, TemplateError> {
    let compiled = ENVIRONMENT.compile_expression(expression).map_err(|e| TemplateError::new("expression", &e, expression))?;
    let names: BTreeSet<String> = compiled.undeclared_variables(true).into_iter().collect();
    Ok(without_globals(names))
}

fn without_globals(names: BTreeSet<String>) -> BTreeSet<String> {
    let globals: BTreeSet<&str> = ENVIRONMENT.globals().map(|(name, _)| name).collect();
    names.into_iter().filter(|n| !globals.contains(n.split('.').next().unwrap_or(n))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_never_escaped_whatever_the_name() {
        for name in ["a.html", "a.json", "a.yaml.j2"] {
            assert_eq!(render(name, "{{ a }}\n", &json!({ "a": "<&\"'" })).unwrap(), "<&\"'\n");
        }
    }

    #[test]
    fn undefined_is_an_error_with_its_place() {
        let error = render("p.md.j2", "one\n{{ fault.nmae }}\n", &json!({ "fault": { "name": "x" } })).unwrap_err();
        assert_eq!(error.line, Some(2));
        assert_eq!(error.message, "`fault.nmae` is undefined");
        assert_eq!(error.to_string(), "failed to render p.md.j2, line 2: `fault.nmae` is undefined");
    }

    #[test]
    fn endless_work_is_stopped() {
        let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
        let error = render("loop", nested, &json!({})).unwrap_err();
        assert!(error.message.contains("fuel"), "{error}");
    }

    #[test]
    fn expressions_give_values_and_conditions() {
        let context = json!({ "options": { "t_max": 2 }, "reply": { "tool": "" } });
        assert_eq!(evaluate("options.t_max + 1", &context).unwrap(), json!(3));
        assert!(!holds("reply.tool", &context).unwrap());
        assert!(holds("verdict is not defined", &context).unwrap());
        assert!(holds("verdict.recovered", &context).is_err());
        assert!(holds("verdict", &context).is_err());
        assert!(evaluate("options.", &context).is_err());
    }

    #[test]
    fn variables_read_are_known_without_rendering() {
        let names = undeclared("t", "{% set a = 1 %}{{ a }} {{ fault.name }} {% for s in services %}{{ s.name }}{% endfor %}").unwrap();
        assert_eq!(names, BTreeSet::from(["fault.name".to_owned(), "services".to_owned()]));
        assert_eq!(
            undeclared_in_expression("attempt < options.t_max").unwrap(),
            BTreeSet::from(["attempt".to_owned(), "options.t_max".to_owned()])
        );
    }

    #[test]
    fn yaml_and_json_filters_round_trip() {
        let context = json!({ "v": { "limits": { "cpu": "500m" }, "on": "yes" } });
        let yaml = render("t", "{{ v | to_yaml }}", &context).unwrap();
        assert_eq!(serde_saphyr::from_str::<serde_json::Value>(&yaml).unwrap(), context["v"]);
        let json_text = render("t", "{{ v | to_json }}", &context).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json_text).unwrap(), context["v"]);
    }
}
