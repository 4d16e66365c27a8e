use std::time::Duration;

use crate::sim::controllers::kinds::PODS;
use crate::sim::controllers::object;
use crate::sim::controllers::tests::{deploy, pods, world};

#[test]
fn metrics_appear_with_the_first_scrape() {
    let mut w = world();
    deploy(&mut w, "web", 1);
    w.advance_to(w.now.after(Duration::from_secs(5)));
    let (key, pod) = pods(&w, "web").remove(0);
    assert!(object::ready(&pod));
    assert_eq!(key.resource, *PODS);
    assert_eq!(super::metrics(&w, &key), None);
    w.advance_to(w.now.after(Duration::from_secs(15)));
    let m = super::metrics(&w, &key).unwrap();
    assert_eq!(m.containers.len(), 2);
    assert!(m.containers[0].2 > 1 << 20, "{m:?}");
    assert!(super::node_metrics(&w, "node-1").is_some());
}
