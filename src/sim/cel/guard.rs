//! Writes bounds into a compiled expression: whatever can go through much or make much pays for it.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators};

/// Pays for each item, in front of a comprehension.
pub(super) const EACH: &str = "@each";
/// Pays for what was made.
pub(super) const MADE: &str = "@made";
/// Pays for a dear call.
pub(super) const DEAR: &str = "@dear";

/// Pays for a list that is looked through for one item.
pub(super) const SEARCHED: &str = "@searched";

/// Calls whose results can be larger than what they are given.
const GROWING: [&str; 7] = ["join", "replace", "format", "split", "flatten", "string", "findAll"];
/// Calls that look at all of what they are called on.
const SCANNING: [&str; 18] = [
    "indexOf",
    "lastIndexOf",
    "contains",
    "isSorted",
    "min",
    "max",
    "sum",
    "slice",
    "sort",
    "reverse",
    "flatten",
    "split",
    "lowerAscii",
    "upperAscii",
    "trim",
    "substring",
    "charAt",
    "format",
];
/// Calls that are dear.
const DEAR_CALLS: [&str; 11] =
    ["matches", "find", "findAll", "quantity", "isQuantity", "url", "isURL", "cidr", "ip", "duration", "timestamp"];

fn call(name: &str, id: u64, argument: IdedExpr) -> IdedExpr {
    IdedExpr { id, expr: Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args: vec![argument] }) }
}

fn wrap(name: &str, at: &mut IdedExpr) {
    let inner = std::mem::take(at);
    *at = call(name, inner.id, inner);
}

/// Writes the bounds, and the real names of properties whose names are escaped.
pub(super) fn guard(at: &mut IdedExpr) {
    let mut made = false;
    match &mut at.expr {
        Expr::Call(it) => {
            if let Some(target) = &mut it.target {
                guard(target);
            }
            it.args.iter_mut().for_each(guard);
            if it.func_name == operators::OPT_SELECT
                && let Some(Expr::Literal(LiteralValue::String(name))) = it.args.get_mut(1).map(|a| &mut a.expr)
            {
                *name = unescape(name.inner()).into();
            }
            if DEAR_CALLS.contains(&it.func_name.as_str()) {
                match &mut it.target {
                    // The target may be a name in front of a function, which is no value.
                    Some(target) if !super::check::is_namespace(target) => wrap(DEAR, target),
                    _ => it.args.iter_mut().take(1).for_each(|a| wrap(DEAR, a)),
                }
            }
            if SCANNING.contains(&it.func_name.as_str())
                && let Some(target) = it.target.as_deref_mut().filter(|t| !super::check::is_namespace(t))
            {
                wrap(MADE, target);
            }
            match it.func_name.as_str() {
                operators::IN => it.args.iter_mut().skip(1).for_each(|a| wrap(SEARCHED, a)),
                operators::EQUALS | operators::NOT_EQUALS => it.args.iter_mut().take(1).for_each(|a| wrap(MADE, a)),
                _ => {}
            }
            // Own versions of these look at sizes before they make anything.
            if it.target.is_some() && matches!(it.func_name.as_str(), "join" | "replace") {
                it.func_name.insert(0, '@');
            }
            made = it.func_name == operators::ADD || GROWING.contains(&it.func_name.as_str());
        }
        Expr::Comprehension(it) => {
            for part in [&mut it.iter_range, &mut it.accu_init, &mut it.loop_cond, &mut it.result] {
                guard(part);
            }
            wrap(EACH, &mut it.iter_range);
            step(&mut it.loop_step, &it.accu_var);
        }
        Expr::List(it) => {
            it.elements.iter_mut().for_each(guard);
            made = !it.elements.is_empty();
        }
        Expr::Map(it) => {
            for entry in &mut it.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    guard(&mut entry.key);
                    guard(&mut entry.value);
                }
            }
            made = !it.entries.is_empty();
        }
        Expr::Select(it) => {
            guard(&mut it.operand);
            it.field = unescape(&it.field);
        }
        Expr::Struct(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
    if made {
        wrap(MADE, at);
    }
}

/// A step that adds one item to a list stays in the form that the interpreter knows how to do without copying the list.
fn step(at: &mut IdedExpr, accumulator: &str) {
    let is_accumulator = |e: &IdedExpr| matches!(&e.expr, Expr::Ident(name) if name == accumulator);
    match &mut at.expr {
        Expr::Call(it) if it.func_name == operators::CONDITIONAL => {
            for part in &mut it.args {
                step(part, accumulator);
            }
        }
        Expr::Call(it) if it.func_name == operators::ADD && it.args.first().is_some_and(is_accumulator) => {
            if let Some(Expr::List(list)) = it.args.get_mut(1).map(|a| &mut a.expr) {
                for element in &mut list.elements {
                    guard(element);
                    wrap(MADE, element);
                }
            }
        }
        _ => guard(at),
    }
}

/// The name of a property as a schema has it, from the name as expressions have to write it.
pub(super) fn unescape(name: &str) -> String {
    if !name.contains("__") {
        return name.to_owned();
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find("__") {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        let known = [("__underscores__", "__"), ("__dot__", "."), ("__dash__", "-"), ("__slash__", "/")];
        match known.iter().find_map(|(escaped, real)| Some((found.strip_prefix(escaped)?, real))) {
            Some((after, real)) => {
                out.push_str(real);
                rest = after;
            }
            None => {
                // A reserved word stands between underscores as a whole.
                return match name.strip_prefix("__").and_then(|n| n.strip_suffix("__")) {
                    Some(word) if RESERVED.contains(&word) => word.to_owned(),
                    _ => out + found,
                };
            }
        }
    }
    out + rest
}

const RESERVED: [&str; 20] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
];

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escaped_names_are_read() {
        for (escaped, name) in [
            ("foo__dash__bar", "foo-bar"),
            ("a__dot__b__slash__c", "a.b/c"),
            ("__namespace__", "namespace"),
            ("x__underscores__y", "x__y"),
            ("__other__", "__other__"),
            ("plain", "plain"),
        ] {
            assert_eq!(unescape(escaped), name);
        }
    }
}
