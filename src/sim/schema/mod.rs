//! The Kubernetes schemas: one compressed table that drives patches, defaults, validation, `OpenAPI` and protobuf.
//!
//! Input: an API version, a kind and an object as JSON (or protobuf). Output: the object as a real API server would store
//! it, or what is wrong with it in that server's words.

mod defaults;
mod descriptions;
mod fields;
mod openapi;
mod protobuf;
pub mod quantity;
mod swagger;
mod swagger_protobuf;
pub mod table;
mod validate;

pub use defaults::defaults;
pub use fields::{missing_required, prune, unknown_fields};
pub use openapi::{openapi_index, openapi_v3};
pub use protobuf::decode_protobuf;
pub use swagger::{swagger, swagger_protobuf};
pub use validate::{Cause, decode_error, label_value, qualified, summary, validate, validate_update};

#[cfg(test)]
mod recorded;
