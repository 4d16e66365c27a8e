use super::*;
use std::sync::atomic::{AtomicU64, Ordering};

fn spec<'a>(program: &'a Path, script: &str, marker: &str, limit_ms: u64) -> ChildSpec<'a> {
    ChildSpec {
        program,
        args: vec!["-c".into(), script.into()],
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".into()), ("MARK".to_owned(), marker.into())],
        work: "/".into(),
        launcher: None,
        markers: vec![format!("MARK={marker}")],
        time_limit: Duration::from_millis(limit_ms),
        cap: OutputCap::default(),
        warm: None,
        proxy: None,
    }
}

async fn sh(script: &str, marker: &str, limit_ms: u64) -> CommandOutcome {
    let shell = shell();
    run(&spec(&shell, script, marker, limit_ms), &Timekeeping::real(), &CancellationToken::new()).await.unwrap()
}

fn mark(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

#[tokio::test]
async fn exit_code_and_both_streams_are_kept() {
    let o = sh("echo 'a;b'; echo oops >&2; exit 3", &mark("streams"), 10_000).await;
    assert_eq!((o.finish, o.stdout.as_str(), o.stderr.as_str()), (Finish::Exited(3), "a;b\n", "oops\n"));
}

#[tokio::test]
async fn a_signal_is_told_apart() {
    assert_eq!(sh("kill -9 $$", &mark("signal"), 10_000).await.finish, Finish::Signalled(9));
}

#[tokio::test]
async fn nothing_of_our_environment_is_inherited() {
    let o = sh("env", &mark("env"), 10_000).await;
    let names: Vec<&str> = o.stdout.lines().filter_map(|l| Some(l.split_once('=')?.0)).collect();
    assert!(names.iter().all(|n| ["PATH", "MARK", "PWD", "SHLVL", "_", "OLDPWD"].contains(n)), "{names:?}");
}

#[tokio::test]
async fn the_time_limit_ends_the_group_and_those_who_left_it() {
    let m = mark("limit");
    let start = Instant::now();
    // One sleeper in the group, one in a session of its own, a leader that ignores SIGTERM.
    let o = sh("trap '' TERM; sleep 600 & setsid sleep 601 & echo started; while :; do sleep 1; done", &m, 300).await;
    assert_eq!(o.finish, Finish::TimedOut);
    assert_eq!(o.stdout, "started\n");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert_eq!(with_environment(&[format!("MARK={m}")]), Vec::<i32>::new());
}

#[tokio::test]
async fn a_background_process_does_not_hold_up_the_end() {
    let m = mark("background");
    let o = sh("sleep 600 & echo done", &m, 60_000).await;
    assert_eq!((o.finish, o.stdout.as_str()), (Finish::Exited(0), "done\n"));
    assert!(o.real_s < 5.0);
    assert_eq!(with_environment(&[format!("MARK={m}")]), Vec::<i32>::new());
}

#[tokio::test]
async fn the_cluster_clock_has_a_deadline_too() {
    let ms = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&ms);
    let time = Timekeeping { now_ms: Arc::new(move || clock.fetch_add(1000, Ordering::Relaxed)), ..Timekeeping::real() };
    let shell = shell();
    let o = run(&spec(&shell, "sleep 60", &mark("cluster"), 20_000), &time, &CancellationToken::new()).await.unwrap();
    assert_eq!(o.finish, Finish::TimedOut);
    assert!(o.real_s < 10.0 && o.cluster_s >= 20.0, "{o:?}");
}

#[tokio::test]
async fn the_clock_is_told_that_a_child_works() {
    struct Guard(Arc<AtomicU64>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_add(100, Ordering::Relaxed);
        }
    }
    let seen = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&seen);
    let working = move |_idle| -> Box<dyn Send + Sync> {
        told.fetch_add(1, Ordering::Relaxed);
        Box::new(Guard(Arc::clone(&told)))
    };
    let time = Timekeeping { working: Arc::new(working), ..Timekeeping::real() };
    let shell = shell();
    run(&spec(&shell, "true", &mark("working"), 9_000), &time, &CancellationToken::new()).await.unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), 101);
}

#[tokio::test]
async fn cancelling_kills_and_says_so() {
    let m = mark("cancel");
    let cancel = CancellationToken::new();
    let shell = shell();
    let child = spec(&shell, "sleep 60 & sleep 60", &m, 60_000);
    let time = Timekeeping::real();
    let (result, ()) = tokio::join!(run(&child, &time, &cancel), async {
        sleep(Duration::from_millis(100)).await;
        cancel.cancel();
    });
    assert!(matches!(result, Err(ChildError::Cancelled)), "{result:?}");
    assert_eq!(with_environment(&[format!("MARK={m}")]), Vec::<i32>::new());
}

#[tokio::test]
async fn a_dropped_run_leaves_nothing() {
    let m = mark("dropped");
    let shell = shell();
    let child = spec(&shell, "sleep 60 & sleep 60", &m, 60_000);
    let gave_up = timeout(Duration::from_millis(100), run(&child, &Timekeeping::real(), &CancellationToken::new())).await;
    assert!(gave_up.is_err());
    assert_eq!(with_environment(&[format!("MARK={m}")]), Vec::<i32>::new());
}

#[tokio::test]
async fn output_is_capped() {
    let shell = shell();
    let mut child = spec(&shell, "head -c 100000 /dev/zero | tr '\\0' x; echo end", "cap", 10_000);
    child.cap = OutputCap { head: 10, tail: 10 };
    let o = run(&child, &Timekeeping::real(), &CancellationToken::new()).await.unwrap();
    assert!(o.stdout.starts_with("xxxxxxxxxx\n[... 99984 bytes left out ...]\n"), "{}", o.stdout);
    assert!(o.stdout.ends_with("xxxxxxend\n"));
    assert_eq!(o.dropped_bytes, 99_984);
}

#[tokio::test]
async fn a_missing_program_is_an_error() {
    let result = run(&spec(Path::new("/no/such/program"), "", "none", 1000), &Timekeeping::real(), &CancellationToken::new()).await;
    assert!(matches!(result, Err(ChildError::Start { .. })));
}
