//! Scripts against a made-up container.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use super::files::Files;
use super::*;

/// A container whose answers are fixed and whose time passes only by sleeping.
pub(super) struct Fake {
    family: &'static str,
    programs: Vec<String>,
    files: Mutex<Files>,
    now: Arc<Mutex<jiff::Timestamp>>,
    /// Round-trip times of pings in turn; `None` is lost.
    pings: Mutex<Vec<Option<u64>>>,
    disk: Result<Duration, &'static str>,
    killed: Mutex<Vec<(u32, i32)>>,
}

impl Fake {
    pub(super) fn new(family: &'static str) -> Self {
        Self {
            family,
            programs: Vec::new(),
            files: Mutex::new(Files::for_image(family)),
            now: Arc::new(Mutex::new("2026-03-04T05:06:07.089Z".parse().unwrap())),
            pings: Mutex::new(Vec::new()),
            disk: Ok(Duration::ZERO),
            killed: Mutex::new(Vec::new()),
        }
    }
}

impl Host for Fake {
    fn family(&self) -> String {
        self.family.to_owned()
    }
    fn programs(&self) -> Vec<String> {
        self.programs.clone()
    }
    fn environment(&self) -> Vec<(String, String)> {
        vec![
            ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("HOME".to_owned(), "/root".to_owned()),
            ("DB_HOST".to_owned(), "db".to_owned()),
        ]
    }
    fn hostname(&self) -> String {
        "web-5d-x7".to_owned()
    }
    fn node(&self) -> String {
        "node-1".to_owned()
    }
    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 244, 1, 5)
    }
    fn workdir(&self) -> String {
        "/tmp".to_owned()
    }
    fn now(&self) -> jiff::Timestamp {
        *self.now.lock().unwrap()
    }
    fn sleep(&self, d: Duration) -> Pending<()> {
        let now = Arc::clone(&self.now);
        Box::pin(async move {
            let mut now = now.lock().unwrap();
            *now = now.checked_add(jiff::SignedDuration::try_from(d).unwrap()).unwrap();
        })
    }
    fn uniform(&self) -> f64 {
        0.5
    }
    fn with_files<T>(&self, f: impl FnOnce(&mut Files) -> T) -> T {
        f(&mut self.files.lock().unwrap())
    }
    fn processes(&self) -> Vec<ProcessInfo> {
        let process = |pid, args: &[&str], cpu| ProcessInfo {
            pid,
            parent: u32::from(pid != 1),
            user: "root".to_owned(),
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            cpu,
            memory: 64 << 20,
            age: Duration::from_secs(3661),
        };
        vec![process(1, &["/app/server", "--port=80"], 0.02), process(40, &["stress-ng", "--cpu", "1"], 1.0)]
    }
    fn kill(&self, pid: u32, signal: i32) -> bool {
        self.killed.lock().unwrap().push((pid, signal));
        matches!(pid, 1 | 40)
    }
    fn limits(&self) -> (Option<f64>, Option<u64>) {
        (Some(0.5), Some(256 << 20))
    }
    fn usage(&self) -> (f64, u64) {
        (1.02, 128 << 20)
    }
    fn resolve(&self, name: &str) -> Result<Ipv4Addr, ResolveError> {
        match name {
            "db" | "db.default.svc.cluster.local" => Ok(Ipv4Addr::new(10, 96, 7, 7)),
            "slow" => Err(ResolveError::NoAnswer),
            _ => Err(ResolveError::NoSuchName),
        }
    }
    fn ping(&self, _: Ipv4Addr) -> Ping {
        let mut pings = self.pings.lock().unwrap();
        let next = if pings.is_empty() { Some(250) } else { pings.remove(0) };
        next.map_or(Ping::Lost, |us| Ping::Reply(Duration::from_micros(us)))
    }
    fn connect(&self, _: Ipv4Addr, port: u16, timeout: Duration) -> Result<Duration, ConnectError> {
        match port {
            80 => Ok(Duration::from_millis(2)),
            81 => Err(ConnectError::Refused(Duration::from_millis(1))),
            _ => Err(ConnectError::TimedOut(timeout)),
        }
    }
    fn http(&self, call: &HttpCall) -> Result<HttpAnswer, ConnectError> {
        self.connect(call.address, call.port, call.timeout)?;
        let status = if call.path == "/missing" { 404 } else { 200 };
        Ok(HttpAnswer { status, body: format!("{} {}\n", call.method, call.path).into_bytes(), took: Duration::from_millis(12) })
    }
    fn disk(&self, path: &str, bytes: u64, _: u32, _: bool) -> Result<Duration, &'static str> {
        if path.starts_with("/data") && bytes > 0 { self.disk } else { Ok(Duration::ZERO) }
    }
}

/// Runs a command line; returns standard output, standard error and how it ended.
pub(super) async fn exec(host: &Arc<Fake>, argv: &[&str], input: &[u8]) -> (String, String, Exit) {
    let (to_shell, stdin) = mpsc::channel(4);
    let (out, mut from_shell) = mpsc::channel(64);
    to_shell.send(input.to_vec()).await.unwrap();
    drop(to_shell);
    let collect = async {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(piece) = from_shell.recv().await {
            match piece {
                Output::Stdout(bytes) => stdout.extend(bytes),
                Output::Stderr(bytes) => stderr.extend(bytes),
            }
        }
        (stdout, stderr)
    };
    let argv = argv.iter().map(|a| (*a).to_owned()).collect();
    let (exit, (stdout, stderr)) = tokio::join!(run(Arc::clone(host), argv, stdin, out), collect);
    (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned(), exit)
}

/// Runs a script in a family's shell; both outputs and the code as one text.
async fn script(host: &Arc<Fake>, text: &str) -> String {
    let (stdout, stderr, exit) = exec(host, &["sh", "-c", text], b"").await;
    let mut all = stdout;
    if !stderr.is_empty() {
        all += &format!("[{stderr}]");
    }
    if exit != Exit::Code(0) {
        all += &format!("{exit:?}");
    }
    all
}

async fn check(family: &'static str, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let host = Arc::new(Fake::new(family));
        assert_eq!(script(&host, text).await, *expected, "{text}");
    }
}

#[tokio::test]
async fn the_language() {
    check(
        "debian-slim",
        &[
            ("echo a  b 'c  d' \"e$((1+2))\"", "a b c  d e3\n"),
            ("x=5; y=$x$x; echo ${y} ${#y} ${z:-none} ${x:+set}", "55 2 none set\n"),
            ("f=/a/b.tar.gz; echo ${f##*/} ${f%.*} ${f%%.*} ${f#/a}", "b.tar.gz /a/b.tar /a/b /b.tar.gz\n"),
            ("for i in 1 2 3; do if [ $i -eq 2 ]; then continue; fi; echo $i; done", "1\n3\n"),
            ("i=0; while [ $i -lt 3 ]; do i=$((i+1)); done; echo $i", "3\n"),
            ("until false; do echo x; break; done", "x\n"),
            ("case abc in x) echo 1;; a*|b) echo 2;; esac", "2\n"),
            ("f() { local v=$1; echo \"<$v>\"; return 3; }; f q; echo $?", "<q>\n3\n"),
            ("echo `echo a; echo b`", "a b\n"),
            ("echo \"$(printf 'a\\nb\\n')\"", "a\nb\n"),
            ("set -- a 'b c'; for x in \"$@\"; do echo [$x]; done; echo $#", "[a]\n[b c]\n2\n"),
            ("(cd /etc; pwd); pwd", "/etc\n/tmp\n"),
            ("false && echo a || echo b; ! true; echo $?", "b\n1\n"),
            ("set -e; false; echo never", "Code(1)"),
            ("set -e; if false; then :; fi; false || true; echo on", "on\n"),
            ("set -u; echo $nope", "[sh: 1: nope: parameter not set\n]Code(2)"),
            ("cat <<EOF\n$DB_HOST \\$x\nEOF\necho after", "db $x\nafter\n"),
            ("cat <<'EOF' | cat -n\n$x\nEOF", "     1\t$x\n"),
            ("echo hi > f; echo ho >> f; cat < f", "hi\nho\n"),
            ("nope 2>/dev/null; echo $?", "127\n"),
            ("nope 2>&1 | cat", "sh: 1: nope: not found\n"),
            ("{ echo out; echo err >&2; } 2>&1 >/dev/null", "err\n"),
            ("exit 7", "Code(7)"),
            ("printf '%s-%03d\\n' a 7 b 8", "a-007\nb-008\n"),
            ("echo 'a b' | while read x y; do echo $y $x; done", "b a\n"),
            ("x=1; (x=2); echo $x; export x; sh -c 'echo $x'", "1\n1\n"),
            ("echo /etc/host*", "/etc/hostname /etc/hosts\n"),
            ("echo '*' \"*\" no*match", "* * no*match\n"),
            ("sleep 2 & wait; echo done", "done\n"),
            ("echo (", "[sh: 1: Syntax error: \"(\" unexpected\n]Code(2)"),
            ("if true; then echo x", "[sh: 1: Syntax error: end of file unexpected\n]Code(2)"),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_the_image_lacks() {
    let slim = Arc::new(Fake::new("debian-slim"));
    let text =
        "OCI runtime exec failed: exec failed: unable to start container process: exec: \"ping\": executable file not found in $PATH";
    assert_eq!(exec(&slim, &["ping", "db"], b"").await.2, Exit::NotFound(text.to_owned()));
    let bare = Arc::new(Fake::new("distroless"));
    assert!(matches!(exec(&bare, &["sh", "-c", "true"], b"").await.2, Exit::NotFound(_)));
    let Exit::NotFound(text) = exec(&bare, &["/bin/foo"], b"").await.2 else { panic!("found") };
    assert!(text.ends_with("stat /bin/foo: no such file or directory"), "{text}");
    check("busybox", &[("foo", "[sh: foo: not found\n]Code(127)"), ("date +%s%N", "1772600767%N\n"), ("command -v ping", "/bin/ping\n")])
        .await;
    check("debian-slim", &[("date +%s%3N", "1772600767089\n"), ("ps", "[sh: 1: ps: not found\n]Code(127)")]).await;
}

#[tokio::test]
async fn everything_ends() {
    let host = Arc::new(Fake::new("busybox"));
    assert_eq!(script(&host, "while true; do :; done").await, "[sh: stopped: too many commands\n]Code(137)");
    let host = Arc::new(Fake::new("busybox"));
    assert_eq!(script(&host, "sleep infinity").await, "[sh: stopped: an hour has passed\n]Code(137)");
    let host = Arc::new(Fake::new("busybox"));
    assert!(script(&host, "f() { f; }; f").await.contains("nested too deeply"));
    let host = Arc::new(Fake::new("debian-slim"));
    assert_eq!(script(&host, "timeout 3 sleep 100; echo $?; date +%s").await, "124\n1772600770\n");
}

#[tokio::test]
async fn pings() {
    let host = Arc::new(Fake::new("busybox"));
    *host.pings.lock().unwrap() = vec![Some(1_000), None, Some(3_000)];
    assert_eq!(
        script(&host, "ping -c 3 -W 1 db").await,
        "PING db (10.96.7.7): 56 data bytes\n64 bytes from 10.96.7.7: seq=0 ttl=62 time=1.000 ms\n64 bytes from 10.96.7.7: seq=2 ttl=62 time=3.000 ms\n\n\
         --- db ping statistics ---\n3 packets transmitted, 2 packets received, 33% packet loss\nround-trip min/avg/max = 1.000/2.000/3.000 ms\n"
    );
    let host = Arc::new(Fake::new("debian"));
    *host.pings.lock().unwrap() = vec![None, Some(1_500_000)];
    assert_eq!(
        script(&host, "ping -c 2 -W 1 8.8.8.8").await,
        "PING 8.8.8.8 (8.8.8.8) 56(84) bytes of data.\n\n--- 8.8.8.8 ping statistics ---\n2 packets transmitted, 0 received, 100% packet loss, time 1002ms\n\nCode(1)"
    );
    check("debian", &[("ping -c 1 nowhere", "[ping: nowhere: Name or service not known\n]Code(2)")]).await;
}

#[tokio::test]
async fn dd_takes_the_time_of_the_disk() {
    let mut host = Fake::new("debian-slim");
    host.disk = Ok(Duration::from_secs(2));
    let host = Arc::new(host);
    let text = "mkdir /data; dd if=/dev/zero of=/data/x bs=1M count=10 oflag=direct 2>&1; ls -l /data; date +%s; rm /data/x";
    assert_eq!(
        script(&host, text).await,
        "10+0 records in\n10+0 records out\n10485760 bytes (10 MB, 10 MiB) copied, 2.00002 s, 5.2 MB/s\ntotal 10240\n-rw-r--r-- 1 root root 10485760 Mar  4 05:06 x\n1772600769\n"
    );
    let mut host = Fake::new("busybox");
    host.disk = Err("EIO");
    let text = "mkdir /data; dd if=/dev/zero of=/data/x bs=1M count=1";
    assert!(script(&Arc::new(host), text).await.contains("dd: error writing '/data/x': Input/output error"));
}

#[tokio::test]
async fn tar_goes_out_and_comes_back() {
    let host = Arc::new(Fake::new("busybox"));
    script(&host, "mkdir -p /srv/a/b; echo one > /srv/a/b/f; ln -s b/f /srv/a/l").await;
    let (out, in_) = (mpsc::channel(64), mpsc::channel(4));
    drop(in_.0);
    let argv = ["tar", "cf", "-", "-C", "/srv", "a"].map(str::to_owned).to_vec();
    let (sender, mut receiver) = out;
    assert_eq!(run(Arc::clone(&host), argv, in_.1, sender).await, Exit::Code(0));
    let mut archive = Vec::new();
    while let Some(piece) = receiver.recv().await {
        if let Output::Stdout(bytes) = piece {
            archive.extend(bytes);
        }
    }
    let other = Arc::new(Fake::new("debian-slim"));
    assert_eq!(
        exec(&other, &["tar", "-xmf", "-", "-C", "/opt"], &archive).await.1,
        "tar: /opt: Cannot open: No such file or directory\ntar: Error is not recoverable: exiting now\n"
    );
    assert_eq!(exec(&other, &["tar", "-xmf", "-", "-C", "/home"], &archive).await, (String::new(), String::new(), Exit::Code(0)));
    assert_eq!(script(&other, "cat /home/a/l; ls /home/a").await, "one\nb\nl\n");
}

#[tokio::test]
async fn an_interactive_shell_reads_its_input() {
    let host = Arc::new(Fake::new("busybox"));
    let (stdout, stderr, exit) = exec(&host, &["sh"], b"for i in 1 2\ndo echo $i\ndone\nread x\nvalue\necho $x\nexit 4\n").await;
    assert_eq!((stdout.as_str(), stderr.as_str(), exit), ("1\n2\nvalue\n", "", Exit::Code(4)));
    assert_eq!(exec(&host, &["cat"], b"hello\n").await.0, "hello\n");
}
