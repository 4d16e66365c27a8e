//! The functions of lists and texts that Kubernetes adds, and the environment that has all functions.

use std::cmp::Ordering;
use std::sync::{Arc, LazyLock};

use cel::common::functions::Function;
use cel::common::types::{CelBool, CelInt, CelList, CelString, DYN_TYPE, INT_TYPE, LIST_TYPE, STRING_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env, ExecutionError, extensions};

use super::types::{argument, overload};
use super::{budget, guard, moments, network, quantities};

/// Functions that are called alone, as [`ENVIRONMENT`] has them.
pub(super) const GLOBAL: [&str; 22] = [
    "size",
    "string",
    "int",
    "uint",
    "double",
    "bool",
    "bytes",
    "dyn",
    "type",
    "matches",
    "duration",
    "timestamp",
    "quantity",
    "isQuantity",
    "ip",
    "isIP",
    "cidr",
    "isCIDR",
    "url",
    "isURL",
    "contains",
    "has",
];
/// Functions with a name in front that is no value.
pub(super) const QUALIFIED: [&str; 7] =
    ["optional.of", "optional.none", "optional.ofNonZeroValue", "ip.isCanonical", "sets.contains", "sets.equivalent", "sets.intersects"];
/// Functions that are called on a value.
pub(super) const MEMBERS: [&str; 66] = [
    "size",
    "startsWith",
    "endsWith",
    "contains",
    "matches",
    "charAt",
    "indexOf",
    "lastIndexOf",
    "join",
    "lowerAscii",
    "upperAscii",
    "trim",
    "replace",
    "split",
    "substring",
    "format",
    "reverse",
    "find",
    "findAll",
    "isSorted",
    "sum",
    "min",
    "max",
    "slice",
    "flatten",
    "sort",
    "value",
    "hasValue",
    "or",
    "orValue",
    "sign",
    "isInteger",
    "asInteger",
    "asApproximateFloat",
    "isGreaterThan",
    "isLessThan",
    "compareTo",
    "add",
    "sub",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
    "getFullYear",
    "getMonth",
    "getDayOfMonth",
    "getDate",
    "getDayOfWeek",
    "getDayOfYear",
    "family",
    "isUnspecified",
    "isLoopback",
    "isLinkLocalUnicast",
    "isLinkLocalMulticast",
    "isGlobalUnicast",
    "prefixLength",
    "ip",
    "masked",
    "containsIP",
    "containsCIDR",
    "getScheme",
    "getHost",
    "getHostname",
    "getPort",
    "getEscapedPath",
    "getQuery",
];

/// The environment of every expression.
pub(super) static ENVIRONMENT: LazyLock<Result<Arc<Env>, DeclarationError>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    env.add_extension(extensions::strings)?;
    env.add_extension(extensions::lists)?;
    extension(&mut env)?;
    moments::extension(&mut env)?;
    network::extension(&mut env)?;
    quantities::extension(&mut env)?;
    Ok(Arc::new(env))
});

fn items<'b, 'v>(args: &'b [CowVal<'_, 'v>], at: usize, function: &str) -> Result<&'b [Box<dyn Val + 'v>], ExecutionError> {
    Ok(argument::<CelList<'_>>(args, at, function)?.inner())
}

fn compared(a: &dyn Val, b: &dyn Val, function: &str) -> Result<Ordering, ExecutionError> {
    a.as_comparer().ok_or_else(|| overload(function))?.compare(b).map_err(|_| overload(function))
}

fn extreme<'b, 'v>(args: &[CowVal<'_, 'v>], wanted: Ordering, function: &str) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let mut found: Option<&Box<dyn Val + 'v>> = None;
    for item in items(args, 0, function)? {
        if match found {
            Some(best) => compared(item.as_ref(), best.as_ref(), function)? == wanted,
            None => true,
        } {
            found = Some(item);
        }
    }
    let empty = || ExecutionError::function_error(function, format!("{function} called on empty list"));
    found.map(|item| CowVal::Owned(item.clone())).ok_or_else(empty)
}

fn pattern(args: &[CowVal<'_, '_>], function: &str) -> Result<regex::Regex, ExecutionError> {
    let text = argument::<CelString<'_>>(args, 1, function)?;
    regex::Regex::new(text.inner()).map_err(|e| ExecutionError::function_error(function, format!("Illegal regex: {e}")))
}

fn texts<'b, 'v>(found: impl Iterator<Item = String>) -> CowVal<'b, 'v> {
    let list: Vec<Box<dyn Val + 'v>> = found.map(|text| Box::new(CelString::from(text)) as Box<dyn Val + 'v>).collect();
    CowVal::owned(CelList::from(list))
}

fn includes(all: &[Box<dyn Val + '_>], one: &dyn Val) -> bool {
    all.iter().any(|item| item.equals(one))
}

/// Pays for every pair of items.
fn pay_pairs(a: usize, b: usize) -> Result<(), ExecutionError> {
    budget::pay_bytes(a.saturating_mul(b).saturating_mul(8))
}

macro_rules! functions {
    ($($name:ident($args:ident) $body:block)*) => {
        $(fn $name<'b, 'v>($args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> $body)*
    };
}

functions! {
    is_sorted(args) {
        let list = items(&args, 0, "isSorted")?;
        for (a, b) in list.iter().zip(list.iter().skip(1)) {
            if compared(a.as_ref(), b.as_ref(), "isSorted")? == Ordering::Greater {
                return Ok(CowVal::owned(CelBool::from(false)));
            }
        }
        Ok(CowVal::owned(CelBool::from(true)))
    }
    min(args) { extreme(&args, Ordering::Less, "min") }
    max(args) { extreme(&args, Ordering::Greater, "max") }
    sum(args) {
        let list = items(&args, 0, "sum")?;
        let Some((first, rest)) = list.split_first() else { return Ok(CowVal::owned(CelInt::from(0))) };
        let mut total = first.clone();
        if total.downcast_ref::<CelString<'_>>().is_some() || total.downcast_ref::<CelList<'_>>().is_some() {
            return Err(overload("sum"));
        }
        for item in rest {
            let next = total.as_adder().ok_or_else(|| overload("sum"))?.add(item.as_ref())?.into_owned();
            total = next;
        }
        Ok(CowVal::Owned(total))
    }
    index_of(args) {
        let wanted = args.get(1).ok_or_else(|| overload("indexOf"))?;
        let at = items(&args, 0, "indexOf")?.iter().position(|item| item.equals(&**wanted));
        Ok(CowVal::owned(CelInt::from(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))))
    }
    last_index_of(args) {
        let wanted = args.get(1).ok_or_else(|| overload("lastIndexOf"))?;
        let at = items(&args, 0, "lastIndexOf")?.iter().rposition(|item| item.equals(&**wanted));
        Ok(CowVal::owned(CelInt::from(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))))
    }
    find(args) {
        let text = argument::<CelString<'_>>(&args, 0, "find")?;
        let found = pattern(&args, "find")?.find(text.inner()).map(|m| m.as_str().to_owned());
        Ok(CowVal::owned(CelString::from(found.unwrap_or_default())))
    }
    find_all(args) {
        let text = argument::<CelString<'_>>(&args, 0, "findAll")?;
        let most = match args.get(2) {
            Some(_) => usize::try_from(*argument::<CelInt>(&args, 2, "findAll")?.inner()).unwrap_or(usize::MAX),
            None => usize::MAX,
        };
        Ok(texts(pattern(&args, "findAll")?.find_iter(text.inner()).take(most).map(|m| m.as_str().to_owned())))
    }
    join(args) {
        let list = items(&args, 0, "join")?;
        let between = match args.get(1) {
            Some(_) => argument::<CelString<'_>>(&args, 1, "join")?.inner(),
            None => "",
        };
        budget::pay_bytes(between.len().saturating_mul(list.len()))?;
        let mut parts = Vec::with_capacity(list.len());
        for item in list {
            parts.push(item.downcast_ref::<CelString<'_>>().ok_or_else(|| overload("join"))?.inner());
        }
        Ok(CowVal::owned(CelString::from(parts.join(between))))
    }
    replace(args) {
        let part = |at| argument::<CelString<'_>>(&args, at, "replace").map(CelString::inner);
        let (text, from, to) = (part(0)?, part(1)?, part(2)?);
        let most = match args.get(3) {
            Some(_) => usize::try_from(*argument::<CelInt>(&args, 3, "replace")?.inner()).unwrap_or(usize::MAX),
            None => usize::MAX,
        };
        let count = text.matches(from).take(most).count();
        budget::pay_bytes(count.saturating_mul(to.len()))?;
        Ok(CowVal::owned(CelString::from(text.replacen(from, to, count))))
    }
    sets_contains(args) {
        let (all, part) = (items(&args, 0, "sets.contains")?, items(&args, 1, "sets.contains")?);
        pay_pairs(all.len(), part.len())?;
        Ok(CowVal::owned(CelBool::from(part.iter().all(|one| includes(all, one.as_ref())))))
    }
    sets_equivalent(args) {
        let (a, b) = (items(&args, 0, "sets.equivalent")?, items(&args, 1, "sets.equivalent")?);
        pay_pairs(a.len(), b.len())?;
        let same = a.iter().all(|one| includes(b, one.as_ref())) && b.iter().all(|one| includes(a, one.as_ref()));
        Ok(CowVal::owned(CelBool::from(same)))
    }
    sets_intersects(args) {
        let (a, b) = (items(&args, 0, "sets.intersects")?, items(&args, 1, "sets.intersects")?);
        pay_pairs(a.len(), b.len())?;
        Ok(CowVal::owned(CelBool::from(a.iter().any(|one| includes(b, one.as_ref())))))
    }
}

fn extension(env: &mut Env) -> Result<(), DeclarationError> {
    let bounds: [(&str, Function); 4] =
        [(guard::EACH, budget::each), (guard::MADE, budget::made), (guard::DEAR, budget::dear), (guard::SEARCHED, budget::searched)];
    for (name, function) in bounds {
        env.add_overload(name, name, vec![DYN_TYPE], function)?;
    }
    let of_list: [(&str, Function); 4] = [("isSorted", is_sorted), ("min", min), ("max", max), ("sum", sum)];
    for (name, function) in of_list {
        env.add_member_overload(name, &format!("list_{name}"), LIST_TYPE, vec![], function)?;
    }
    env.add_member_overload("indexOf", "list_index_of", LIST_TYPE, vec![DYN_TYPE], index_of)?;
    env.add_member_overload("lastIndexOf", "list_last_index_of", LIST_TYPE, vec![DYN_TYPE], last_index_of)?;
    env.add_member_overload("find", "string_find", STRING_TYPE, vec![STRING_TYPE], find)?;
    env.add_member_overload("findAll", "string_find_all", STRING_TYPE, vec![STRING_TYPE], find_all)?;
    env.add_member_overload("findAll", "string_find_all_int", STRING_TYPE, vec![STRING_TYPE, INT_TYPE], find_all)?;
    env.add_member_overload("@join", "join", LIST_TYPE, vec![], join)?;
    env.add_member_overload("@join", "join_string", LIST_TYPE, vec![STRING_TYPE], join)?;
    env.add_member_overload("@replace", "replace", STRING_TYPE, vec![STRING_TYPE, STRING_TYPE], replace)?;
    env.add_member_overload("@replace", "replace_int", STRING_TYPE, vec![STRING_TYPE, STRING_TYPE, INT_TYPE], replace)?;
    let sets: [(&str, Function); 3] =
        [("sets.contains", sets_contains), ("sets.equivalent", sets_equivalent), ("sets.intersects", sets_intersects)];
    for (name, function) in sets {
        env.add_overload(name, name, vec![LIST_TYPE, LIST_TYPE], function)?;
    }
    Ok(())
}
