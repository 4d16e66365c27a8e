//! What is wrong with an expression before it runs: unknown names, fields that a schema does not have, operands that do not fit.
//!
//! Types are known where a schema or the language itself tells them, and anything goes elsewhere.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, SourceInfo, operators};
use serde_json::{Value, json};

use super::guard::unescape;
use super::library::{GLOBAL, MEMBERS, QUALIFIED};

/// Errors beyond these are not told.
const MAX_ERRORS: usize = 10;
/// Words in front of functions that are no values.
const NAMESPACES: [&str; 3] = ["optional", "ip", "sets"];

/// What is known of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Known {
    /// Nothing.
    Any,
    /// A scalar of this name.
    Scalar(&'static str),
    /// What this schema describes.
    Schema(Value),
    /// A list of these.
    List(Box<Known>),
    /// An optional of these.
    Optional(Box<Known>),
}

impl Known {
    /// What a schema tells.
    pub fn of(schema: &Value) -> Self {
        if schema["x-kubernetes-int-or-string"] == true || schema.get("type").is_none() {
            return Self::Any;
        }
        if schema["nullable"] == true && schema["type"] != "object" {
            return Self::Any;
        }
        match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("integer"), _) => Self::Scalar("int"),
            (Some("number"), _) => Self::Scalar("double"),
            (Some("boolean"), _) => Self::Scalar("bool"),
            (Some("string"), Some("date-time" | "date")) => Self::Scalar("timestamp"),
            (Some("string"), Some("duration")) => Self::Scalar("duration"),
            (Some("string"), Some("byte")) => Self::Scalar("bytes"),
            (Some("string"), _) => Self::Scalar("string"),
            (Some("array"), _) => Self::List(Box::new(Self::of(&schema["items"]))),
            (Some("object"), _) if schema["x-kubernetes-embedded-resource"] == true => Self::Schema(resource(schema)),
            (Some("object"), _) => Self::Schema(schema.clone()),
            _ => Self::Any,
        }
    }

    /// What the schema of a whole object tells.
    pub fn of_resource(schema: &Value) -> Self {
        Self::of(&resource(schema))
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Scalar(name) => Some(name),
            _ => None,
        }
    }
}

/// Rules see of an object's metadata only its names.
fn resource(schema: &Value) -> Value {
    let mut all = schema.clone();
    let text = json!({"type": "string"});
    for field in ["apiVersion", "kind"] {
        all["properties"][field] = text.clone();
    }
    all["properties"]["metadata"] = json!({"type": "object", "properties": {"name": text, "generateName": text}});
    all["type"] = "object".into();
    if let Some(all) = all.as_object_mut() {
        all.remove("x-kubernetes-embedded-resource");
    }
    all
}

/// Whether this is no value but a word in front of a function.
pub(super) fn is_namespace(at: &IdedExpr) -> bool {
    matches!(&at.expr, Expr::Ident(name) if NAMESPACES.contains(&name.as_str()))
}

/// Looks at an expression whose variables are `names`. Gives what it comes to, or all errors in one text.
pub(super) fn check(at: &IdedExpr, source: &SourceInfo, names: &[(&str, Known)]) -> Result<Known, String> {
    let names = names.iter().map(|(name, known)| ((*name).to_owned(), known.clone())).collect();
    let mut checker = Checker { source, names, errors: Vec::new() };
    let known = checker.look(at);
    if checker.errors.is_empty() { Ok(known) } else { Err(checker.errors.join("\n")) }
}

struct Checker<'s> {
    source: &'s SourceInfo,
    names: Vec<(String, Known)>,
    errors: Vec<String>,
}

impl Checker<'_> {
    fn wrong(&mut self, id: u64, why: &str) -> Known {
        if self.errors.len() < MAX_ERRORS {
            let at = self.source.offset_for(id).map_or(0, |(start, _)| usize::try_from(start).unwrap_or(0));
            self.errors.push(located(&self.source.source, at, why));
        }
        Known::Any
    }

    fn look(&mut self, at: &IdedExpr) -> Known {
        match &at.expr {
            Expr::Literal(literal) => Known::Scalar(match literal {
                LiteralValue::Boolean(_) => "bool",
                LiteralValue::Bytes(_) => "bytes",
                LiteralValue::Double(_) => "double",
                LiteralValue::Int(_) => "int",
                LiteralValue::Null => return Known::Any,
                LiteralValue::String(_) => "string",
                LiteralValue::UInt(_) => "uint",
            }),
            Expr::Ident(name) => match self.names.iter().rev().find(|(known, _)| known == name) {
                Some((_, known)) => known.clone(),
                // Types are values, too.
                None if matches!(
                    name.as_str(),
                    "int" | "uint" | "double" | "bool" | "string" | "bytes" | "list" | "map" | "null_type" | "type"
                ) =>
                {
                    Known::Any
                }
                None => self.wrong(at.id, &format!("undeclared reference to '{name}' (in container '')")),
            },
            Expr::Select(select) => self.select(at.id, select),
            Expr::Call(call) => self.call(at.id, call),
            Expr::List(list) => {
                let kinds: Vec<Known> = list.elements.iter().map(|item| self.look(item)).collect();
                let same = kinds.windows(2).all(|pair| pair.first() == pair.last());
                Known::List(Box::new(kinds.first().filter(|_| same).cloned().unwrap_or(Known::Any)))
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.look(&entry.key);
                        self.look(&entry.value);
                    }
                }
                Known::Any
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Struct(it) => self.wrong(at.id, &format!("undeclared reference to '{}' (in container '')", it.type_name)),
            Expr::Unspecified => Known::Any,
        }
    }

    fn comprehension(&mut self, it: &ComprehensionExpr) -> Known {
        let range = self.look(&it.iter_range);
        let start = self.look(&it.accu_init);
        let item = match range {
            Known::List(item) => *item,
            Known::Schema(schema) if schema["properties"].is_object() && schema["additionalProperties"].is_null() => self
                .wrong(it.iter_range.id, "expression of type 'object' cannot be range of a comprehension (must be list, map, or dynamic)"),
            Known::Schema(_) => Known::Scalar("string"),
            Known::Scalar(name) => self.wrong(
                it.iter_range.id,
                &format!("expression of type '{name}' cannot be range of a comprehension (must be list, map, or dynamic)"),
            ),
            Known::Any | Known::Optional(_) => Known::Any,
        };
        let before = self.names.len();
        self.names.push((it.accu_var.clone(), if start.name() == Some("bool") { start } else { Known::Any }));
        self.look(&it.loop_cond);
        self.names.push((it.iter_var.clone(), item));
        if let Some(second) = &it.iter_var2 {
            self.names.push((second.clone(), Known::Any));
        }
        self.look(&it.loop_step);
        self.names.truncate(before + 1);
        let result = self.look(&it.result);
        self.names.truncate(before);
        result
    }

    fn field(&mut self, id: u64, of: &Known, field: &str) -> Known {
        match of {
            Known::Any => Known::Any,
            Known::Optional(inner) => {
                let found = self.field(id, inner, field);
                Known::Optional(Box::new(found))
            }
            Known::Scalar(name) => self.wrong(id, &format!("type '{name}' does not support field selection")),
            Known::List(_) => self.wrong(id, "type 'list' does not support field selection"),
            Known::Schema(schema) => {
                let known = &schema["properties"][unescape(field).as_str()];
                let rest = &schema["additionalProperties"];
                if known.is_object() {
                    Known::of(known)
                } else if rest.is_object() {
                    Known::of(rest)
                } else if *rest == true {
                    Known::Any
                } else {
                    self.wrong(id, &format!("undefined field '{field}'"))
                }
            }
        }
    }

    fn select(&mut self, id: u64, select: &SelectExpr) -> Known {
        let of = self.look(&select.operand);
        let found = self.field(id, &of, &select.field);
        if select.test { Known::Scalar("bool") } else { found }
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Known {
        let name = call.func_name.as_str();
        if let Some(target) = call.target.as_deref() {
            if is_namespace(target)
                && let Expr::Ident(namespace) = &target.expr
                && !self.names.iter().any(|(known, _)| known == namespace)
            {
                call.args.iter().for_each(|a| {
                    self.look(a);
                });
                let qualified = format!("{namespace}.{name}");
                return if QUALIFIED.contains(&qualified.as_str()) {
                    Known::Any
                } else {
                    self.wrong(id, &format!("undeclared reference to '{qualified}' (in container '')"))
                };
            }
            let on = self.look(target);
            let args: Vec<Known> = call.args.iter().map(|a| self.look(a)).collect();
            if !MEMBERS.contains(&name) {
                return self.wrong(id, &format!("undeclared reference to '{name}' (in container '')"));
            }
            return self.member(id, name, &on, &args);
        }
        let args: Vec<Known> = call.args.iter().map(|a| self.look(a)).collect();
        match (name, args.as_slice()) {
            (operators::CONDITIONAL, [_, a, b]) => {
                if a == b {
                    a.clone()
                } else {
                    Known::Any
                }
            }
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [a, b]) => {
                let not_bool = |k: &Known| k.name().is_some_and(|n| n != "bool");
                if not_bool(a) || not_bool(b) {
                    let wrong = if not_bool(a) { a } else { b };
                    let at = if not_bool(a) { call.args.first() } else { call.args.get(1) }.map_or(id, |a| a.id);
                    self.wrong(at, &format!("expected type 'bool' but found '{}'", wrong.name().unwrap_or_default()));
                }
                Known::Scalar("bool")
            }
            (operators::LOGICAL_NOT, [a]) => {
                self.fits(id, name, std::slice::from_ref(a), a.name().is_none_or(|n| n == "bool"), Known::Scalar("bool"))
            }
            (operators::EQUALS | operators::NOT_EQUALS, [a, b]) => {
                let fit = a.name().zip(b.name()).is_none_or(|(a, b)| a == b);
                self.fits(id, name, &args, fit, Known::Scalar("bool"))
            }
            (operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS, [a, b]) => {
                let numeric = |n: &str| matches!(n, "int" | "uint" | "double");
                let fit = a.name().zip(b.name()).is_none_or(|(a, b)| a == b || (numeric(a) && numeric(b)));
                self.fits(id, name, &args, fit, Known::Scalar("bool"))
            }
            (operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO, [a, b]) => {
                let moments = |n: &str| matches!(n, "duration" | "timestamp");
                match a.name().zip(b.name()) {
                    Some((x, y)) if x == y && !moments(x) => {
                        let sums = name == operators::ADD || !matches!(x, "string" | "bytes");
                        self.fits(id, name, &args, sums && x != "bool", a.clone())
                    }
                    Some((x, y)) if moments(x) && moments(y) => Known::Any,
                    Some(_) => self.fits(id, name, &args, false, Known::Any),
                    None => Known::Any,
                }
            }
            (operators::IN, _) => Known::Scalar("bool"),
            (operators::INDEX, [Known::List(item), _]) => (**item).clone(),
            (operators::INDEX, [Known::Schema(schema), _]) if schema["additionalProperties"].is_object() => {
                Known::of(&schema["additionalProperties"])
            }
            (operators::OPT_SELECT, [of, _]) => {
                let Some(Expr::Literal(LiteralValue::String(field))) = call.args.get(1).map(|a| &a.expr) else { return Known::Any };
                let of = if let Known::Optional(inner) = of { (**inner).clone() } else { of.clone() };
                let field = field.inner().to_owned();
                let found = self.field(id, &of, &field);
                Known::Optional(Box::new(found))
            }
            (operators::INDEX | operators::OPT_INDEX | operators::NEGATE | operators::NOT_STRICTLY_FALSE, _) => Known::Any,
            ("size", [a]) => self.fits(id, name, &args, a.name().is_none_or(|n| matches!(n, "string" | "bytes")), Known::Scalar("int")),
            ("string", _) => Known::Scalar("string"),
            ("int", _) => Known::Scalar("int"),
            ("double", _) => Known::Scalar("double"),
            ("duration", _) => Known::Scalar("duration"),
            ("timestamp", _) => Known::Scalar("timestamp"),
            ("matches" | "isIP" | "isCIDR" | "isURL" | "isQuantity" | "bool", _) => Known::Scalar("bool"),
            _ if GLOBAL.contains(&name) => Known::Any,
            _ => self.wrong(id, &format!("undeclared reference to '{name}' (in container '')")),
        }
    }

    fn member(&mut self, id: u64, name: &str, on: &Known, args: &[Known]) -> Known {
        let texts = |result| {
            let all = std::iter::once(on).chain(args).all(|k| k.name().is_none_or(|n| n == "string"));
            (all && !matches!(on, Known::List(_)), result)
        };
        let (fit, result) = match name {
            "startsWith" | "endsWith" | "contains" | "matches" => texts(Known::Scalar("bool")),
            "lowerAscii" | "upperAscii" | "trim" | "find" => texts(Known::Scalar("string")),
            "replace" | "substring" | "format" => (on.name().is_none_or(|n| n == "string"), Known::Scalar("string")),
            "size" => (on.name().is_none_or(|n| matches!(n, "string" | "bytes")), Known::Scalar("int")),
            "join" => (on.name().is_none(), Known::Scalar("string")),
            "split" | "findAll" => (on.name().is_none_or(|n| n == "string"), Known::List(Box::new(Known::Scalar("string")))),
            "isSorted" | "hasValue" | "isGreaterThan" | "isLessThan" => (on.name().is_none(), Known::Scalar("bool")),
            "orValue" | "value" => match on {
                Known::Optional(inner) => (true, (**inner).clone()),
                _ => (on.name().is_none(), Known::Any),
            },
            _ => (true, Known::Any),
        };
        if fit {
            return result;
        }
        let shown: Vec<&str> = args.iter().map(shown).collect();
        let on = self::shown(on);
        self.wrong(id, &format!("found no matching overload for '{name}' applied to '{on}.({})'", shown.join(", ")));
        result
    }

    fn fits(&mut self, id: u64, name: &str, args: &[Known], fit: bool, result: Known) -> Known {
        if !fit {
            let shown: Vec<&str> = args.iter().map(shown).collect();
            self.wrong(id, &format!("found no matching overload for '{name}' applied to '({})'", shown.join(", ")));
        }
        result
    }
}

fn shown(known: &Known) -> &str {
    match known {
        Known::Scalar(name) => name,
        Known::List(_) => "list(dyn)",
        Known::Schema(_) => "object",
        Known::Any | Known::Optional(_) => "dyn",
    }
}

/// `ERROR: <input>:1:6: WHY` with the line and where in it.
pub(super) fn located(source: &str, at: usize, why: &str) -> String {
    let (mut line, mut start) = (1, 0);
    let letters: Vec<char> = source.chars().collect();
    for (i, letter) in letters.iter().enumerate().take(at) {
        if *letter == '\n' {
            line += 1;
            start = i + 1;
        }
    }
    let text: String = letters.iter().skip(start).take_while(|l| **l != '\n').collect();
    let column = at.saturating_sub(start);
    format!("ERROR: <input>:{line}:{}: {why}\n | {text}\n | {}^", column + 1, ".".repeat(column))
}
