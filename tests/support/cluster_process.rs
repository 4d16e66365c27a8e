//! A cluster in a process of its own, and what a client does to it.

#[path = "answer.rs"]
mod answer;

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
/// How long the cluster may take for anything.
const PATIENCE: Duration = Duration::from_mins(2);

/// `cluster up`; dropping it ends it.
pub(crate) struct ClusterProcess {
    child: Child,
    address: String,
    client: BufReader<TcpStream>,
    _folder: tempfile::TempDir,
}

impl Drop for ClusterProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn connect(address: &str) -> Outcome<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(BufReader::new(stream))
}

fn send(stream: &mut BufReader<TcpStream>, method: &str, path: &str, kind: &str, body: &str) -> Outcome<()> {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: sim\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}");
    Ok(stream.get_mut().write_all(head.as_bytes())?)
}

impl ClusterProcess {
    /// Starts `program`'s cluster: the default one, at 60 times real time.
    pub(crate) fn start(program: &str) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("kubeconfig");
        let mut child = Command::new(program)
            .args(["--json", "cluster", "up", "--port", "0", "--speed", "60", "--kubeconfig-out"])
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let up: Value = serde_json::from_str(&line)?;
        let address = up["url"].as_str().ok_or("no url")?.trim_start_matches("http://").to_owned();
        Ok(Self { child, client: connect(&address)?, address, _folder: folder })
    }

    /// What is resident of it, and how much of that is its own data, in MiB.
    pub(crate) fn memory(&self) -> Outcome<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let read = |key: &str| -> Outcome<f64> {
            let line = status.lines().find_map(|l| l.strip_prefix(key)).ok_or("no such line")?;
            Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
        };
        Ok((read("VmRSS:")?, read("RssAnon:")?))
    }

    /// One request and its answer.
    pub(crate) fn ask(&mut self, method: &str, path: &str, kind: &str, body: &str) -> Outcome<Value> {
        send(&mut self.client, method, path, kind, body)?;
        let (code, body) = answer::read(&mut self.client)?;
        if code >= 300 {
            return Err(format!("{method} {path} answered {code}: {}", String::from_utf8_lossy(&body)).into());
        }
        Ok(serde_json::from_slice(&body)?)
    }

    /// Deploys `pods` pods and waits until all are Ready.
    pub(crate) fn deploy(&mut self, pods: usize) -> Outcome<()> {
        let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx:1.25"}]}});
        let spec = json!({"replicas": pods, "selector": {"matchLabels": {"app": "web"}}, "template": template});
        self.ask("POST", DEPLOYMENTS, JSON, &json!({"metadata": {"name": "web"}, "spec": spec}).to_string())?;
        self.settle(pods)
    }

    /// Replaces all pods.
    pub(crate) fn roll_out(&mut self, pods: usize, round: u32) -> Outcome<()> {
        let template = json!({"metadata": {"annotations": {"round": round.to_string()}}});
        let patch = json!({"spec": {"template": template}}).to_string();
        self.ask("PATCH", &format!("{DEPLOYMENTS}/web"), MERGE, &patch)?;
        self.settle(pods)
    }

    fn settle(&mut self, pods: usize) -> Outcome<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let web = self.ask("GET", &format!("{DEPLOYMENTS}/web"), "", "")?;
            let (status, wanted) = (&web["status"], json!(pods));
            let seen = status["observedGeneration"] == web["metadata"]["generation"];
            if seen && status["updatedReplicas"] == wanted && status["readyReplicas"] == wanted && status["replicas"] == wanted {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err("the pods did not become Ready".into())
    }

    /// What curious clients ask for.
    pub(crate) fn look_around(&mut self) -> Outcome<()> {
        for path in ["/api/v1/pods", "/api/v1/events", "/apis", "/api/v1", "/apis/apps/v1", "/api/v1/nodes", "/api/v1/pods"] {
            self.ask("GET", path, "", "")?;
        }
        let index = self.ask("GET", "/openapi/v3", "", "")?;
        for path in index["paths"].as_object().into_iter().flatten().map(|(path, _)| path) {
            self.ask("GET", &format!("/openapi/v3/{path}"), "", "")?;
        }
        Ok(())
    }

    /// Changes a `ConfigMap` so many times.
    pub(crate) fn patch_often(&mut self, times: u32) -> Outcome<()> {
        let maps = "/api/v1/namespaces/default/configmaps";
        self.ask("POST", maps, JSON, &json!({"metadata": {"name": "often"}}).to_string())?;
        for n in 0..times {
            self.ask("PATCH", &format!("{maps}/often"), MERGE, &json!({"data": {"n": n.to_string()}}).to_string())?;
        }
        Ok(())
    }

    /// Opens watches whose events are read by a thread each and dropped. They end with the cluster.
    pub(crate) fn watch(&self, path: &str, count: usize) -> Outcome<Vec<std::thread::JoinHandle<u64>>> {
        (0..count)
            .map(|_| {
                let mut stream = connect(&self.address)?;
                send(&mut stream, "GET", path, "", "")?;
                Ok(std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()).unwrap_or(0)))
            })
            .collect()
    }

    /// Opens connections and asks for nothing. Those that the cluster closes again count too.
    pub(crate) fn crowd(&self, count: usize) -> Outcome<Vec<TcpStream>> {
        (0..count).map(|_| Ok(TcpStream::connect(&self.address)?)).collect()
    }

    /// Asks on a new connection: how long the answer takes.
    pub(crate) fn newcomer(&mut self) -> Outcome<Duration> {
        let begun = Instant::now();
        self.client = connect(&self.address)?;
        self.ask("GET", "/api/v1/namespaces/default/pods?limit=1", "", "")?;
        Ok(begun.elapsed())
    }

    /// Sends a body of so many megabytes: the status of the answer.
    pub(crate) fn upload(&self, megabytes: usize) -> Outcome<u16> {
        let mut stream = connect(&self.address)?;
        let path = "/api/v1/namespaces/default/configmaps";
        let head = format!("POST {path} HTTP/1.1\r\nHost: sim\r\nContent-Type: {JSON}\r\nContent-Length: {}\r\n\r\n", megabytes << 20);
        stream.get_mut().write_all(head.as_bytes())?;
        let piece = vec![b' '; 1 << 20];
        for _ in 0..megabytes {
            stream.get_mut().write_all(&piece)?;
        }
        let mut line = String::new();
        stream.read_line(&mut line)?;
        Ok(line.split(' ').nth(1).unwrap_or_default().parse()?)
    }
}
