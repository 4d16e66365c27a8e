//! The Kubernetes schemas: one compressed table that drives patches, defaults, validation, OpenAPI and protobuf.
