//! The shipped systems start on the embedded cluster: every pod Ready, requests answered, in little real time.

use std::time::{Duration, Instant};

use microremed::cluster::{Target, connect};
use microremed::execute::embedded::of_system;
use microremed::manifest::TimeSection;
use microremed::plan::system_manifests;
use serde_json::{Value, json};

use super::facts::catalog;

/// Real seconds that a build without optimisation may take; one with it is ten times as fast.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 3 });

fn ready(pod: &Value) -> bool {
    pod["status"]["conditions"].as_array().into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Deploys, waits for every pod, lets half a minute of traffic pass; the services that were asked, with their errors.
async fn start(name: &str) -> Vec<(String, f64, f64)> {
    let catalog = catalog();
    let system = &catalog.systems[name];
    let config = of_system(system, &TimeSection::default(), 7).unwrap();
    let begun = Instant::now();
    let cluster = connect(&Target::Embedded(Box::new(config))).await.unwrap();
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}), "").await.unwrap();
    for object in system_manifests(&catalog, system).unwrap() {
        cluster.apply(&object, name).await.unwrap();
    }
    let wanted: u32 = system.services.iter().map(|s| s.replicas).sum();
    loop {
        let pods = cluster.list("v1", "Pod", name, "").await.unwrap();
        if pods.len() == wanted as usize && pods.iter().all(|pod| ready(pod)) {
            break;
        }
        let late: Vec<&Value> = pods.iter().filter(|p| !ready(p)).map(|p| &p["metadata"]["name"]).collect();
        assert!(cluster.pace().now_ms() < 300_000, "{name}: {} of {wanted} pods, not ready: {late:?}", pods.len());
        cluster.pace().sleep(Duration::from_secs(1)).await;
    }
    let took = begun.elapsed();
    assert!(took < LIMIT, "{name} took {took:?}");
    let from = cluster.pace().now_ms() / 1000;
    cluster.pace().sleep(Duration::from_secs(30)).await;
    let traffic = cluster.observations().traffic.clone().unwrap();
    let series = system.services.iter().map(|s| {
        let seconds = traffic(name, &s.name, from, from + 30);
        (s.name.clone(), seconds.iter().map(|t| t.requests).sum(), seconds.iter().map(|t| t.errors).sum())
    });
    let series = series.collect();
    cluster.close().await;
    series
}

async fn starts_and_serves(name: &str, entry: &str, asked: usize) {
    let services = start(name).await;
    let served = services.iter().filter(|(_, requests, _)| *requests > 0.0).count();
    assert!(served >= asked, "{name}: requests reach {served} services: {services:?}");
    assert!(services.iter().any(|(n, requests, _)| n == entry && *requests > 0.0), "{services:?}");
    let failed: Vec<_> = services.iter().filter(|(_, _, errors)| *errors > 0.0).collect();
    assert!(failed.is_empty(), "{name}: {failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn simple_micro() {
    starts_and_serves("simple-micro", "hello-service", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn online_boutique() {
    starts_and_serves("online-boutique", "frontend", 11).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn train_ticket() {
    starts_and_serves("train-ticket", "ts-ui-dashboard", 40).await;
}
