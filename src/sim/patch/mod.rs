//! Patches, as pure functions on JSON: JSON patch, merge patch, strategic merge patch.
//!
//! Input: an object and a patch body. Output: the patched object, or the text of the server's error.

mod go_text;
mod json;
mod result;
mod strategic;

pub use json::{NOT_APPLICABLE, json};
pub use result::result_error;
pub use strategic::strategic;

use serde_json::Value;

/// Applies an RFC 7386 merge patch.
pub fn merge(original: &mut Value, patch: &Value) {
    json_patch::merge(original, patch);
}
