//! A cluster stays small, whatever is asked of it and however long it lives.

#[path = "../support/cluster_process.rs"]
mod cluster_process;

use cluster_process::ClusterProcess;

/// Of the 60 MiB that a cluster with 100 pods may take, some 20 are pages of the optimised program's file, which other
/// processes share. A program built for tests has a larger file; its own data are the same.
const OWN_DATA_MAX_MIB: f64 = 40.0;

#[test]
fn a_hundred_pods_stay_small() {
    let mut cluster = ClusterProcess::start(env!("CARGO_BIN_EXE_microremed")).unwrap();
    cluster.deploy(100).unwrap();
    let _watches = cluster.watch("/api/v1/pods?watch=true", 10).unwrap();
    cluster.look_around().unwrap();
    cluster.patch_often(2_000).unwrap();
    let (_, own) = cluster.memory().unwrap();
    assert!(own < OWN_DATA_MAX_MIB, "{own:.1} MiB");
    // Roll-outs leave events behind, for an hour of the cluster's time, and the past of all those pods.
    for round in 0..3 {
        cluster.roll_out(100, round).unwrap();
    }
    let (_, own) = cluster.memory().unwrap();
    assert!(own < OWN_DATA_MAX_MIB, "{own:.1} MiB");
    // Nor does a body that is too large stay.
    assert_eq!(cluster.upload(100).unwrap(), 413);
    let (_, after) = cluster.memory().unwrap();
    assert!(after < own + 8.0, "{own:.1} MiB, then {after:.1} MiB");
    // A crowd that asks for nothing takes nobody's place, and does not stay.
    let crowd = cluster.crowd(700).unwrap();
    assert!(cluster.newcomer().unwrap().as_secs() < 10);
    drop(crowd);
}
