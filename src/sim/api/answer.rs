//! Answers: JSON documents in the form that the client asked for.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::call::Call;
use super::order::Ordered;
use crate::sim::status::Status;

/// What a client wants to see of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Objects.
    Whole,
    /// A `Table` of this version of `meta.k8s.io`.
    Table(&'static str),
    /// Metadata only.
    Partial,
}

impl Form {
    /// The first form in `Accept` that can be given.
    pub(super) fn of(accept: &str) -> Self {
        for part in accept.split(',') {
            let mut words = part.split(';').map(str::trim);
            let media = words.next().unwrap_or_default();
            if !matches!(media, "application/json" | "*/*" | "application/*") {
                continue;
            }
            let params: Vec<&str> = words.collect();
            let meta = params.contains(&"g=meta.k8s.io");
            if params.contains(&"as=Table") && meta {
                return Self::Table(if params.contains(&"v=v1beta1") { "v1beta1" } else { "v1" });
            }
            if meta && (params.contains(&"as=PartialObjectMetadata") || params.contains(&"as=PartialObjectMetadataList")) {
                return Self::Partial;
            }
            if params.iter().all(|p| !p.starts_with("as=")) {
                return Self::Whole;
            }
        }
        Self::Whole
    }
}

/// An answer before it becomes HTTP.
#[derive(Debug)]
pub(super) struct Answer {
    /// HTTP status.
    pub(super) code: u16,
    /// Content type.
    pub(super) content_type: &'static str,
    /// Body.
    pub(super) body: Vec<u8>,
    /// Texts for `Warning` headers.
    pub(super) warnings: Vec<String>,
}

impl Answer {
    /// A JSON document.
    pub(super) fn json(code: u16, value: &Value) -> Self {
        // Writing a `Value` to memory cannot fail: its keys are strings.
        let mut body = serde_json::to_vec(&Ordered(value)).unwrap_or_default();
        body.push(b'\n');
        Self { code, content_type: "application/json", body, warnings: Vec::new() }
    }

    /// A JSON document that is text already.
    pub(super) fn written(code: u16, body: Vec<u8>) -> Self {
        Self { code, content_type: "application/json", body, warnings: Vec::new() }
    }

    /// Plain text.
    pub(super) fn text(code: u16, text: impl Into<Vec<u8>>) -> Self {
        Self { code, content_type: "text/plain; charset=utf-8", body: text.into(), warnings: Vec::new() }
    }

    /// `404 page not found`, as Go's router says.
    pub(super) fn no_page() -> Self {
        Self::text(404, "404 page not found\n")
    }

    /// `Status` of a success.
    pub(super) fn success(code: u16) -> Self {
        Self::json(code, &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}))
    }

    /// For people: indented, with what names the object first.
    pub(super) fn pretty(mut self) -> Self {
        if self.content_type == "application/json"
            && let Ok(value) = serde_json::from_slice::<Value>(&self.body)
            && let Ok(mut text) = serde_json::to_vec_pretty(&Ordered(&value))
        {
            text.push(b'\n');
            self.body = text;
        }
        self
    }

    /// As an HTTP response.
    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        for w in self.warnings {
            let quoted = w.replace('\\', "\\\\").replace('"', "\\\"");
            if let Ok(v) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
                headers.append(header::WARNING, v);
            }
        }
        response
    }
}

impl From<Status> for Answer {
    fn from(status: Status) -> Self {
        Self::json(status.code, &status.body())
    }
}

/// One object in the form asked for.
pub(super) fn object(call: &Call, target: &super::call::Target, code: u16, value: &Value, now: crate::sim::time::SimTime) -> Answer {
    let mut shown = super::versions::to_wire(&target.kind, value);
    if !call.veil.hides_nothing() {
        call.veil.scrub(shown.to_mut());
    }
    let body = match Form::of(&call.accept) {
        Form::Whole => shown,
        Form::Partial => Cow::Owned(partial(&shown)),
        Form::Table(v) => Cow::Owned(super::table::table(
            &target.kind,
            v,
            &json!({"resourceVersion": value["metadata"]["resourceVersion"]}),
            &[&shown],
            call,
            true,
            now,
        )),
    };
    Answer::json(code, &body)
}

/// An object's metadata alone.
pub(super) fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_negotiated() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(Form::of(kubectl), Form::Table("v1"));
        assert_eq!(Form::of("application/vnd.kubernetes.protobuf,application/json"), Form::Whole);
        assert_eq!(Form::of("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"), Form::Partial);
        assert_eq!(Form::of(""), Form::Whole);
    }
}
