//! One expression: compiled once, evaluated often.

use std::sync::Arc;

use cel::common::types::{CelBool, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Env, ExecutionError, IdedExpr, Value as CelValue};

use super::budget::Budget;
use super::check::{self, Known};
use super::guard;
use super::library::ENVIRONMENT;
use super::values::Input;

/// Longer texts are not compiled.
const MAX_LENGTH: usize = 10_000;
/// Deeper nesting is not evaluated: the interpreter calls itself.
const MAX_DEPTH: usize = 60;
/// What is not deeper is evaluated where it is asked for, without a stack of its own.
const SHALLOW: usize = 12;
/// Room for what calls itself for each level of a text that is not to be trusted.
const STACK: usize = 64 << 20;

/// Why an evaluation came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request's rules have cost too much.
    #[error("operation cancelled: actual cost limit exceeded")]
    Budget,
    /// `no such key: x`, `no such overload`, ...
    #[error("{0}")]
    Evaluation(String),
}

/// The variables of an evaluation.
#[derive(Default)]
pub struct Scope {
    values: Vec<(String, Box<dyn Val>)>,
}

impl Scope {
    /// Adds a variable.
    pub fn set(&mut self, name: &str, value: Input<'_>) {
        self.values.push((name.to_owned(), value.to_val()));
    }

    /// Adds a variable with the parts that other expressions gave.
    pub fn set_parts(&mut self, name: &str, parts: &[(String, Outcome)]) {
        let map =
            parts.iter().map(|(part, outcome)| (super::budget::key(part), outcome.0.clone())).collect::<std::collections::HashMap<_, _>>();
        let value: Box<dyn Val> = Box::new(cel::common::types::CelMap::from(map));
        self.values.retain(|(known, _)| known != name);
        self.values.push((name.to_owned(), value));
    }
}

impl VariableResolver for Scope {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        self.values.iter().find(|(name, _)| name == variable).map(|(_, value)| CowVal::Borrowed(&**value))
    }
}

/// What an expression came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A truth value.
    Truth(bool),
    /// A text.
    Text(String),
    /// Anything else.
    Other,
}

impl Answer {
    fn of(value: &dyn Val) -> Self {
        match (value.downcast_ref::<CelBool>(), value.downcast_ref::<CelString<'_>>()) {
            (Some(truth), _) => Self::Truth(*truth.inner()),
            (None, Some(text)) => Self::Text(text.inner().to_owned()),
            (None, None) => Self::Other,
        }
    }

    /// Whether it is `true`.
    pub fn is_true(&self) -> bool {
        *self == Self::Truth(true)
    }

    /// Its text, if it is one.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// A value for other expressions.
#[derive(Debug, Clone)]
pub struct Outcome(Box<dyn Val>);

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    root: IdedExpr,
    known: Known,
    names: Vec<String>,
    depth: usize,
}

impl Expression {
    /// Compiles a text whose variables have these names.
    ///
    /// # Errors
    /// What is wrong, as the real compiler prints it.
    pub fn compile(text: &str, names: &[(&str, Known)]) -> Result<Arc<Self>, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("ERROR: <input>:-1:0: expression code point size exceeds limit: size: {}, limit {MAX_LENGTH}", text.len()));
        }
        with_room(|| compile(text, names)).unwrap_or_else(|| Err("internal error: the expression could not be compiled".to_owned()))
    }

    /// The type that it comes to, where that is known.
    pub fn scalar(&self) -> Option<&'static str> {
        if let Known::Scalar(name) = self.known { Some(name) } else { None }
    }

    /// What is known of its value.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Whether it looks at a variable.
    pub fn uses(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// Evaluates it.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn evaluate(&self, scope: &Scope, budget: &mut Budget) -> Result<Answer, Failure> {
        self.run(budget, |environment| {
            let mut context = Context::with_env(environment);
            context.set_variable_resolver(scope);
            CelValue::resolve_val(&self.root, &context).map(|value| Answer::of(&*value))
        })
    }

    /// Evaluates it for other expressions.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn value(&self, scope: &Scope, budget: &mut Budget) -> Result<Outcome, Failure> {
        self.run(budget, |environment| {
            let mut context = Context::with_env(environment);
            for (name, value) in scope.values.iter().filter(|(name, _)| self.uses(name)) {
                context.add_variable_as_val(name.as_str(), value.clone());
            }
            CelValue::resolve_val(&self.root, &context).map(CowVal::into_owned).map(Outcome)
        })
    }

    fn run<T: Send>(
        &self,
        budget: &mut Budget,
        resolve: impl Fn(Arc<Env>) -> Result<T, ExecutionError> + Send + Sync,
    ) -> Result<T, Failure> {
        let environment = ENVIRONMENT.as_ref().map_err(|e| Failure::Evaluation(e.to_string()))?;
        let mut run = || budget.spend(|| resolve(Arc::clone(environment)));
        let outcome = if self.depth <= SHALLOW { run() } else { with_room(run).flatten() };
        outcome.ok_or(Failure::Budget)?.map_err(|e| Failure::Evaluation(told(&e)))
    }
}

fn compile(text: &str, names: &[(&str, Known)]) -> Result<Arc<Expression>, String> {
    let environment = ENVIRONMENT.as_ref().map_err(ToString::to_string)?;
    let (mut root, source) = environment.parser().max_recursion_depth(48).parse_with_source_info(text).map_err(|wrong| {
        let errors: Vec<String> = wrong.errors.iter().map(|e| syntax(text, e)).collect();
        errors.join("\n")
    })?;
    if depth(&root) > MAX_DEPTH {
        return Err("ERROR: <input>:-1:0: expression nesting depth exceeds limit".to_owned());
    }
    let known = check::check(&root, &source, names)?;
    let mut used = Vec::new();
    variables(&root, &mut used);
    guard::guard(&mut root);
    let depth = depth(&root);
    Ok(Arc::new(Expression { root, known, names: used, depth }))
}

/// Runs something on a stack that no expression exhausts; `None`: it panicked, or there is no room.
fn with_room<T: Send>(run: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run).ok()?.join().ok())
}

fn syntax(text: &str, error: &cel::ParseError) -> String {
    let (line, column) = (usize::try_from(error.pos.0).unwrap_or(1).max(1), usize::try_from(error.pos.1).unwrap_or(0));
    let shown = text.lines().nth(line - 1).unwrap_or_default();
    let column = column.saturating_sub(1);
    format!("ERROR: <input>:{line}:{}: Syntax error: {}\n | {shown}\n | {}^", column + 1, error.msg, ".".repeat(column))
}

/// The parts of an expression.
fn parts(at: &IdedExpr) -> Vec<&IdedExpr> {
    use cel::common::ast::{EntryExpr, Expr};
    match &at.expr {
        Expr::Call(it) => it.target.as_deref().into_iter().chain(&it.args).collect(),
        Expr::Comprehension(it) => vec![&it.iter_range, &it.accu_init, &it.loop_cond, &it.loop_step, &it.result],
        Expr::List(it) => it.elements.iter().collect(),
        Expr::Map(it) => {
            it.entries.iter().flat_map(|e| if let EntryExpr::MapEntry(e) = &e.expr { vec![&e.key, &e.value] } else { Vec::new() }).collect()
        }
        Expr::Select(it) => vec![&*it.operand],
        Expr::Struct(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    }
}

/// How deep an expression is, without calling itself.
fn depth(root: &IdedExpr) -> usize {
    let (mut deepest, mut open) = (0, vec![(root, 1)]);
    while let Some((at, level)) = open.pop() {
        deepest = deepest.max(level);
        open.extend(parts(at).into_iter().map(|part| (part, level + 1)));
    }
    deepest
}

fn variables(root: &IdedExpr, names: &mut Vec<String>) {
    let mut open = vec![root];
    while let Some(at) = open.pop() {
        if let cel::common::ast::Expr::Ident(name) = &at.expr
            && !names.contains(name)
        {
            names.push(name.clone());
        }
        open.extend(parts(at));
    }
}

/// An error in the words of the real implementation.
fn told(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        ExecutionError::IndexOutOfBounds(at) => match at {
            CelValue::Int(at) => format!("index out of bounds: {at}"),
            CelValue::UInt(at) => format!("index out of bounds: {at}"),
            other => format!("index out of bounds: {other:?}"),
        },
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::Overflow(..) => "integer overflow".to_owned(),
        ExecutionError::UndeclaredReference(name) => format!("no such attribute(s): {name}"),
        ExecutionError::FunctionError { message, .. } => message.clone(),
        ExecutionError::NoSuchOverload(_)
        | ExecutionError::ValuesNotComparable(..)
        | ExecutionError::UnexpectedType { .. }
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::UnsupportedIndex(..)
        | ExecutionError::UnsupportedTargetType { .. }
        | ExecutionError::NotSupportedAsMethod { .. } => "no such overload".to_owned(),
        other => other.to_string(),
    }
}
