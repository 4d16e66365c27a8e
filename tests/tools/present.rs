//! What clients that look at a clock of their own take for the present.

use microremed::ansible::Timekeeping;
use microremed::sim::{Sim, SimConfig};

use super::{Bench, Duration};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ages_and_dates_are_the_clusters() {
    let sim = Sim::start(SimConfig { doors: vec!["agent".to_owned()], ..SimConfig::default() }).await.unwrap();
    let mut bench = Bench::with(&sim.kubeconfig_of("agent")).await;
    bench.time = Timekeeping { environment: vec![("SIM_CLOCK".to_owned(), sim.clock_url())], ..Timekeeping::real() };
    let o = bench.command("kubectl create deployment web --image=nginx && date -u +%Y-%m-%dT%H:%M:%S", 60).await;
    let (_, created) = o.stdout.trim().rsplit_once('\n').unwrap();
    assert!(created.starts_with("2026-01-01T00:00:0"), "{o:?}");
    sim.engine().charge(Duration::from_secs(200));
    let described = bench.command("kubectl describe pod -l app=web", 60).await.stdout;
    let line =
        |start: &str| described.lines().find(|l| l.trim_start().starts_with(start)).unwrap_or_else(|| panic!("{described}")).to_owned();
    assert!(line("Start Time:").contains("Thu, 01 Jan 2026 00:00:0"), "{described}");
    assert!(line("Normal  Scheduled").contains(" 3m2"), "{described}");
    let events = bench.command("kubectl events --for deployment/web", 60).await.stdout;
    assert!(events.contains("3m2"), "{events}");
    sim.shutdown().await;
}
