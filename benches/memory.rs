//! How much memory a cluster takes: the built program's `cluster up`, a process of its own.
//!
//! `cargo bench --bench memory` prints what is resident after each step, and how much of it is the program's own data (the rest
//! are pages of the program's file). The numbers of docs/performance.md come from here.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../tests/support/cluster_process.rs"]
mod cluster_process;

use cluster_process::{ClusterProcess, Outcome};

fn main() -> Outcome<()> {
    // `cargo bench` adds `--bench`, `cargo test --benches` does not: then there is nothing to measure.
    if !std::env::args().any(|a| a == "--bench") {
        return Ok(());
    }
    let mut cluster = ClusterProcess::start(env!("CARGO_BIN_EXE_microremed"))?;
    let tell = |what: &str, cluster: &ClusterProcess| -> Outcome<()> {
        let (resident, own) = cluster.memory()?;
        println!("{what:<44} {resident:>6.1} MiB, its own data {own:>6.1} MiB");
        Ok(())
    };
    tell("started", &cluster)?;
    cluster.deploy(100)?;
    tell("100 pods Ready", &cluster)?;
    let watches = cluster.watch("/api/v1/pods?watch=true", 20)?;
    cluster.look_around()?;
    tell("... 20 watches, lists, OpenAPI documents", &cluster)?;
    for round in 0..5 {
        cluster.roll_out(100, round)?;
    }
    tell("... five roll-outs of all pods", &cluster)?;
    cluster.patch_often(20_000)?;
    tell("... 20,000 changes of a ConfigMap", &cluster)?;
    let code = cluster.upload(100)?;
    tell(&format!("... a body of 100 MB ({code})"), &cluster)?;
    let crowd = cluster.crowd(10_000)?;
    let took = cluster.newcomer()?;
    tell("... 10,000 connections without a request", &cluster)?;
    println!("a newcomer among them was answered in {:.1} ms", took.as_secs_f64() * 1000.0);
    drop((crowd, watches));
    Ok(())
}
