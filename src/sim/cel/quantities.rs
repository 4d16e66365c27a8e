//! `quantity("1Gi")` and what can be asked of it.

#![expect(clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "the interpreter says what its functions look like")]

use std::cmp::Ordering;

use cel::common::functions::Function;
use cel::common::types::{CelBool, CelDouble, CelInt, CelString, DYN_TYPE, STRING_TYPE};
use cel::common::value::CowVal;
use cel::{DeclarationError, Env, ExecutionError};

use super::types::{QUANTITY, argument, overload, value};
use crate::sim::schema::quantity::Quantity;

/// A quantity as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Amount(Quantity);

value!(Amount, QUANTITY);

fn parsed(args: &[CowVal<'_, '_>]) -> Result<Quantity, ExecutionError> {
    let text = argument::<CelString<'_>>(args, 0, "quantity")?;
    text.inner().parse().map_err(|wrong: crate::sim::schema::quantity::InvalidQuantity| ExecutionError::function_error("quantity", wrong))
}

fn quantity<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    parsed(&args).map(|amount| CowVal::owned(Amount(amount)))
}

fn is_quantity<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    Ok(CowVal::owned(CelBool::from(parsed(&args).is_ok())))
}

/// Another quantity, or a whole number.
fn second(args: &[CowVal<'_, '_>], function: &str) -> Result<Quantity, ExecutionError> {
    let other = args.get(1).ok_or_else(|| overload(function))?;
    if let Some(amount) = other.downcast_ref::<Amount>() {
        return Ok(amount.0);
    }
    let whole = other.downcast_ref::<CelInt>().ok_or_else(|| overload(function))?;
    whole.inner().to_string().parse().map_err(|_| overload(function))
}

fn ordering(args: &[CowVal<'_, '_>], function: &str) -> Result<Ordering, ExecutionError> {
    let this = argument::<Amount>(args, 0, function)?.0;
    this.partial_cmp(&second(args, function)?).ok_or_else(|| overload(function))
}

fn greater<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    Ok(CowVal::owned(CelBool::from(ordering(&args, "isGreaterThan")? == Ordering::Greater)))
}

fn less<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    Ok(CowVal::owned(CelBool::from(ordering(&args, "isLessThan")? == Ordering::Less)))
}

fn compare<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    Ok(CowVal::owned(CelInt::from(ordering(&args, "compareTo")? as i64)))
}

fn sign<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let this = argument::<Amount>(&args, 0, "sign")?.0;
    let sign = this.partial_cmp(&Quantity::ZERO).unwrap_or(Ordering::Equal);
    Ok(CowVal::owned(CelInt::from(sign as i64)))
}

fn is_integer<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let this = argument::<Amount>(&args, 0, "isInteger")?.0;
    Ok(CowVal::owned(CelBool::from(this.is_whole() && i64::try_from(this.to_units()).is_ok())))
}

fn as_integer<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let this = argument::<Amount>(&args, 0, "asInteger")?.0;
    let whole = i64::try_from(this.to_units()).ok().filter(|_| this.is_whole());
    let wrong = || ExecutionError::function_error("asInteger", "cannot convert value to integer");
    whole.map(|n| CowVal::owned(CelInt::from(n))).ok_or_else(wrong)
}

fn as_float<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    Ok(CowVal::owned(CelDouble::from(argument::<Amount>(&args, 0, "asApproximateFloat")?.0.to_f64())))
}

fn add<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let this = argument::<Amount>(&args, 0, "add")?.0;
    Ok(CowVal::owned(Amount(this.plus(second(&args, "add")?))))
}

fn sub<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let this = argument::<Amount>(&args, 0, "sub")?.0;
    Ok(CowVal::owned(Amount(this.minus(second(&args, "sub")?))))
}

/// `quantity`, `isQuantity` and the methods.
pub(super) fn extension(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_overload("quantity", "string_to_quantity", vec![STRING_TYPE.to_owned()], quantity)?;
    env.add_overload("isQuantity", "is_quantity_string", vec![STRING_TYPE.to_owned()], is_quantity)?;
    let alone: [(&str, Function); 4] =
        [("sign", sign), ("isInteger", is_integer), ("asInteger", as_integer), ("asApproximateFloat", as_float)];
    for (name, function) in alone {
        env.add_member_overload(name, &format!("quantity_{name}"), QUANTITY.to_owned(), vec![], function)?;
    }
    let paired: [(&str, Function); 5] =
        [("isGreaterThan", greater), ("isLessThan", less), ("compareTo", compare), ("add", add), ("sub", sub)];
    for (name, function) in paired {
        env.add_member_overload(name, &format!("quantity_{name}"), QUANTITY.to_owned(), vec![DYN_TYPE.to_owned()], function)?;
    }
    Ok(())
}
