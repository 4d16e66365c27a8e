//! Playbooks and probe commands through the real tools, in real time.

use super::Bench;
use microremed::ansible::Finish;

#[tokio::test]
async fn every_spelling_of_the_host_runs() {
    let bench = Bench::new().await;
    let play =
        |host: &str| format!("- hosts: {host}\n  gather_facts: false\n  tasks:\n    - name: on {host}\n      debug: {{msg: hello}}\n");
    let all: String = ["k3s_control_plane", "localhost", "all", "127.0.0.1"].map(play).concat();
    let o = bench.play(&all, 60).await;
    assert_eq!(o.command.finish, Finish::Exited(0), "{o:?}");
    assert!(o.valid && o.succeeded());
    assert_eq!(o.tasks.len(), 4);
    assert_eq!(o.tasks[3].task, "on 127.0.0.1");
    assert!(o.tasks.iter().all(|t| t.status == "ok" && t.message == "hello" && t.action == "debug"), "{o:?}");
    assert!(o.command.stdout.contains("PLAY RECAP"), "{}", o.command.stdout);
    assert!(!o.command.stderr.contains("WARNING"), "{}", o.command.stderr);
}

#[tokio::test]
async fn a_host_that_is_not_there_runs_nothing_and_does_not_succeed() {
    let o = Bench::new().await.play("- hosts: elsewhere\n  tasks:\n    - debug: {msg: x}\n", 60).await;
    assert_eq!((o.command.finish, o.valid, o.succeeded()), (Finish::Exited(0), true, false), "{o:?}");
}

#[tokio::test]
async fn what_ansible_cannot_read_is_invalid() {
    let bench = Bench::new().await;
    for text in [
        "",
        "this is no playbook",
        "- hosts: all\n  tasks:\n   - debug: {msg: [}\n",
        "- hosts: all\n  tasks:\n    - no_such_module: {}\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n",
    ] {
        let o = bench.play(text, 60).await;
        assert!(!o.valid && !o.succeeded() && o.tasks.is_empty(), "{text:?}: {o:?}");
        assert!(!o.command.stderr.is_empty(), "{text:?}: {o:?}");
    }
}

#[tokio::test]
async fn a_failing_task_is_told_from_an_ignored_one() {
    let playbook = "- hosts: localhost\n  gather_facts: false\n  tasks:\n    \
        - {name: first, shell: 'echo out; echo err >&2; exit 3', ignore_errors: true}\n    \
        - {name: second, shell: 'exit 4'}\n    - {name: third, debug: {msg: never}}\n";
    let o = Bench::new().await.play(playbook, 60).await;
    assert_eq!((o.command.finish, o.valid), (Finish::Exited(2), true));
    let seen: Vec<(&str, &str)> = o.tasks.iter().map(|t| (t.task.as_str(), t.status.as_str())).collect();
    assert_eq!(seen, [("first", "ignored"), ("second", "failed")]);
    assert!(o.tasks[0].message.contains("out") && o.tasks[0].message.contains("err"), "{o:?}");
    let stats = o.stats["localhost"];
    assert_eq!((stats.ok, stats.failures, stats.ignored), (1, 1, 1));
}

#[tokio::test]
async fn the_time_limit_leaves_nothing_behind() {
    let bench = Bench::new().await;
    let playbook = "- hosts: localhost\n  gather_facts: false\n  tasks:\n    - {name: quick, debug: {msg: x}}\n    \
        - shell: 'sleep 1234 & setsid sleep 1235 & sleep 1236'\n";
    let o = bench.play(playbook, 6).await;
    assert_eq!((o.command.finish, o.valid, o.succeeded()), (Finish::TimedOut, true, false), "{o:?}");
    assert_eq!(o.tasks.len(), 1, "events before the kill are kept: {o:?}");
    let left = std::process::Command::new("ps").args(["-eo", "args"]).output().unwrap();
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    assert!(!left.lines().any(|l| ["sleep 1234", "sleep 1235", "sleep 1236"].contains(&l)), "{left}");
}

#[tokio::test]
async fn facts_become_and_the_kubernetes_collection_are_there() {
    let playbook = "- hosts: all\n  become: yes\n  tasks:\n    \
        - debug: {msg: '{{ ansible_facts.system }} {{ ansible_env.HOME }}'}\n    \
        - kubernetes.core.k8s_info: {kind: Pod, namespace: x}\n";
    let bench = Bench::new().await;
    let o = bench.play(playbook, 60).await;
    assert_eq!(o.tasks[1].message, format!("Linux {}", bench.workspace.home().display()), "{o:?}");
    // The kubeconfig is empty: what matters is that the module and its client ran.
    assert_eq!((o.tasks[2].action.as_str(), o.tasks[2].status.as_str()), ("kubernetes.core.k8s_info", "failed"));
    assert!(!o.tasks[2].message.contains("Failed to import"), "{o:?}");
}

#[tokio::test]
async fn children_see_no_secrets() {
    let o = Bench::new().await.command("env | cut -d= -f1 | sort | tr '\\n' ' '", 60).await;
    assert_eq!(
        o.stdout,
        "ANSIBLE_CONFIG HOME K8S_AUTH_KUBECONFIG KUBECONFIG LANG LC_ALL OLDPWD PATH PWD SHLVL TMPDIR _ ".replace("OLDPWD ", "")
    );
}

#[tokio::test]
async fn a_command_line_reaches_the_shell_as_written() {
    let line = r#"for i in 1 2; do echo "a;b $i" | awk '{print $2; print "x;y"}'; done; echo 'q"r'"#;
    let o = Bench::new().await.command(line, 60).await;
    assert_eq!(o.stdout, "1\nx;y\n2\nx;y\nq\"r\n");
}

#[tokio::test]
async fn a_flood_of_output_is_capped() {
    let o = Bench::new().await.command("seq 100000", 60).await;
    assert!(o.stdout.len() < 41_000 && o.dropped_bytes > 500_000, "{}", o.stdout.len());
    assert!(o.stdout.starts_with("1\n2\n") && o.stdout.ends_with("\n100000\n"));
}
