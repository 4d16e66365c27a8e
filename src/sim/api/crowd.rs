//! Many clients at once.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::tests::{Client, MERGE};

const WATCHES: usize = 1000;
/// A program built for tests on a crowded machine takes a tenth of it.
const LIMIT: Duration = Duration::from_secs(20);

/// Two files for each connection, both ends being in this process.
pub(super) fn many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

async fn watch(address: &str, query: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("GET /api/v1/namespaces/demo/configmaps?watch=true{query} HTTP/1.1\r\nHost: sim\r\nAuthorization: Bearer t1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    BufReader::new(stream)
}

/// The line that tells of `text`.
async fn told(watch: &mut BufReader<TcpStream>, text: &str) -> String {
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert!(watch.read_line(&mut line).await.unwrap() > 0, "a watch ended");
    }
    line
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_watches_are_told_of_a_change_soon() {
    many_files();
    let c = Client::start().await;
    let address = c.sim.url().trim_start_matches("http://").to_owned();
    c.post("/api/v1/namespaces/demo/configmaps", &json!({"metadata": {"name": "one", "labels": {"a": "b"}}})).await;
    let mut watches = Vec::new();
    for n in 0..WATCHES {
        // Some select what they want to hear of: the text is the same.
        watches.push(watch(&address, if n % 10 == 0 { "&labelSelector=a%3Db" } else { "" }).await);
    }
    for w in &mut watches {
        told(w, "\"name\":\"one\"").await;
    }
    let begun = Instant::now();
    c.patch("/api/v1/namespaces/demo/configmaps/one", MERGE, &json!({"data": {"n": "1"}})).await;
    let mut texts = std::collections::BTreeSet::new();
    for w in &mut watches {
        texts.insert(tokio::time::timeout(LIMIT, told(w, "\"n\":\"1\"")).await.expect("a watch was not told"));
    }
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    let [text] = &*texts.into_iter().collect::<Vec<_>>() else { panic!("they were told different things") };
    assert!(text.starts_with("{\"type\":\"MODIFIED\",\"object\":{"), "{text}");
    // Somebody else's changes wake none of them: the revision up to which they have been told counts for the clock all the same.
    c.post("/api/v1/namespaces/demo/secrets", &json!({"metadata": {"name": "other"}})).await;
    let again = c.patch("/api/v1/namespaces/demo/configmaps/one", MERGE, &json!({"data": {"n": "2"}})).await.1;
    for w in watches.iter_mut().step_by(100) {
        let line = tokio::time::timeout(LIMIT, told(w, "\"n\":\"2\"")).await.expect("a watch was not told");
        assert!(line.contains(again["metadata"]["resourceVersion"].as_str().unwrap()));
    }
}

#[tokio::test]
async fn a_watch_from_long_ago_is_told_everything_in_order() {
    let c = Client::start().await;
    let address = c.sim.url().trim_start_matches("http://").to_owned();
    let made = c.post("/api/v1/namespaces/demo/configmaps", &json!({"metadata": {"name": "one"}})).await.1;
    for n in 0..900 {
        c.patch("/api/v1/namespaces/demo/configmaps/one", MERGE, &json!({"data": {"n": n.to_string()}})).await;
    }
    let from = made["metadata"]["resourceVersion"].as_str().unwrap();
    let mut w = watch(&address, &format!("&resourceVersion={from}")).await;
    for n in 0..900 {
        let mut line = String::new();
        while !line.starts_with('{') {
            line.clear();
            tokio::time::timeout(LIMIT, w.read_line(&mut line)).await.unwrap().unwrap();
        }
        // Several lines may come in one chunk of the answer, whose length stands on a line of its own.
        assert!(line.contains(&format!("\"n\":\"{n}\"")), "{n}: {line}");
    }
}
