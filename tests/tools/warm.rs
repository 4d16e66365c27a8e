//! Forks of warm interpreters and a new Ansible for each playbook: the same results.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use microremed::ansible::sandbox::{Confinement, Limits, detect};
use microremed::ansible::{Machine, PlaybookOutcome, Rules, Timekeeping, Warm, Workspace, WorkspaceSpec};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Playbooks {
    playbook: Vec<Playbook>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Playbook {
    name: String,
    text: String,
}

/// What differs from one run to the next whatever one does: the folder, names of temporary files, process ids, times.
fn settled(outcome: &PlaybookOutcome, folder: &Path) -> String {
    let text = format!("{:#?}\n{}\n{}\n{:#?}", outcome.command.finish, outcome.command.stdout, outcome.command.stderr, outcome.tasks);
    let text = text.replace(folder.to_str().unwrap(), "FOLDER");
    let random = regex::Regex::new(
        r"ansible-tmp-[0-9.]+-[0-9]+-[0-9]+|ansible-local-\w+|\.ansible_tmp\w+|0x[0-9a-f]+|ansible_\w+_payload_\w+|\bj[0-9]+\.[0-9]+|playbook-[0-9]+|[0-9]+-[0-9]+-[0-9]+ [0-9:.]+|[0-9]:[0-9]+:[0-9.]+",
    );
    random.unwrap().replace_all(&text, "RANDOM").into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_gives_what_a_new_start_gives() {
    let tools = super::tools().await;
    let program = || PathBuf::from(env!("CARGO_BIN_EXE_microremed"));
    let layers = detect(&program(), &std::env::temp_dir()).layers;
    if !layers.namespaces {
        // Then every playbook is started anew.
        return;
    }
    let warm = Warm::begin(tools.clone(), false, std::env::temp_dir());
    let folder = tempfile::tempdir().unwrap();
    let workspace = |name: &str, warm: Option<Warm>| {
        let mut spec = WorkspaceSpec::plain(folder.path().join(name), "apiVersion: v1\nkind: Config\n".to_owned(), "k3s_control_plane");
        spec.shim_program = Some(program());
        spec.sandbox = Some(Confinement { layers, limits: Limits::default(), program: program() });
        spec.machine = warm.clone().map(|warm| {
            let place = folder.path().join("place");
            std::fs::create_dir_all(&place).unwrap();
            Machine::begin(tools.clone(), warm, spec.sandbox.clone().unwrap(), place, CancellationToken::new())
        });
        spec.warm = warm;
        Workspace::create(spec, &tools).unwrap()
    };
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/same.toml")).unwrap();
    let playbooks = toml::from_str::<Playbooks>(&text).unwrap().playbook;
    let (anew, forked) = (workspace("anew", None), workspace("forked", Some(warm)));
    let (time, cancel) = (Timekeeping::real(), CancellationToken::new());
    let mut took = [0.0, 0.0];
    for playbook in &playbooks {
        let mut seen = Vec::new();
        for (n, (workspace, name)) in [(&anew, "anew"), (&forked, "forked")].into_iter().enumerate() {
            let limit = Duration::from_mins(3);
            let begun = Instant::now();
            let outcome = workspace.run_playbook(&tools, &playbook.text, &Rules::default(), limit, &time, &cancel).await.unwrap();
            took[n] += begun.elapsed().as_secs_f64();
            seen.push(settled(&outcome, &folder.path().join(name)));
        }
        assert!(seen[0] == seen[1], "{}: anew\n{}\nforked\n{}", playbook.name, seen[0], seen[1]);
    }
    assert!(playbooks.len() >= 8);
    // Once what stays the same of this machine is known, facts are the same still; and it is what is known that is told.
    let known = folder.path().join("place/machine.json");
    let until = Instant::now() + Duration::from_mins(2);
    while !known.exists() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let facts = "- hosts: all\n  tasks:\n    - debug:\n        msg: \"{{ [ansible_processor, ansible_devices, ansible_distribution, ansible_lsb, ansible_facts.keys() | sort] | to_json }}\"\n";
    let mut told = Vec::new();
    for (workspace, name) in [(&anew, "anew"), (&forked, "forked")] {
        let outcome = workspace.run_playbook(&tools, facts, &Rules::default(), Duration::from_mins(3), &time, &cancel).await.unwrap();
        told.push(settled(&outcome, &folder.path().join(name)));
    }
    assert!(told[0] == told[1], "anew\n{}\nforked\n{}", told[0], told[1]);
    let text = std::fs::read_to_string(&known).unwrap();
    let mut all: serde_json::Value = serde_json::from_str(&text).unwrap();
    all["DistributionFactCollector.collect"]["distribution"] = "Known".into();
    std::fs::write(&known, all.to_string()).unwrap();
    let outcome = forked.run_playbook(&tools, facts, &Rules::default(), Duration::from_mins(3), &time, &cancel).await.unwrap();
    assert!(outcome.command.stdout.contains("Known"), "{outcome:?}");
    // Without forks this test would compare a thing with itself: modules are children of what the interpreters' file names,
    // also one that is too long for a packet.
    let parent = format!(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - shell:\n        cmd: cat > /dev/null; tr '\\0' ' ' < /proc/$PPID/cmdline\n        stdin: {}\n",
        "x".repeat(400_000)
    );
    for (workspace, wanted) in [(&anew, false), (&forked, true)] {
        let outcome = workspace.run_playbook(&tools, &parent, &Rules::default(), Duration::from_mins(3), &time, &cancel).await.unwrap();
        assert!(outcome.succeeded(), "{outcome:?}");
        assert_eq!(outcome.tasks[0].message.contains("microremed_warm.py"), wanted, "{}", outcome.tasks[0].message);
    }
    assert!(took[1] < took[0], "anew {:.1} s, forked {:.1} s", took[0], took[1]);
}
