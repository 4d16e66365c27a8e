//! Scripts against a made-up container.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use super::files::Files;
use super::*;

mod network;
mod terminal;

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
    fn image(&self) -> String {
        "python:3.9-slim".to_owned()
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
    fn listening(&self) -> Vec<u16> {
        vec![80]
    }
    fn limits(&self) -> (Option<f64>, Option<u64>) {
        (Some(0.5), Some(256 << 20))
    }
    fn usage(&self) -> (f64, u64) {
        (1.02, 128 << 20)
    }
    fn cpu(&self) -> CpuUse {
        CpuUse { seconds: 12.5, throttled: (120, 90, 4.25) }
    }
    fn resolve(&self, name: &str) -> Result<Ipv4Addr, ResolveError> {
        match name {
            "db" | "db.default.svc.cluster.local" => Ok(Ipv4Addr::new(10, 96, 7, 7)),
            "slow" => Err(ResolveError::NoAnswer),
            _ => Err(ResolveError::NoSuchName),
        }
    }
    fn records(&self, name: &str) -> Result<Vec<Ipv4Addr>, ResolveError> {
        match name {
            "db.default.svc.cluster.local" => Ok(vec![Ipv4Addr::new(10, 96, 7, 7)]),
            "example.com" => Ok(vec![Ipv4Addr::new(93, 1, 2, 3)]),
            _ if name.starts_with("slow") => Err(ResolveError::NoAnswer),
            _ => Err(ResolveError::NoSuchName),
        }
    }
    fn pointer(&self, address: Ipv4Addr) -> Result<String, ResolveError> {
        let known = address == Ipv4Addr::new(10, 96, 7, 7);
        if known { Ok("db.default.svc.cluster.local".to_owned()) } else { Err(ResolveError::NoSuchName) }
    }
    fn qdiscs(&self) -> Vec<String> {
        vec!["netem 1: root refcnt 2 limit 1000 delay 1s".to_owned()]
    }
    fn drop_qdiscs(&self) -> Option<bool> {
        None
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
        Ok(HttpAnswer {
            status,
            headers: Vec::new(),
            body: format!("{} {}\n", call.method, call.path).into_bytes(),
            took: Duration::from_millis(12),
        })
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
        let _ = write!(all, "[{stderr}]");
    }
    if exit != Exit::Code(0) {
        let _ = write!(all, "{exit:?}");
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
            (
                "bash -c 'echo $((2**3 ** 2))'; sh -c 'echo $((2**3))'; echo $?",
                "512\n2\n[sh: 1: arithmetic expression: expecting primary: \"2**3\"\n]",
            ),
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
async fn a_busy_loop_lets_others_have_their_turn() {
    let turns = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counter = Arc::clone(&turns);
    let other = tokio::spawn(async move {
        loop {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    script(&Arc::new(Fake::new("busybox")), "while true; do :; done").await;
    other.abort();
    assert!(turns.load(std::sync::atomic::Ordering::Relaxed) > 100);
}

#[tokio::test]
async fn everything_ends() {
    let host = Arc::new(Fake::new("busybox"));
    assert_eq!(script(&host, "while true; do :; done").await, "[sh: stopped: too many commands\n]Code(137)");
    let host = Arc::new(Fake::new("busybox"));
    assert_eq!(script(&host, "sleep infinity").await, "[sh: stopped: an hour has passed\n]Code(137)");
    let host = Arc::new(Fake::new("busybox"));
    assert!(script(&host, "f() { f; }; f").await.contains("nested too deeply"));
    for (open, body, close) in [
        ("{ ", ":", "; }"),
        ("(", ":", ")"),
        ("$(", "echo", ")"),
        ("if true; then ", ":", "; fi"),
        ("f() { if true; then eval 'f'; fi; }; ", "f", ""),
        ("! (", "x", ")"),
    ] {
        for depth in [20, 50, 5000] {
            let (out, err, exit) = exec(&host, &["sh", "-c", &(open.repeat(depth) + body + &close.repeat(depth))], b"").await;
            assert!(matches!(exit, Exit::Code(_)), "{open} {depth}: {out} {err}");
        }
    }
    let host = Arc::new(Fake::new("debian-slim"));
    assert_eq!(script(&host, "timeout 3 sleep 100; echo $?; date +%s").await, "124\n1772600770\n");
}

#[tokio::test]
async fn python_tells_the_version_of_its_image() {
    let mut host = Fake::new("debian-slim");
    host.programs = vec!["python3".to_owned()];
    assert_eq!(script(&Arc::new(host), "python3 --version && python3 -V | cut -d. -f1,2").await, "Python 3.9.25\nPython 3.9\n");
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

#[tokio::test]
async fn text_programs() {
    check(
        "debian-slim",
        &[
            ("seq 5 | head -n 2; seq 5 | tail -2; seq 5 | tail -n +4", "1\n2\n4\n5\n4\n5\n"),
            ("printf 'b\\na\\nb\\n' | sort | uniq -c | sort -rn", "      2 b\n      1 a\n"),
            ("printf '10 x\\n9 y\\n' | sort -k1 -n | cut -d' ' -f2", "y\nx\n"),
            ("echo a:b:c | cut -d: -f1,3; echo abc | cut -c2-", "a:c\nbc\n"),
            ("echo hello | tr a-y b-z; echo 'a  b' | tr -s ' '; echo a1b2 | tr -d 0-9", "ifmmp\na b\nab\n"),
            ("printf 'a b\\nc\\n' | wc; printf 'a\\n' | wc -l", "      2       3       6\n1\n"),
            ("printf 'x10\\nx2\\n' | sort -V; echo e | tee /dev/stdout", "x2\nx10\ne\ne\n"),
            ("x='p q'; echo a > 'f g'; cat < \"f g\"; trap 'echo bye' EXIT; exit 3", "a\nbye\nCode(3)"),
            ("echo \"${n:-$(nope)}\" 2>/dev/null", "\n[sh: 1: nope: not found\n]"),
            ("echo x | tee /tmp/f >/dev/null; cat /tmp/f; wc -l /tmp/f", "x\n1 /tmp/f\n"),
            ("printf 'one\\nTwo\\n' | grep -in tw; printf 'a\\nb\\n' | grep -vc a; echo abc | grep -o 'b.'; echo x | grep -q y; echo $?", "2:Two\n1\nbc\n1\n"),
            ("mkdir d; echo key=1 > d/a; echo no > d/b; grep -r key d; grep -l key d/*; grep key none", "d/a:key=1\nd/a\n[grep: none: No such file or directory\n]Code(2)"),
            ("echo 'a,b' | sed 's/,/ /' ; echo x > f; sed -i 's/x/y/' f; cat f; seq 3 | sed -n '2p'", "a b\ny\n2\n"),
            ("echo '1 2 3' | awk '{print $1+$3, NF}'; awk -F: '$1==\"root\"{print $7}' /etc/passwd", "4 3\n/bin/sh\n"),
            ("mkdir -p t/u; touch t/a.log t/u/b.log t/c; find t -name '*.log' -type f; find t -type d | xargs echo; find t -name c -exec echo got {} \\;", "t/a.log\nt/u/b.log\nt t/u\ngot t/c\n"),
            ("echo a b c | xargs -n 1 echo -; echo x | xargs -I{} echo '<{}>'", "- a\n- b\n- c\n<x>\n"),
            ("expr 3 + 4; expr abc : 'a\\(.\\)'; basename /a/b.c .c; dirname /a/b", "7\nb\nb\n/a\n"),
            ("echo -n hello | md5sum; echo hello | base64; echo aGVsbG8K | base64 -d", "5d41402abc4b2a76b9719d911017c592  -\naGVsbG8K\nhello\n"),
            ("echo x | gzip | gunzip; echo a > p; cp p q; diff p q && echo same", "x\nsame\n"),
            ("cat nope; cat /; echo x > /none/y", "[cat: nope: No such file or directory\ncat: /: Is a directory\nsh: 1: cannot create /none/y: Directory nonexistent\n]Code(2)"),
            ("rm nope; rm -f nope; rm /tmp; rmdir /etc", "[rm: cannot remove 'nope': No such file or directory\nrm: cannot remove '/tmp': Is a directory\nrmdir: failed to remove '/etc': Directory not empty\n]Code(1)"),
        ],
    )
    .await;
}

#[tokio::test]
async fn process_programs() {
    check(
        "busybox",
        &[
            ("ps | grep stress-ng | grep -v grep", "   40 root     61:01 stress-ng --cpu 1\n"),
            ("pgrep stress; pidof server; kill -9 40; kill 77", "40\n1\n[sh: can't kill pid 77: No such process\n]Code(1)"),
            ("cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max; tr '\\0' ' ' < /proc/1/cmdline", "268435456\n50000 100000\n/app/server --port=80 "),
            ("cat /etc/resolv.conf | grep nameserver; hostname; hostname -i; uname; id -u", "nameserver 10.96.0.10\nweb-5d-x7\n10.244.1.5\nLinux\n0\n"),
            ("cat nope; ls nope; echo x > /proc/version", "[cat: can't open 'nope': No such file or directory\nls: nope: No such file or directory\nsh: can't create /proc/version: Read-only file system\n]Code(1)"),
        ],
    )
    .await;
    let host = Arc::new(Fake::new("debian"));
    assert!(
        script(&host, "ps aux").await.contains("root          40 100.0  0.2 131072 65536 ?        R    04:05"),
        "{}",
        script(&host, "ps aux").await
    );
    assert_eq!(
        script(&host, "pkill -f 'stress-ng --cpu'; top -bn1 | sed -n 8p").await,
        "     40 root      20   0  131072  65536  16384 R 100.0   0.2  61:01.00 stress-ng\n"
    );
    assert_eq!(*host.killed.lock().unwrap(), [(40, 15)]);
}

#[tokio::test]
async fn columns_of_ps_and_what_disks_and_memory_show() {
    check(
        "debian",
        &[
            (
                "ps -eo pid,comm,%cpu,%mem --sort=-%cpu",
                "    PID COMMAND         %CPU %MEM\n     40 stress-ng       100.0  0.2\n      1 server           2.0  0.2\n     46 ps               0.0  0.0\n",
            ),
            ("ps -p 1 -o args=; ps -C stress-ng -o pid=,etime=,stat=; ps -p 77 -o pid=; echo $?", "/app/server --port=80\n     40    01:01:01 R\n1\n"),
            ("ps -o user,ppid,rss -p 1", "USER        PPID   RSS\nroot           0 65536\n"),
            ("df -T / | awk '{print $1, $2, $NF}'; df -hT / | tail -n 1 | awk '{print $2, $7}'", "Filesystem Type on\noverlay overlay /\noverlay /\n"),
            ("df -i / | awk '{print $2, $3, $5}' | head -n 1; df -i / | awk 'NR == 2 {print ($3 > 61000), $6}'", "Inodes IUsed IUse%\n1 /\n"),
            ("awk 'NR > 1 {print $2, $4}' /proc/net/tcp", "00000000:0050 0A\n"),
            ("grep -E '^(usage|nr_|thr)' /sys/fs/cgroup/cpu.stat", "usage_usec 12500000\nnr_periods 120\nnr_throttled 90\nthrottled_usec 4250000\nnr_bursts 0\n"),
            ("[ $(free -k | awk '/Mem/ {print $4}') = $(awk '/MemFree/ {print $2}' /proc/meminfo) ] && echo same", "same\n"),
            ("kill -l | head -n 2", "HUP\nINT\n"),
            (
                "ss -tlnp",
                "State    Recv-Q   Send-Q     Local Address:Port     Peer Address:Port  Process\n\
                 LISTEN   0        511              0.0.0.0:80           0.0.0.0:*      users:((\"server\",pid=1,fd=6))\n",
            ),
            ("ss -tn | wc -l; free -g | awk '/Mem/ {print $2}'", "1\n32\n"),
        ],
    )
    .await;
    check(
        "busybox",
        &[
            ("ps -o pid,comm", "PID   COMMAND\n    1 server\n   40 stress-ng\n   46 ps\n"),
            (
                "netstat -tln; netstat -uln | wc -l",
                "Active Internet connections (only servers)\n\
                 Proto Recv-Q Send-Q Local Address           Foreign Address         State       \n\
                 tcp        0      0 0.0.0.0:80              0.0.0.0:*               LISTEN      \n2\n",
            ),
            ("ps -o nope 2>/dev/null; echo $?; kill -l | head -n 2", "1\n 1) HUP\n 2) INT\n"),
        ],
    )
    .await;
}

#[tokio::test]
async fn network_programs() {
    check(
        "debian",
        &[
            ("curl -s -o /dev/null -w '%{http_code}\\n' http://db/missing; curl -s db/x", "404\nGET /x\n"),
            ("curl -f http://db/missing", "[curl: (22) The requested URL returned error: 404\n]Code(22)"),
            ("curl http://db:81/", "[curl: (7) Failed to connect to db port 81 after 1 ms: Couldn't connect to server\n]Code(7)"),
            ("curl -m 2 http://db:82/; date +%s", "1772600769\n[curl: (28) Connection timed out after 2000 milliseconds\n]"),
            ("curl http://nowhere/", "[curl: (6) Could not resolve host: nowhere\n]Code(6)"),
            ("nc -zv -w 1 db 80; nc -zv -w 1 db 82; date +%s", "1772600768\n[Connection to db (10.96.7.7) 80 port [tcp/*] succeeded!\nnc: connect to db (10.96.7.7) port 82 (tcp) failed: Operation timed out\n]"),
            ("getent hosts db; getent hosts no", "10.96.7.7       db\nCode(2)"),
        ],
    )
    .await;
    check(
        "busybox",
        &[
            ("wget -qO- http://db/x", "GET /x\n"),
            ("wget -q -O- http://db/missing", "[wget: server returned error: HTTP/1.1 404 Not Found\n]Code(1)"),
            ("wget -qO- nowhere", "[wget: bad address 'nowhere'\n]Code(1)"),
            (
                "nslookup db",
                "Server:\t\t10.96.0.10\nAddress:\t10.96.0.10:53\n\nName:\tdb.default.svc.cluster.local\nAddress: 10.96.7.7\n\n\
                 ** server can't find db.svc.cluster.local: NXDOMAIN\n\n** server can't find db.cluster.local: NXDOMAIN\n\n\n\
                 ** server can't find db.svc.cluster.local: NXDOMAIN\n\n** server can't find db.cluster.local: NXDOMAIN\n\nCode(1)",
            ),
            (
                "nslookup -type=a db.default.svc.cluster.local",
                "Server:\t\t10.96.0.10\nAddress:\t10.96.0.10:53\n\nName:\tdb.default.svc.cluster.local\nAddress: 10.96.7.7\n\n",
            ),
            ("nslookup db.default | tail -2", "** server can't find db.default: NXDOMAIN\n\n"),
            ("nslookup 10.96.7.7 | tail -2", "7.7.96.10.in-addr.arpa\tname = db.default.svc.cluster.local\n\n"),
            ("nslookup slow; date +%s", ";; connection timed out; no servers could be reached\n\n1772600777\n"),
        ],
    )
    .await;
}

fn pieces() -> impl proptest::strategy::Strategy<Value = String> {
    let words = [
        "echo", "if", "then", "fi", "for", "do", "done", "while", "case", "in", "esac", "x", "$x", "${x", "}", "$((", "))", "$(", "`",
        "\"", "'", "<<E", "\n", ";", ";;", "&", "&&", "|", "(", ")", "{", ">", "2>&1", "*", "[", "]", "!", "\\", "=", "1", "sed", "s/a/b/",
        "awk", "{print", "$1}", "grep", "tr", "a-z", "seq", "9", "tar", "find", "-exec", "printf", "%d", "cut", "-f", "dd", "ping", "-c",
        "date", "+%", "expr", "test", "sort", "-k", "eval", "set", "-e", "ls", "-l", "tail", "head",
    ];
    proptest::collection::vec(proptest::prop_oneof![proptest::sample::select(words.to_vec()).prop_map(str::to_owned), "\\PC{0,3}"], 0..24)
        .prop_map(|words| words.join(" "))
}

use proptest::strategy::Strategy as _;

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 300, ..Default::default() })]
    #[test]
    fn random_text_never_panics_and_ends(text in pieces(), busybox in proptest::bool::ANY) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let host = Arc::new(Fake::new(if busybox { "busybox" } else { "debian" }));
            let (_, _, exit) = exec(&host, &["sh", "-c", &text], b"a b\n1\n").await;
            assert!(matches!(exit, Exit::Code(_)));
        });
    }
}
