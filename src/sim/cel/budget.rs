//! How much one request may cost: the crate's interpreter knows no bounds, so what can grow asks here first.

use std::cell::Cell;

use cel::ExecutionError;
use cel::common::types::{CelBytes, CelList, CelMap, CelMapKey, CelOptional, CelString};
use cel::common::value::{CowVal, Val};

/// Steps that all rules of one request may take together. A step is an item of a list that is gone through, or eight bytes made.
pub const REQUEST: u64 = 200_000;
/// Bytes made that cost a step.
const BYTES: usize = 8;
/// What an evaluation costs, however little it does.
const EVALUATION: u64 = 10;
/// What compiling a regular expression or parsing an address costs.
const DEAR: u64 = 50;

thread_local! {
    // Functions of the interpreter are plain pointers that carry no state, and an evaluation never leaves its thread.
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// What is left for the rules of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget(pub u64);

impl Default for Budget {
    fn default() -> Self {
        Self(REQUEST)
    }
}

impl Budget {
    /// Evaluates within the budget; `None`: it was not enough.
    pub(super) fn spend<T>(&mut self, evaluate: impl FnOnce() -> T) -> Option<T> {
        let Some(left) = self.0.checked_sub(EVALUATION) else {
            self.0 = 0;
            return None;
        };
        let before = LEFT.replace(Some(left));
        let out = evaluate();
        let left = LEFT.replace(before);
        self.0 = left.unwrap_or_default();
        left.map(|_| out)
    }
}

/// Takes so many steps off; `None` stays, once they were more than there was.
fn take(steps: u64) -> Result<(), ExecutionError> {
    let left = LEFT.get().and_then(|left| left.checked_sub(steps));
    LEFT.set(left);
    left.map(|_| ()).ok_or_else(|| ExecutionError::function_error("budget", "actual cost limit exceeded"))
}

/// Pays for something that is so many bytes long.
pub(super) fn pay_bytes(bytes: usize) -> Result<(), ExecutionError> {
    take(u64::try_from(bytes / BYTES).unwrap_or(u64::MAX).saturating_add(1))
}

/// About how many bytes a value takes, as far as the budget reaches.
fn weight(value: &dyn Val, most: usize) -> usize {
    let mut sum = BYTES;
    if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        sum += text.inner().len();
    } else if let Some(bytes) = value.downcast_ref::<CelBytes<'_>>() {
        sum += bytes.inner().len();
    } else if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        for item in list.inner() {
            if sum > most {
                break;
            }
            sum += weight(item.as_ref(), most - sum.min(most));
        }
    } else if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        let each = map.inner().values().map(|item| 2 * BYTES + weight(item.as_ref(), most));
        sum += each.take(most).sum::<usize>();
    } else if let Some(inner) = value.downcast_ref::<CelOptional<'_>>().and_then(CelOptional::inner) {
        sum += weight(inner, most);
    }
    sum
}

fn only<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    args.into_iter().next().ok_or_else(ExecutionError::missing_argument_or_target)
}

/// Pays for every item of what is about to be gone through. The keys of a map come in order: what is made of them is to be
/// the same each time.
pub(super) fn each<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = only(args)?;
    let most = usize::try_from(LEFT.get().unwrap_or_default()).unwrap_or(usize::MAX).saturating_mul(BYTES);
    pay_bytes(weight(&*value, most))?;
    let Some(map) = value.downcast_ref::<CelMap<'_>>() else { return Ok(value) };
    let mut keys: Vec<Box<dyn Val + 'v>> = map.inner().keys().map(|key| key.inner().clone_as_boxed()).collect();
    keys.sort_by_cached_key(|key| format!("{key:?}"));
    take(u64::try_from(keys.len()).unwrap_or(u64::MAX))?;
    Ok(CowVal::owned(CelList::from(keys)))
}

/// Pays for what was made.
pub(super) fn made<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = only(args)?;
    let most = usize::try_from(LEFT.get().unwrap_or_default()).unwrap_or(usize::MAX).saturating_mul(BYTES);
    pay_bytes(weight(&*value, most))?;
    Ok(value)
}

/// Pays for a look through a list.
pub(super) fn searched<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = only(args)?;
    let items = value.downcast_ref::<CelList<'_>>().map_or(0, |list| list.inner().len());
    pay_bytes(items.saturating_mul(BYTES))?;
    Ok(value)
}

/// Pays for a call that is dear whatever it is given.
pub(super) fn dear<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = only(args)?;
    let length = value.downcast_ref::<CelString<'_>>().map_or(0, |text| text.inner().len());
    take(DEAR)?;
    pay_bytes(length)?;
    Ok(value)
}

/// A map's key from a text.
pub(super) fn key(name: &str) -> CelMapKey<'static> {
    CelMapKey::String(CelString::from(name.to_owned()))
}
