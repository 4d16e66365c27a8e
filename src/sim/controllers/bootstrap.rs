//! What every cluster has at time zero: nodes, the standard namespaces, the `kubernetes` Service, cluster DNS.

use serde_json::{Value, json};

use super::kinds::{CONFIG_MAPS, DEPLOYMENTS, ENDPOINTS, LEASES, NAMESPACES, NODES, PRIORITIES, SERVICES, SLICES};
use super::namespace;
use crate::sim::registry;
use crate::sim::resource::{Key, Resource};
use crate::sim::world::{Event, World};

/// Version of the kubelets, as `kubectl get nodes` shows it.
pub const KUBELET: &str = "v1.36.1+k3s1";
/// Address of the `kubernetes` Service.
pub const API_ADDRESS: &str = "10.96.0.1";
/// Address of the cluster's name server.
pub const DNS_ADDRESS: &str = "10.96.0.10";

/// Creates what every cluster has at time zero.
pub fn bootstrap(world: &mut World) {
    for i in 1..=world.config.nodes {
        let name = format!("node-{i}");
        let object = node(world, &name, i);
        put(world, &NODES, "", object);
    }
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        });
        put(world, &NAMESPACES, "", object);
        namespace::reconcile(world, &Key::new(&NAMESPACES, "", name));
    }
    let api = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": API_ADDRESS, "clusterIPs": [API_ADDRESS], "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
            "sessionAffinity": "None", "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    });
    put(world, &SERVICES, "default", api);
    let classes = [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        ("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved from their current node."),
    ];
    for (name, value, description) in classes {
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
            "description": description, "preemptionPolicy": "PreemptLowerPriority",
        });
        put(world, &PRIORITIES, "", class);
    }
    let labels = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "kubernetes", "labels": labels},
        "subsets": [{"addresses": [{"ip": "192.168.64.10"}], "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}]}],
    });
    put(world, &ENDPOINTS, "default", endpoints);
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "endpoints": [{"addresses": ["192.168.64.10"], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
    });
    put(world, &SLICES, "default", slice);
    // Without its pods the name server is part of the model: it has a Service and no selector.
    let mut dns = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kube-dns", "labels": {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}},
        "spec": {
            "clusterIP": DNS_ADDRESS, "clusterIPs": [DNS_ADDRESS], "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None", "type": "ClusterIP",
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
            ],
        },
        "status": {"loadBalancer": {}},
    });
    if world.config.system_pods {
        dns["spec"]["selector"] = json!({"k8s-app": "kube-dns"});
    }
    put(world, &SERVICES, "kube-system", dns);
    let core = ".:53 {\n    errors\n    health\n    ready\n    kubernetes cluster.local in-addr.arpa ip6.arpa {\n      pods insecure\n      fallthrough in-addr.arpa ip6.arpa\n    }\n    forward . /etc/resolv.conf\n    cache 30\n    loop\n    reload\n    loadbalance\n}\n";
    put(
        world,
        &CONFIG_MAPS,
        "kube-system",
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "coredns"}, "data": {"Corefile": core}}),
    );
    if world.config.system_pods {
        put(world, &DEPLOYMENTS, "kube-system", name_server());
    }
    for i in 1..=world.config.nodes {
        // Its time is filled in when it is read: see the API's `read`.
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": format!("node-{i}")},
            "spec": {"holderIdentity": format!("node-{i}"), "leaseDurationSeconds": 40, "renewTime": world.now.rfc3339_micro()},
        });
        put(world, &LEASES, "kube-node-lease", lease);
    }
    world.agenda.at(world.now.after(std::time::Duration::from_secs(1)), Event::Second);
}

/// The name server. Others rely on its pods from when they are ready for the first time: `traffic::lookup`.
fn name_server() -> Value {
    let labels = json!({"k8s-app": "kube-dns"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "coredns", "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}},
        "spec": {
            "replicas": 1, "revisionHistoryLimit": 0, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "dnsPolicy": "Default", "priorityClassName": "system-cluster-critical",
                "containers": [{
                    "name": "coredns", "image": "registry.k8s.io/coredns/coredns:v1.12.0", "args": ["-conf", "/etc/coredns/Corefile"],
                    "ports": [
                        {"containerPort": 53, "name": "dns", "protocol": "UDP"},
                        {"containerPort": 53, "name": "dns-tcp", "protocol": "TCP"},
                        {"containerPort": 9153, "name": "metrics", "protocol": "TCP"},
                    ],
                    "resources": {"limits": {"memory": "170Mi"}, "requests": {"cpu": "100m", "memory": "70Mi"}},
                    "volumeMounts": [{"mountPath": "/etc/coredns", "name": "config-volume", "readOnly": true}],
                }],
                "volumes": [{"configMap": {"name": "coredns"}, "name": "config-volume"}],
            }},
        },
    })
}

fn put(world: &mut World, resource: &Resource, namespace: &str, object: Value) {
    let status = object["status"].clone();
    let Ok(stored) = registry::create(world, resource, namespace, object) else { return };
    // Creation through the registry may drop status: it belongs to us, so put it back.
    if !status.is_null() && stored["status"] != status {
        let key = Key::new(resource, namespace, super::object::name(&stored));
        let mut new = (*stored).clone();
        new["status"] = status;
        world.store.put(&key, new);
    }
}

fn node(world: &mut World, name: &str, i: u32) -> Value {
    let now = world.now.rfc3339();
    let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({"type": kind, "status": status, "lastHeartbeatTime": now, "lastTransitionTime": now, "reason": reason, "message": message});
    let room =
        json!({"cpu": "8", "ephemeral-storage": "100Gi", "hugepages-1Gi": "0", "hugepages-2Mi": "0", "memory": "32Gi", "pods": "110"});
    let roles = if i == 1 { "true" } else { "" };
    let mut labels = json!({
        "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "node.kubernetes.io/instance-type": "k3s",
    });
    if !roles.is_empty() {
        labels["node-role.kubernetes.io/control-plane"] = roles.into();
    }
    let machine = world.uid();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {"node.alpha.kubernetes.io/ttl": "0"}},
        "spec": {"podCIDR": format!("10.42.{}.0/24", i - 1), "podCIDRs": [format!("10.42.{}.0/24", i - 1)], "providerID": format!("k3s://{name}")},
        "status": {
            "addresses": [{"type": "InternalIP", "address": format!("192.168.64.{}", 9 + i)}, {"type": "Hostname", "address": name}],
            "allocatable": room, "capacity": room,
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}, "images": [],
            "nodeInfo": {
                "architecture": "amd64", "bootID": world.uid(), "containerRuntimeVersion": "containerd://2.2.0-k3s1",
                "kernelVersion": "6.8.0-60-generic", "kubeProxyVersion": KUBELET, "kubeletVersion": KUBELET,
                "machineID": machine.replace('-', ""), "operatingSystem": "linux", "osImage": "Ubuntu 24.04.2 LTS", "systemUUID": machine,
            },
        },
    })
}
