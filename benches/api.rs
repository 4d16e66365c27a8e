//! How fast the embedded cluster's API is: one client on one keep-alive connection, HTTP/1.1, both on one core.
//!
//! `cargo bench --bench api` prints requests a second for GET, LIST and PATCH, the time from start to the first answer,
//! and the memory of this process with 100 pods and with 1,000 watches. The numbers of docs/performance.md come from here.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../tests/support/answer.rs"]
mod answer;

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use microremed::sim::SimConfig;
use microremed::sim::config::{ClockMode, StartUp};
use microremed::sim::server::Sim;
use microremed::sim::time::SimTime;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long each rate is measured.
const FOR: Duration = Duration::from_secs(2);
const WATCHES: usize = 1000;
/// As many Deployments as the Online Boutique has.
const DEPLOYMENTS: usize = 12;
/// How many changes the watches are told of.
const ROUNDS: usize = 11;

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    fn send(&mut self, method: &str, path: &str, kind: &str, body: &str) -> Outcome<()> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: sim\r\nUser-Agent: bench\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(self.stream.get_mut().write_all(head.as_bytes())?)
    }

    /// One request and its answer; gives the status.
    fn ask(&mut self, method: &str, path: &str, kind: &str, body: &str) -> Outcome<u16> {
        self.send(method, path, kind, body)?;
        let (status, _) = answer::read(&mut self.stream)?;
        Ok(status)
    }

    fn rate(&mut self, what: &str, mut request: impl FnMut(&mut Self, u64) -> Outcome<u16>) -> Outcome<()> {
        let start = Instant::now();
        let mut done = 0_u64;
        while start.elapsed() < FOR {
            let status = request(self, done)?;
            if status != 200 {
                return Err(format!("{what} answered {status}").into());
            }
            done += 1;
        }
        println!("{what:<16} {:>9.0} /s", f64::from(u32::try_from(done)?) / start.elapsed().as_secs_f64());
        Ok(())
    }
}

/// Client and server take turns on one core. On two, most of what is measured is how long the other core takes to wake up, which
/// differs by a factor of three from machine to machine and from hour to hour.
fn on_one_core() -> Outcome<()> {
    let mine = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|core| mine.is_set(*core)).ok_or("no core")?;
    let mut one = CpuSet::new();
    one.set(last);
    Ok(sched_setaffinity(None, &one)?)
}

/// Resident memory of this process in MiB.
fn memory() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// Reads from each watch until it has told `text`.
fn told(watches: &mut [Client], text: &str) -> Outcome<()> {
    for watch in watches {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            if watch.stream.read_line(&mut line)? == 0 {
                return Err("a watch ended".into());
            }
        }
    }
    Ok(())
}

fn deployment(name: &str, replicas: u32) -> String {
    format!(
        "{{\"metadata\":{{\"name\":\"{name}\"}},\"spec\":{{\"replicas\":{replicas},\"selector\":{{\"matchLabels\":{{\"app\":\"{name}\"}}}},\
         \"template\":{{\"metadata\":{{\"labels\":{{\"app\":\"{name}\"}}}},\"spec\":{{\"containers\":[{{\"name\":\"c\",\"image\":\"nginx:1.25\"}}]}}}}}}}}"
    )
}

/// How long it takes until a system is made and all of it is Ready, as a client sees it that watches its Deployments: on a cluster
/// as `cluster up` starts it when nothing else is said.
fn system(address: &str) -> Outcome<Duration> {
    let (mut client, json) = (Client::connect(address)?, "application/json");
    let start = Instant::now();
    client.ask("POST", "/api/v1/namespaces", json, "{\"metadata\":{\"name\":\"shop\"}}")?;
    let probe = "\"image\":\"nginx:1.25\",\"readinessProbe\":{\"tcpSocket\":{\"port\":80},\"periodSeconds\":5}";
    for n in 0..DEPLOYMENTS {
        let service =
            format!("{{\"metadata\":{{\"name\":\"s{n}\"}},\"spec\":{{\"selector\":{{\"app\":\"s{n}\"}},\"ports\":[{{\"port\":80}}]}}}}");
        let deployment = deployment(&format!("s{n}"), 1).replace("\"image\":\"nginx:1.25\"", probe);
        let made = [
            client.ask("POST", "/apis/apps/v1/namespaces/shop/deployments", json, &deployment)?,
            client.ask("POST", "/api/v1/namespaces/shop/services", json, &service)?,
        ];
        if made != [201, 201] {
            return Err(format!("the system was not made: {made:?}").into());
        }
    }
    let mut watch = Client::connect(address)?;
    watch.stream.get_mut().set_read_timeout(Some(Duration::from_mins(1)))?;
    watch.send("GET", "/apis/apps/v1/namespaces/shop/deployments?watch=true", "", "")?;
    let mut ready = std::collections::BTreeSet::new();
    while ready.len() < DEPLOYMENTS {
        let mut line = String::new();
        if watch.stream.read_line(&mut line)? == 0 {
            return Err("the watch ended".into());
        }
        let name = line.split("\"name\":\"").nth(1).and_then(|rest| rest.split('"').next());
        if let Some(name) = name.filter(|_| line.contains("\"readyReplicas\":1")) {
            ready.insert(name.to_owned());
        }
    }
    Ok(start.elapsed())
}

fn main() -> Outcome<()> {
    // `cargo bench` adds `--bench`, `cargo test --benches` does not: then there is nothing to measure.
    if !std::env::args().any(|a| a == "--bench") {
        return Ok(());
    }
    on_one_core()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let start = Instant::now();
    let sim = runtime.block_on(Sim::start(SimConfig::default()))?;
    let address = sim.url().trim_start_matches("http://").to_owned();
    let mut client = Client::connect(&address)?;
    client.ask("GET", "/readyz", "", "")?;
    println!("{:<16} {:>9.1} ms", "start to serving", start.elapsed().as_secs_f64() * 1000.0);
    let live = SimConfig { clock: ClockMode::Scaled(1.0), start_up: StartUp::Prompt, ..SimConfig::default() };
    let other = runtime.block_on(Sim::start(live))?;
    let took = system(other.url().trim_start_matches("http://"))?;
    println!("{DEPLOYMENTS} deployments and services Ready after {:.0} ms", took.as_secs_f64() * 1000.0);
    runtime.block_on(other.shutdown());
    let json = "application/json";
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    client.ask("POST", deployments, json, &deployment("web", 50))?;
    sim.engine().advance_to(SimTime(120_000));
    client.ask("POST", "/api/v1/namespaces/default/configmaps", json, "{\"metadata\":{\"name\":\"one\"},\"data\":{\"n\":\"0\"}}")?;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = sim.engine().with(|w| {
        let pods = microremed::sim::resource::Resource::new("", "pods");
        w.store.list(&pods, Some("default")).map(|(k, _)| k.name.to_string()).next()
    });
    let one = format!("{pods}/{}", pod.ok_or("no pod was made")?);
    client.rate("GET pod", |c, _| c.ask("GET", &one, "", ""))?;
    client.rate("LIST 50 pods", |c, _| c.ask("GET", pods, "", ""))?;
    client.rate("PATCH", |c, n| {
        let body = format!("{{\"data\":{{\"n\":\"{n}\"}}}}");
        c.ask("PATCH", "/api/v1/namespaces/default/configmaps/one", "application/merge-patch+json", &body)
    })?;
    client.ask("POST", deployments, json, &deployment("more", 50))?;
    sim.engine().advance_to(SimTime(240_000));
    println!("{:<16} {:>9.1} MiB", "100 pods", memory()?);
    let start = Instant::now();
    let mut watches = Vec::with_capacity(WATCHES);
    for _ in 0..WATCHES {
        let mut watch = Client::connect(&address)?;
        watch.send("GET", "/api/v1/namespaces/default/configmaps?watch=true", "", "")?;
        watches.push(watch);
    }
    // Each is told first of the object that there is.
    told(&mut watches, "\"one\"")?;
    println!("{WATCHES} watches opened in {:.0} ms", start.elapsed().as_secs_f64() * 1000.0);
    let mut each = Vec::new();
    for round in 0..ROUNDS {
        let start = Instant::now();
        let patch = format!("{{\"data\":{{\"last\":\"{round}\"}}}}");
        client.ask("PATCH", "/api/v1/namespaces/default/configmaps/one", "application/merge-patch+json", &patch)?;
        told(&mut watches, &format!("\"last\":\"{round}\""))?;
        each.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    each.sort_by(f64::total_cmp);
    let (median, worst) = (each.get(ROUNDS / 2).copied().unwrap_or(0.0), each.last().copied().unwrap_or(0.0));
    println!("{WATCHES} watches told of a change in {median:.0} ms, at most {worst:.0} ms; {:.1} MiB", memory()?);
    drop(watches);
    runtime.block_on(sim.shutdown());
    Ok(())
}
