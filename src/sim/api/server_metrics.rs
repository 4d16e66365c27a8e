//! `/metrics` of the API server, under the real one's names.

use super::exposition::Exposition;
use crate::sim::catalog::Catalog;
use crate::sim::world::World;

/// The text.
pub(super) fn text(world: &World) -> String {
    let mut metrics = Exposition::default();
    metrics.family("apiserver_request_total", "counter", "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.");
    for (labels, count) in world.audit.served() {
        metrics.labelled(labels, count);
    }
    metrics.family("apiserver_resource_objects", "gauge", "[ALPHA] Number of stored objects at the time of last check split by kind.");
    let mut counted = std::collections::BTreeSet::new();
    for kind in Catalog::get().kinds().chain(world.customs.kinds()).filter(|k| k.allows("create") && k.allows("get")) {
        if counted.insert(kind.resource.clone()) {
            let labels = [("group", &*kind.resource.group), ("resource", &*kind.resource.plural)];
            metrics.sample(&labels, world.store.list(&kind.resource, None).count());
        }
    }
    metrics.family("kubernetes_build_info", "gauge", "[ALPHA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.");
    build(&mut metrics);
    metrics.family("process_start_time_seconds", "gauge", "[ALPHA] Start time of the process since unix epoch in seconds.");
    metrics.sample(&[], world.config.start.timestamp().as_second());
    metrics.text()
}

/// The sample of `kubernetes_build_info`.
pub(super) fn build(metrics: &mut Exposition) {
    let version = super::discovery::version();
    let text = |field: &str| version[field].as_str().unwrap_or_default();
    let labels = [
        ("build_date", text("buildDate")),
        ("compiler", text("compiler")),
        ("git_commit", text("gitCommit")),
        ("git_tree_state", text("gitTreeState")),
        ("git_version", text("gitVersion")),
        ("go_version", text("goVersion")),
        ("major", text("major")),
        ("minor", text("minor")),
        ("platform", text("platform")),
    ];
    metrics.sample(&labels, 1);
}
