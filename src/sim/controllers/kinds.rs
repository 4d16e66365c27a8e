//! The resource types that controllers, the kubelet and Chaos Mesh work on, made once.

use std::sync::LazyLock;

use crate::sim::resource::Resource;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $group:literal, $plural:literal;)*) => {
        $($(#[$doc])* pub static $name: LazyLock<Resource> = LazyLock::new(|| Resource::new($group, $plural));)*
    };
}

kinds! {
    /// Pods.
    PODS = "", "pods";
    /// Nodes.
    NODES = "", "nodes";
    /// Namespaces.
    NAMESPACES = "", "namespaces";
    /// Services.
    SERVICES = "", "services";
    /// Endpoints.
    ENDPOINTS = "", "endpoints";
    /// Config maps.
    CONFIG_MAPS = "", "configmaps";
    /// Secrets.
    SECRETS = "", "secrets";
    /// Service accounts.
    SERVICE_ACCOUNTS = "", "serviceaccounts";
    /// Persistent volume claims.
    CLAIMS = "", "persistentvolumeclaims";
    /// Persistent volumes.
    VOLUMES = "", "persistentvolumes";
    /// Classes of priority.
    PRIORITIES = "scheduling.k8s.io", "priorityclasses";
    /// Classes of storage.
    STORAGE_CLASSES = "storage.k8s.io", "storageclasses";
    /// Events.
    EVENTS = "", "events";
    /// Endpoint slices.
    SLICES = "discovery.k8s.io", "endpointslices";
    /// Deployments.
    DEPLOYMENTS = "apps", "deployments";
    /// `ReplicationController`s.
    REPLICATION_CONTROLLERS = "", "replicationcontrollers";
    /// Replica sets.
    REPLICA_SETS = "apps", "replicasets";
    /// Stateful sets.
    STATEFUL_SETS = "apps", "statefulsets";
    /// Daemon sets.
    DAEMON_SETS = "apps", "daemonsets";
    /// Controller revisions.
    REVISIONS = "apps", "controllerrevisions";
    /// Jobs.
    JOBS = "batch", "jobs";
    /// Cron jobs.
    CRON_JOBS = "batch", "cronjobs";
    /// Network policies.
    POLICIES = "networking.k8s.io", "networkpolicies";
    /// Leases.
    LEASES = "coordination.k8s.io", "leases";
}

/// API version and kind of the objects of a type that controllers own or report on.
pub fn kind_of(resource: &Resource) -> (&'static str, &'static str) {
    match (&*resource.group, &*resource.plural) {
        ("", "pods") => ("v1", "Pod"),
        ("", "nodes") => ("v1", "Node"),
        ("", "namespaces") => ("v1", "Namespace"),
        ("", "services") => ("v1", "Service"),
        ("", "endpoints") => ("v1", "Endpoints"),
        ("", "configmaps") => ("v1", "ConfigMap"),
        ("", "secrets") => ("v1", "Secret"),
        ("", "serviceaccounts") => ("v1", "ServiceAccount"),
        ("", "persistentvolumeclaims") => ("v1", "PersistentVolumeClaim"),
        ("", "events") => ("v1", "Event"),
        ("discovery.k8s.io", _) => ("discovery.k8s.io/v1", "EndpointSlice"),
        ("apps", "deployments") => ("apps/v1", "Deployment"),
        ("apps", "replicasets") => ("apps/v1", "ReplicaSet"),
        ("apps", "statefulsets") => ("apps/v1", "StatefulSet"),
        ("apps", "daemonsets") => ("apps/v1", "DaemonSet"),
        ("apps", "controllerrevisions") => ("apps/v1", "ControllerRevision"),
        ("batch", "jobs") => ("batch/v1", "Job"),
        ("batch", "cronjobs") => ("batch/v1", "CronJob"),
        ("", "replicationcontrollers") => ("v1", "ReplicationController"),
        ("autoscaling", _) => ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ("coordination.k8s.io", _) => ("coordination.k8s.io/v1", "Lease"),
        ("chaos-mesh.org", "stresschaos") => ("chaos-mesh.org/v1alpha1", "StressChaos"),
        ("chaos-mesh.org", "networkchaos") => ("chaos-mesh.org/v1alpha1", "NetworkChaos"),
        ("chaos-mesh.org", "iochaos") => ("chaos-mesh.org/v1alpha1", "IOChaos"),
        ("chaos-mesh.org", "podchaos") => ("chaos-mesh.org/v1alpha1", "PodChaos"),
        _ => ("v1", "Unknown"),
    }
}
