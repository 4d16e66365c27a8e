//! The Kubernetes `Status` error: what every failing call answers, and what registry functions return.

use serde_json::{Value, json};

/// A failed request: HTTP code, machine-readable reason, message and details.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// `NotFound`, `AlreadyExists`, `Conflict`, `Invalid`, `BadRequest`, ...; empty for none.
    pub reason: &'static str,
    /// The text a user sees.
    pub message: String,
    /// `details` object, or null.
    pub details: Value,
}

impl Status {
    /// 500: the container named does not run.
    pub fn not_running(container: &str) -> Self {
        Self::new(500, "InternalError", format!("container not found (\"{container}\")"))
    }

    /// A status without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    /// 404 `pods "x" not found`.
    pub fn not_found(resource: &super::resource::Resource, name: &str) -> Self {
        Self {
            code: 404,
            reason: "NotFound",
            message: format!("{} \"{name}\" not found", resource.qualified()),
            details: details(resource, name),
        }
    }

    /// 409 `deployments.apps "x" already exists`.
    pub fn already_exists(resource: &super::resource::Resource, name: &str) -> Self {
        Self {
            code: 409,
            reason: "AlreadyExists",
            message: format!("{} \"{name}\" already exists", resource.qualified()),
            details: details(resource, name),
        }
    }

    /// 409 `Operation cannot be fulfilled on ...` with the real server's wording for a stale resourceVersion.
    pub fn conflict(resource: &super::resource::Resource, name: &str) -> Self {
        Self {
            code: 409,
            reason: "Conflict",
            message: format!(
                "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; please apply your changes to the latest version and try again",
                resource.qualified()
            ),
            details: details(resource, name),
        }
    }

    /// 400 with reason `BadRequest`.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// The JSON body.
    pub fn body(&self) -> Value {
        let mut v =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message, "code": self.code});
        if !self.reason.is_empty() {
            v["reason"] = self.reason.into();
        }
        if !self.details.is_null() {
            v["details"] = self.details.clone();
        }
        v
    }
}

pub(super) fn details(resource: &super::resource::Resource, name: &str) -> Value {
    let mut d = json!({"name": name, "kind": &*resource.plural});
    if !resource.group.is_empty() {
        d["group"] = (&*resource.group).into();
    }
    d
}
