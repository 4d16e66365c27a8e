//! What a kubelet answers over HTTP, behind `proxy` of its node: pods, usage, metrics and configuration.

use serde_json::{Value, json};

use super::answer::Answer;
use super::exposition::Exposition;
use super::proxy::unavailable;
use super::server_metrics;
use crate::sim::controllers::bootstrap::DNS_ADDRESS;
use crate::sim::controllers::kinds::PODS;
use crate::sim::kubelet;
use crate::sim::resource::Key;
use crate::sim::status::Status;
use crate::sim::world::World;

/// Processors and memory of a node.
const CORES: u64 = 8;
const MEMORY: u64 = 32 << 30;

/// What a kubelet answers.
pub(super) fn answer(world: &World, key: &Key, path: &str) -> Result<Answer, Status> {
    if world.store.get(key).is_none() {
        return Err(Status::not_found(&key.resource, &key.name));
    }
    let pods = || world.store.list(&PODS, None).filter(|(_, p)| p["spec"]["nodeName"] == *key.name);
    match path.split('?').next().unwrap_or(path).trim_end_matches('/') {
        "/healthz" => Ok(Answer::text(200, "ok")),
        "/pods" => {
            let items: Vec<&Value> = pods().map(|(_, p)| &**p).collect();
            Ok(Answer::json(200, &json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})))
        }
        "/stats/summary" => {
            let Some(sample) = kubelet::node_metrics(world, &key.name) else {
                return Err(unavailable("the node has not been measured yet"));
            };
            let at = sample.at.rfc3339();
            let measured = |cpu: f64, memory: u64| {
                (json!({"time": at, "usageNanoCores": nano(cpu)}), json!({"time": at, "usageBytes": memory, "workingSetBytes": memory}))
            };
            let each = pods().filter_map(|(k, p)| {
                let containers = kubelet::metrics(world, k)?.containers;
                let shown = containers.iter().map(|(name, cpu, memory)| {
                    let (cpu, memory) = measured(*cpu, *memory);
                    json!({"name": name, "startTime": p["status"]["startTime"], "cpu": cpu, "memory": memory})
                });
                let (cpu, memory) = measured(containers.iter().map(|c| c.1).sum(), containers.iter().map(|c| c.2).sum());
                let reference = json!({"name": &*k.name, "namespace": &*k.namespace, "uid": p["metadata"]["uid"]});
                Some(json!({"podRef": reference, "startTime": p["status"]["startTime"], "containers": shown.collect::<Vec<_>>(),
                    "cpu": cpu, "memory": memory}))
            });
            let each: Vec<Value> = each.collect();
            let (cpu, memory) = measured(sample.cpu, sample.memory);
            Ok(Answer::json(200, &json!({"node": {"nodeName": &*key.name, "cpu": cpu, "memory": memory}, "pods": each})))
        }
        "/metrics" => Ok(exposed(own(world, &key.name))),
        "/metrics/resource" => Ok(exposed(resource(world, &key.name))),
        "/metrics/cadvisor" => Ok(exposed(cadvisor(world, &key.name))),
        "/configz" => Ok(Answer::json(200, &json!({"kubeletconfig": configuration()}))),
        _ => Ok(Answer::no_page()),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a usage in nanocores is positive and fits")]
fn nano(cpu: f64) -> u64 {
    (cpu * 1e9).round().max(0.0) as u64
}

/// Metrics as an answer.
pub(super) fn exposed(text: String) -> Answer {
    Answer { content_type: "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", ..Answer::text(200, text) }
}

/// The kubelet's own metrics.
fn own(world: &World, node: &str) -> String {
    let containers = kubelet::used(world, node);
    let pods: std::collections::BTreeSet<&Key> = containers.iter().map(|c| &c.pod).collect();
    let mut metrics = Exposition::default();
    metrics.family("kubelet_node_name", "gauge", "[ALPHA] The node's name. The count is always 1.");
    metrics.sample(&[("node", node)], 1);
    metrics.family("kubelet_running_containers", "gauge", "[ALPHA] Number of containers currently running");
    metrics.sample(&[("container_state", "running")], containers.len());
    metrics.family("kubelet_running_pods", "gauge", "[ALPHA] Number of pods that have a running pod sandbox");
    metrics.sample(&[], pods.len());
    let build = "[ALPHA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.";
    metrics.family("kubernetes_build_info", "gauge", build);
    server_metrics::build(&mut metrics);
    metrics.family("process_start_time_seconds", "gauge", "[ALPHA] Start time of the process since unix epoch in seconds.");
    metrics.sample(&[], world.config.start.timestamp().as_second());
    metrics.text()
}

/// What a metrics server scrapes.
fn resource(world: &World, node: &str) -> String {
    let containers = kubelet::used(world, node);
    let mut pods: Vec<(&Key, f64, u64)> = Vec::new();
    for c in &containers {
        match pods.last_mut().filter(|(pod, ..)| *pod == &c.pod) {
            Some((_, cpu, memory)) => (*cpu, *memory) = (*cpu + c.cpu_s, *memory + c.memory),
            None => pods.push((&c.pod, c.cpu_s, c.memory)),
        }
    }
    let (cpu, memory) = kubelet::node_used(world, &containers);
    let at = world.now.timestamp().as_millisecond();
    let now = |value: f64| format!("{value} {at}");
    let mut metrics = Exposition::default();
    let each = |metrics: &mut Exposition, value: &dyn Fn(&kubelet::Used) -> f64| {
        for c in &containers {
            metrics.sample(&[("container", &c.name), ("namespace", &c.pod.namespace), ("pod", &c.pod.name)], now(value(c)));
        }
    };
    metrics.family(
        "container_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
    );
    each(&mut metrics, &|c| c.cpu_s);
    metrics.family("container_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the container in bytes");
    each(&mut metrics, &|c| float(c.memory));
    let started = "[STABLE] Start time of the container since unix epoch in seconds";
    metrics.family("container_start_time_seconds", "gauge", started);
    for c in &containers {
        let labels = [("container", &*c.name), ("namespace", &*c.pod.namespace), ("pod", &*c.pod.name)];
        metrics.sample(&labels, unix(c));
    }
    metrics.family("node_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the node in core-seconds");
    metrics.sample(&[], now(cpu));
    metrics.family("node_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the node in bytes");
    metrics.sample(&[], now(float(memory)));
    metrics.family("pod_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the pod in core-seconds");
    for (pod, cpu, _) in &pods {
        metrics.sample(&[("namespace", &pod.namespace), ("pod", &pod.name)], now(*cpu));
    }
    metrics.family("pod_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the pod in bytes");
    for (pod, _, memory) in &pods {
        metrics.sample(&[("namespace", &pod.namespace), ("pod", &pod.name)], now(float(*memory)));
    }
    metrics.family("resource_scrape_error", "gauge", "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise");
    metrics.sample(&[], 0);
    metrics.text()
}

/// What cAdvisor counts.
fn cadvisor(world: &World, node: &str) -> String {
    let containers = kubelet::used(world, node);
    let mut metrics = Exposition::default();
    let family = |metrics: &mut Exposition, name, kind, help, value: &dyn Fn(&kubelet::Used) -> Option<f64>| {
        metrics.family(name, kind, help);
        for c in &containers {
            let Some(value) = value(c) else { continue };
            let group = format!("/kubepods.slice/cri-containerd-{}.scope", c.id);
            let image = kubelet::image::canonical(&c.image);
            let mut labels = vec![("container", c.name.as_str())];
            if name == "container_cpu_usage_seconds_total" {
                labels.push(("cpu", "total"));
            }
            labels.extend([
                ("id", group.as_str()),
                ("image", &image),
                ("name", &c.id),
                ("namespace", &c.pod.namespace),
                ("pod", &c.pod.name),
            ]);
            metrics.sample(&labels, value);
        }
    };
    metrics.family(
        "cadvisor_version_info",
        "gauge",
        "A metric with a constant '1' value labeled by kernel version, OS version, docker version, cadvisor version & cadvisor revision.",
    );
    metrics.sample(
        &[
            ("cadvisorRevision", ""),
            ("cadvisorVersion", ""),
            ("dockerVersion", ""),
            ("kernelVersion", "6.1.0-37-amd64"),
            ("osVersion", "Debian GNU/Linux 12 (bookworm)"),
        ],
        1,
    );
    let limited = |c: &kubelet::Used, value: f64| c.limits.0.map(|_| value);
    let m = &mut metrics;
    family(m, "container_cpu_cfs_periods_total", "counter", "Number of elapsed enforcement period intervals.", &|c| {
        limited(c, float(c.throttled.periods))
    });
    family(m, "container_cpu_cfs_throttled_periods_total", "counter", "Number of throttled period intervals.", &|c| {
        limited(c, float(c.throttled.times))
    });
    family(m, "container_cpu_cfs_throttled_seconds_total", "counter", "Total time duration the container has been throttled.", &|c| {
        limited(c, c.throttled.seconds)
    });
    family(m, "container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", &|c| Some(c.cpu_s));
    family(m, "container_last_seen", "gauge", "Last time a container was seen by the exporter", &|_| {
        Some(world.now.timestamp().as_duration().as_secs_f64().floor())
    });
    family(
        m,
        "container_memory_usage_bytes",
        "gauge",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        &|c| Some(float(c.memory)),
    );
    family(m, "container_memory_rss", "gauge", "Size of RSS in bytes.", &|c| Some(float(c.memory)));
    family(m, "container_memory_working_set_bytes", "gauge", "Current working set in bytes.", &|c| Some(float(c.memory)));
    family(m, "container_spec_cpu_period", "gauge", "CPU period of the container.", &|_| Some(100_000.0));
    family(m, "container_spec_cpu_quota", "gauge", "CPU quota of the container.", &|c| c.limits.0.map(|cores| cores * 100_000.0));
    family(m, "container_spec_memory_limit_bytes", "gauge", "Memory limit for the container.", &|c| Some(c.limits.1.map_or(0.0, float)));
    family(m, "container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds.", &|c| Some(unix(c)));
    metrics.family("machine_cpu_cores", "gauge", "Number of logical CPU cores.");
    metrics.sample(&[("boot_id", ""), ("machine_id", ""), ("system_uuid", "")], CORES);
    metrics.family("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.");
    metrics.sample(&[("boot_id", ""), ("machine_id", ""), ("system_uuid", "")], MEMORY);
    metrics.text()
}

fn unix(c: &kubelet::Used) -> f64 {
    c.since.timestamp().as_duration().as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "counts and bytes are far below 2^53")]
fn float(number: u64) -> f64 {
    number as f64
}

/// The parts of a kubelet's configuration that its model follows.
fn configuration() -> Value {
    json!({
        "syncFrequency": "1m0s", "fileCheckFrequency": "20s", "httpCheckFrequency": "20s", "address": "0.0.0.0", "port": 10250,
        "readOnlyPort": 0, "rotateCertificates": true, "healthzPort": 10248, "healthzBindAddress": "127.0.0.1",
        "clusterDomain": "cluster.local", "clusterDNS": [DNS_ADDRESS], "nodeStatusUpdateFrequency": "10s",
        "nodeStatusReportFrequency": "5m0s", "nodeLeaseDurationSeconds": 40, "imageMinimumGCAge": "2m0s",
        "imageGCHighThresholdPercent": 85, "imageGCLowThresholdPercent": 80, "cgroupsPerQOS": true, "cgroupDriver": "systemd",
        "cpuManagerPolicy": "none", "memoryManagerPolicy": "None", "topologyManagerPolicy": "none", "hairpinMode": "promiscuous-bridge",
        "maxPods": 110, "podPidsLimit": -1, "resolvConf": "/etc/resolv.conf", "cpuCFSQuota": true, "cpuCFSQuotaPeriod": "100ms",
        "maxOpenFiles": 1_000_000, "serializeImagePulls": true, "failSwapOn": true, "containerLogMaxSize": "10Mi",
        "containerLogMaxFiles": 5, "enforceNodeAllocatable": ["pods"], "crashLoopBackOff": {},
        "evictionHard": {"imagefs.available": "15%", "memory.available": "100Mi", "nodefs.available": "10%", "nodefs.inodesFree": "5%"},
        "kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::api::exposition::families;
    use crate::sim::controllers::tests::{NS, advance, deploy, world};

    #[test]
    fn metrics_of_a_node_are_those_of_its_containers() {
        let mut w = world();
        deploy(&mut w, "web", 1);
        advance(&mut w, 60.0);
        let pod = w.store.list(&PODS, Some(NS)).next().map(|(_, p)| p["spec"]["nodeName"].as_str().unwrap().to_owned()).unwrap();
        let ask = |path: &str| {
            let node = Key::new(&crate::sim::controllers::kinds::NODES, "", &pod);
            let answer = answer(&w, &node, path).unwrap();
            assert_eq!(answer.code, 200, "{path}");
            String::from_utf8(answer.body).unwrap()
        };
        let own = families(&ask("/metrics"));
        assert!(own["kubelet_running_pods"][0].1 >= 1.0 && own["kubernetes_build_info"].len() == 1);
        let cadvisor = families(&ask("/metrics/cadvisor"));
        let (labels, used) = cadvisor["container_cpu_usage_seconds_total"].iter().find(|(l, _)| l.contains("pod=\"web-")).unwrap();
        assert!(labels.contains("cpu=\"total\"") && *used > 0.0, "{labels} {used}");
        // A time stands behind what is measured.
        let plain: String = ask("/metrics/resource")
            .lines()
            .map(|l| {
                let mut words: Vec<&str> = l.split(' ').collect();
                if !l.starts_with('#') && words.len() == 3 {
                    words.pop();
                }
                words.join(" ") + "\n"
            })
            .collect();
        let resource = families(&plain);
        let sum: f64 = resource["container_cpu_usage_seconds_total"].iter().map(|(_, v)| v).sum();
        assert!(sum > 0.0 && resource["node_cpu_usage_seconds_total"][0].1 > sum);
        assert_eq!(resource["resource_scrape_error"], [(String::new(), 0.0)]);
        let configz: Value = serde_json::from_str(&ask("/configz")).unwrap();
        assert_eq!(
            (&configz["kubeletconfig"]["maxPods"], &configz["kubeletconfig"]["kind"]),
            (&json!(110), &json!("KubeletConfiguration"))
        );
    }
}
