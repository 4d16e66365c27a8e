//! Clients that are slow, silent or too many.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::crowd::many_files;
use super::tests::MERGE;
use crate::sim::config::SimConfig;
use crate::sim::connections::Limits;
use crate::sim::server::Sim;

/// Long enough for a crowded machine.
const PATIENCE: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_mins(10);

fn start(limits: Limits) -> (Sim, String) {
    let sim = Sim::start_within(SimConfig::default(), limits).unwrap();
    let address = sim.url().trim_start_matches("http://").to_owned();
    (sim, address)
}

fn patient() -> Limits {
    Limits { open: 1000, head: LONG, idle: LONG, unread: LONG }
}

async fn connect(address: &str) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Sends a request on a connection of its own and gives the whole answer.
async fn ask(address: &str, method: &str, path: &str, kind: &str, body: &str) -> String {
    let mut stream = connect(address).await;
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("no answer").unwrap();
    answer
}

/// How long it takes until the server closes a connection; what it sends before is read.
async fn closed(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    let mut piece = vec![0; 1 << 16];
    timeout(PATIENCE, async { while stream.read(&mut piece).await.is_ok_and(|n| n > 0) {} }).await.expect("the connection stays open");
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_trickles_in_is_not_waited_for() {
    let (_sim, address) = start(Limits { head: Duration::from_millis(300), ..patient() });
    let (mut slow, mut silent) = (connect(&address).await, connect(&address).await);
    let trickle = async {
        for piece in "GET /healthz HTTP/1.1\r\nHost: sim\r\nX-Slow: ".bytes().chain(std::iter::repeat(b'x')).take(10_000) {
            if slow.write_all(&[piece]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, trickle).await.expect("the connection stays open");
    assert!(ask(&address, "GET", "/healthz", "", "").await.starts_with("HTTP/1.1 200"));
    // One on which nothing has begun may stay, and ask later.
    silent.write_all(b"GET /healthz HTTP/1.1\r\nHost: sim\r\n\r\n").await.unwrap();
    let mut piece = [0; 12];
    timeout(PATIENCE, silent.read_exact(&mut piece)).await.unwrap().unwrap();
    assert_eq!(&piece, b"HTTP/1.1 200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_ends_a_connection_and_not_a_watch() {
    let (_sim, address) = start(Limits { idle: Duration::from_millis(300), ..patient() });
    let (mut idle, mut watch) = (connect(&address).await, connect(&address).await);
    watch.write_all(b"GET /api/v1/namespaces/default/configmaps?watch=true&resourceVersion=0 HTTP/1.1\r\nHost: sim\r\n\r\n").await.unwrap();
    closed(&mut idle).await;
    sleep(Duration::from_secs(1)).await;
    ask(&address, "POST", "/api/v1/namespaces/default/configmaps", "application/json", "{\"metadata\":{\"name\":\"late\"}}").await;
    let mut seen = String::new();
    while !seen.contains("\"late\"") {
        let mut piece = vec![0; 4096];
        let n = timeout(PATIENCE, watch.read(&mut piece)).await.unwrap().unwrap();
        assert!(n > 0, "the watch was closed");
        seen.push_str(&String::from_utf8_lossy(&piece[..n]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_nobody_reads_is_dropped() {
    let (sim, address) = start(Limits { unread: Duration::from_millis(500), ..patient() });
    let maps = "/api/v1/namespaces/default/configmaps";
    ask(&address, "POST", maps, "application/json", "{\"metadata\":{\"name\":\"big\"}}").await;
    let (mut dead, mut alive) = (connect(&address).await, connect(&address).await);
    for stream in [&mut dead, &mut alive] {
        stream.write_all(format!("GET {maps}?watch=true HTTP/1.1\r\nHost: sim\r\n\r\n").as_bytes()).await.unwrap();
    }
    // More than sockets take: writes to the one that does not read stop.
    let reading = tokio::spawn(async move {
        let mut total = 0;
        let mut piece = vec![0; 1 << 16];
        while let Ok(n) = alive.read(&mut piece).await
            && n > 0
        {
            total += n;
            if String::from_utf8_lossy(&piece[..n]).contains("the-last-one") {
                return total;
            }
        }
        0
    });
    let filling = "x".repeat(500_000);
    for n in 0..40 {
        ask(&address, "PATCH", &format!("{maps}/big"), MERGE, &json!({"data": {"n": n.to_string(), "x": filling}}).to_string()).await;
    }
    sleep(Duration::from_secs(2)).await;
    ask(&address, "PATCH", &format!("{maps}/big"), MERGE, "{\"data\":{\"x\":\"the-last-one\"}}").await;
    assert!(timeout(PATIENCE, reading).await.unwrap().unwrap() > 40 * 500_000, "a client that reads is told everything");
    // What had been sent can still be read, and then it is over.
    let mut got = Vec::new();
    let _reset = timeout(PATIENCE, dead.read_to_end(&mut got)).await.expect("the connection stays open");
    assert!(!String::from_utf8_lossy(&got).contains("the-last-one"));
    drop(sim);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_make_room_for_others() {
    many_files();
    let (_sim, address) = start(Limits { open: 300, ..patient() });
    let mut watch = connect(&address).await;
    watch.write_all(b"GET /api/v1/namespaces/default/configmaps?watch=true HTTP/1.1\r\nHost: sim\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    timeout(PATIENCE, watch.read_exact(&mut head)).await.unwrap().unwrap();
    let mut crowd = Vec::new();
    for _ in 0..2000 {
        crowd.push(connect(&address).await);
    }
    assert!(ask(&address, "GET", "/healthz", "", "").await.starts_with("HTTP/1.1 200"));
    sleep(Duration::from_millis(300)).await;
    let mut open = 0;
    for stream in &mut crowd {
        let mut piece = [0; 1];
        open += usize::from(timeout(Duration::from_millis(1), stream.read(&mut piece)).await.is_err());
    }
    assert!((100..=300).contains(&open), "{open} are open");
    ask(&address, "POST", "/api/v1/namespaces/default/configmaps", "application/json", "{\"metadata\":{\"name\":\"late\"}}").await;
    let mut piece = vec![0; 1 << 16];
    let mut seen = String::new();
    while !seen.contains("\"late\"") {
        let n = timeout(PATIENCE, watch.read(&mut piece)).await.unwrap().unwrap();
        assert!(n > 0, "the watch was closed");
        seen.push_str(&String::from_utf8_lossy(&piece[..n]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_are_too_large_and_clients_are_told_so() {
    let (_sim, address) = start(patient());
    let head =
        "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: sim\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let megabyte = vec![b' '; 1 << 20];
    for chunked in [false, true] {
        let mut stream = connect(&address).await;
        let length = if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {}", 100 << 20) };
        stream.write_all(format!("{head}{length}\r\n\r\n").as_bytes()).await.unwrap();
        for _ in 0..100 {
            if chunked {
                stream.write_all(b"100000\r\n").await.unwrap();
            }
            stream.write_all(&megabyte).await.unwrap();
            if chunked {
                stream.write_all(b"\r\n").await.unwrap();
            }
        }
        if chunked {
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("no answer").unwrap();
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(answer.contains("\"reason\":\"RequestEntityTooLarge\"") && answer.contains("limit is 3145728"), "{answer}");
    }
    // Whoever asks first need not send it.
    let mut stream = connect(&address).await;
    stream.write_all(format!("{head}Content-Length: {}\r\nExpect: 100-continue\r\n\r\n", 100 << 20).as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("no answer").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}
