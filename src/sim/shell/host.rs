//! The container as a shell sees it.

use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::time::Duration;

/// A future without a name.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout(Vec<u8>),
    /// Standard error.
    Stderr(Vec<u8>),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It ran and ended with this code.
    Code(i32),
    /// The program does not exist in the image; the text is the OCI runtime's message.
    NotFound(String),
}

/// What the kernel counts of a control group's CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CpuUse {
    /// Seconds used.
    pub seconds: f64,
    /// Periods, those of them in which it was held back at its limit, and for how many seconds.
    pub throttled: (u64, u64, f64),
}

/// A process in the container.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessInfo {
    /// Process id in the container; 1 is the container's own.
    pub pid: u32,
    /// Parent's id.
    pub parent: u32,
    /// User name.
    pub user: String,
    /// Command line.
    pub args: Vec<String>,
    /// CPU use in cores.
    pub cpu: f64,
    /// Resident memory in bytes.
    pub memory: u64,
    /// How long it has been running.
    pub age: Duration,
}

/// Outcome of one echo request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ping {
    /// Answered after this round-trip time.
    Reply(Duration),
    /// No answer.
    Lost,
}

/// Why a name was not resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolveError {
    /// The name server says that there is no such name.
    NoSuchName,
    /// The name server did not answer.
    NoAnswer,
}

/// Why a connection failed, after how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectError {
    /// Nobody listens there (or the Service has no endpoint).
    Refused(Duration),
    /// No answer within the time-out.
    TimedOut(Duration),
}

/// One HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCall {
    /// Method.
    pub method: String,
    /// Address.
    pub address: Ipv4Addr,
    /// Port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// Total time-out.
    pub timeout: Duration,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Status code.
    pub status: u16,
    /// Names and values of its headers, as far as they are known.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// Time until the answer was complete.
    pub took: Duration,
}

/// A request to the API server, over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiCall {
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// What is sent.
    pub body: Vec<u8>,
}

/// One container. Every method is immediate; what takes time says how long, and the shell [`Host::sleep`]s for it.
pub trait Host: Send + Sync + 'static {
    /// Image family: `debian-slim`, `debian`, `alpine`, `busybox`, `distroless`.
    fn family(&self) -> String;
    /// Programs that this image has beyond its family's.
    fn programs(&self) -> Vec<String>;
    /// The image's name, as the pod has it.
    fn image(&self) -> String;
    /// Environment of a new process.
    fn environment(&self) -> Vec<(String, String)>;
    /// Host name: the pod's name.
    fn hostname(&self) -> String;
    /// Node's name, for `uname`.
    fn node(&self) -> String;
    /// The pod's namespace, for the generated `/etc/resolv.conf`.
    fn namespace(&self) -> String {
        "default".to_owned()
    }
    /// `/etc/resolv.conf`.
    fn resolver(&self) -> String {
        let namespace = self.namespace();
        format!(
            "search {namespace}.svc.cluster.local svc.cluster.local cluster.local\nnameserver {}\noptions ndots:5\n",
            self.name_server()
        )
    }
    /// Lines at the end of `/etc/hosts`.
    fn hosts(&self) -> String {
        String::new()
    }
    /// Who commands run as: the user, and the groups with the main one first.
    fn identity(&self) -> (u64, Vec<u64>) {
        (0, vec![0])
    }
    /// The node's `/etc/hosts`, for containers on its network.
    fn node_hosts(&self) -> Option<String> {
        None
    }
    /// The first name server, for `nslookup`.
    fn name_server(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 96, 0, 10)
    }
    /// The pod's address.
    fn address(&self) -> Ipv4Addr;
    /// Working directory of a new process.
    fn workdir(&self) -> String;
    /// Simulated calendar time.
    fn now(&self) -> jiff::Timestamp;
    /// Waits for simulated time.
    fn sleep(&self, d: Duration) -> Pending<()>;
    /// A uniform random number in `[0, 1)` from the cluster's generator.
    fn uniform(&self) -> f64;
    /// The container's files: shared by all processes of the container, kept until it is restarted.
    fn with_files<T>(&self, f: impl FnOnce(&mut super::files::Files) -> T) -> T;
    /// Running processes.
    fn processes(&self) -> Vec<ProcessInfo>;
    /// Sends a signal; `false` when there is no such process.
    fn kill(&self, pid: u32, signal: i32) -> bool;
    /// The TCP ports on which its process listens.
    fn listening(&self) -> Vec<u16>;
    /// CPU limit in cores and memory limit in bytes.
    fn limits(&self) -> (Option<f64>, Option<u64>);
    /// CPU in cores and memory in bytes in use now.
    fn usage(&self) -> (f64, u64);
    /// What the control group has used since the container started.
    fn cpu(&self) -> CpuUse;
    /// Resolves a name as the pod's resolver would (search domains, Services, pods); dotted addresses are not passed here.
    fn resolve(&self, name: &str) -> Result<Ipv4Addr, ResolveError>;
    /// What the pod's name server says to exactly this name: addresses, none when it has only other records.
    fn records(&self, name: &str) -> Result<Vec<Ipv4Addr>, ResolveError>;
    /// What it says to the question whose address this is.
    fn pointer(&self, address: Ipv4Addr) -> Result<String, ResolveError>;
    /// The queueing disciplines of its interface, as `tc` writes them without the device.
    fn qdiscs(&self) -> Vec<String>;
    /// Removes them; `None` where the container may not, `false` where there is none.
    fn drop_qdiscs(&self) -> Option<bool>;
    /// One echo request to an address, with its faults.
    fn ping(&self, address: Ipv4Addr) -> Ping;
    /// Opens a TCP connection: how long it took.
    fn connect(&self, address: Ipv4Addr, port: u16, timeout: Duration) -> Result<Duration, ConnectError>;
    /// One HTTP request.
    fn http(&self, call: &HttpCall) -> Result<HttpAnswer, ConnectError>;
    /// Whether the API server listens at an address.
    fn is_api(&self, _address: Ipv4Addr, _port: u16) -> bool {
        false
    }
    /// Asks the API server; `None`: there is none.
    fn ask_api(&self, _call: ApiCall) -> Pending<Option<HttpAnswer>> {
        Box::pin(std::future::ready(None))
    }
    /// How long reading or writing `bytes` at `path` takes in `calls` system calls, with the volume's faults; an error number name (`EIO`) when it fails.
    fn disk(&self, path: &str, bytes: u64, calls: u32, write: bool) -> Result<Duration, &'static str>;
}
