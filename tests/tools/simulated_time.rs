//! Waits inside children take the cluster's time: quick in reality, and as long as they should be in the results.

use std::time::Duration;

use super::Bench;
use super::fake_clock::FakeClock;
use microremed::ansible::{CommandOutcome, Finish, PlaybookOutcome};

async fn bench() -> (Bench, FakeClock) {
    let clock = FakeClock::start();
    let bench = Bench { time: clock.timekeeping(), ..Bench::new().await };
    (bench, clock)
}

fn tasks(lines: &str) -> String {
    format!("- hosts: localhost\n  gather_facts: false\n  tasks:\n{lines}")
}

#[track_caller]
fn took(o: &CommandOutcome, cluster_s: std::ops::Range<f64>) {
    // The fake clock moves only when somebody asks it to, so this also says that nothing slept in real time. Real time
    // itself is no measure on a crowded machine.
    assert!(cluster_s.contains(&o.cluster_s), "{o:?}");
}

#[track_caller]
fn all_ok(o: &PlaybookOutcome) {
    assert_eq!(o.command.finish, Finish::Exited(0), "{o:?}");
}

#[tokio::test]
async fn pause_wait_for_and_sleep_skip() {
    let (bench, _clock) = bench().await;
    let o = bench
        .play(
            &tasks(
                "    - pause: {seconds: 300}\n      register: p\n    - wait_for: {timeout: 250}\n      register: w\n    \
                 - shell: sleep 200\n      register: s\n    \
                 - debug: {msg: 'p={{ p.delta }} w={{ w.elapsed }} s={{ s.rc }}'}\n",
            ),
            1000,
        )
        .await;
    all_ok(&o);
    took(&o.command, 750.0..755.0);
    assert_eq!(o.tasks[3].message, "p=300 w=250 s=0", "{o:?}");
}

#[tokio::test]
async fn loops_that_measure_their_own_time_out_end_in_time() {
    let (bench, _clock) = bench().await;
    let o = bench
        .play(
            &tasks(
                "    - wait_for: {port: 9, host: 127.0.0.1, timeout: 40}\n      register: w\n      ignore_errors: true\n    \
                 - shell: exit 1\n      register: r\n      until: r.rc == 0\n      retries: 4\n      delay: 60\n      ignore_errors: true\n    \
                 - debug: {msg: 'w={{ w.elapsed }} r={{ r.attempts }}'}\n",
            ),
            1000,
        )
        .await;
    all_ok(&o);
    took(&o.command, 220.0..290.0);
    assert!(["w=40 r=4", "w=41 r=4"].contains(&o.tasks[2].message.as_str()), "{o:?}");
}

#[tokio::test]
async fn asynchronous_tasks_are_polled_in_the_cluster_time() {
    let (bench, _clock) = bench().await;
    let o = bench.play(&tasks("    - shell: sleep 300 && echo done\n      async: 600\n      poll: 50\n"), 1000).await;
    all_ok(&o);
    assert_eq!(o.tasks[0].message, "done");
    took(&o.command, 300.0..360.0);
}

#[tokio::test]
async fn the_time_limit_is_the_cluster_s() {
    let (bench, _clock) = bench().await;
    let o = bench.play(&tasks("    - shell: sleep 100000\n"), 100).await;
    assert_eq!(o.command.finish, Finish::TimedOut);
    took(&o.command, 100.0..161.0);
}

#[tokio::test]
async fn sleepers_side_by_side_share_the_time() {
    let (bench, _clock) = bench().await;
    let o = bench
        .command("sleep 20 & sleep 30 & python -c 'import time; a=time.time(); time.sleep(25); print(round(time.time()-a))' & wait", 300);
    let o = o.await;
    assert_eq!(o.stdout, "25\n", "{o:?}");
    took(&o, 30.0..31.0);
}

#[tokio::test]
async fn threads_of_one_process_share_the_time_too() {
    let (bench, _clock) = bench().await;
    let script = "import threading, time, datetime\n\
        a, b = time.monotonic(), datetime.datetime.now()\n\
        t = [threading.Thread(target=time.sleep, args=(20,)) for _ in range(3)]\n\
        [x.start() for x in t]; [x.join() for x in t]\n\
        print(round(time.monotonic() - a), round((datetime.datetime.now() - b).total_seconds()))\n";
    let o = bench.command(&format!("python -c '{script}'"), 300).await;
    assert_eq!(o.stdout, "20 20\n", "{o:?}");
}

#[tokio::test]
async fn computing_between_sleeps_is_no_waiting() {
    let (bench, _clock) = bench().await;
    let script = "import time\n\
        start, rounds = time.time(), 0\n\
        while time.time() - start < 20:\n    \
            until = time.process_time() + 0.3\n    \
            while time.process_time() < until: pass\n    \
            time.sleep(2); rounds += 1\n\
        print(rounds, round(time.time() - start))\n";
    let o = bench.command(&format!("python -c '{script}'"), 300).await;
    assert_eq!(o.stdout, "10 20\n", "{o:?}");
}

#[tokio::test]
async fn timeout_is_the_cluster_s() {
    let (bench, clock) = bench().await;
    let o = bench.command("timeout 20 sleep 50; echo $?; timeout 50 sh -c 'sleep 5; exit 7'; echo $?", 300).await;
    assert_eq!(o.stdout, "124\n7\n", "{o:?}");
    took(&o, 25.0..26.0);
    assert!(clock.asked().iter().all(|ms| *ms <= 30_000), "{:?}", clock.asked());
    let o = bench.command("timeout -k 5 10 sh -c 'trap : TERM; while :; do sleep 1; done'; echo $?", 300).await;
    assert_eq!(o.stdout, "137\n", "{o:?}");
    let o = bench.command("timeout 5 no-such-program; echo $?", 300).await;
    assert_eq!(o.stdout, "127\n", "{o:?}");
}

#[tokio::test]
async fn a_shim_ends_with_its_child_and_hands_signals_on() {
    let (bench, _clock) = bench().await;
    let o = bench.command("timeout 100 sleep 50 & pid=$!; /bin/sleep 0.3; kill $pid; wait $pid; echo $?", 300).await;
    assert_eq!(o.finish, Finish::Exited(0), "{o:?}");
    assert!(o.stdout == "143\n" || o.cluster_s >= 50.0, "{o:?}");
}

#[tokio::test]
async fn without_a_cluster_s_clock_the_real_programs_run() {
    let o = Bench::new().await.command("sleep 0.2; timeout 0.2 sleep 5; echo $?; sudo -n -u root sh -c 'echo hi'", 60).await;
    assert_eq!(o.stdout, "124\nhi\n", "{o:?}");
    assert!(o.real_s >= Duration::from_millis(400).as_secs_f64(), "{o:?}");
}
