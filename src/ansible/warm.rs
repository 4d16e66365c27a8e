//! Warm interpreters: one pair a run, from which playbooks and their modules are forked.
//!
//! Input: the tools; output: forks that wait to be told what to become ([`super::sandbox`]). Starting Ansible anew takes
//! longer than what most playbooks do; a fork has everything imported. Nothing that a model wrote runs in the
//! interpreters themselves. Where they cannot be had, or have ended, playbooks start as ever.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use super::activity::with_environment;
use super::sandbox::{pair, receive, send};
use super::toolchain::Toolchain;
use super::workspace::settings;
use crate::beside::beside;
use crate::diagnostic::chain;

const SERVER: &str = include_str!("python/microremed_warm.py");
/// Importing takes a second or two; on a starved machine longer.
const READY_LIMIT: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Between the kill and the end; milliseconds, but for a starved machine.
const GONE_LIMIT: Duration = Duration::from_secs(2);
const FORK_LIMIT: Duration = Duration::from_secs(20);
/// Of what it said before it ended.
const SAID_MAX: usize = 2000;

/// Why there are no warm interpreters.
#[derive(Debug, thiserror::Error)]
pub enum WarmError {
    /// Files.
    #[error("failed to make the folder of the warm interpreters")]
    Files(#[from] std::io::Error),
    /// Sockets.
    #[error("failed to talk to the warm interpreters")]
    Channel(#[from] Errno),
    /// It ended or does not answer.
    #[error("the warm interpreters ended: {0}")]
    Ended(String),
    /// What they answered makes no sense.
    #[error("failed to understand the warm interpreters")]
    Answer(#[from] serde_json::Error),
}

/// What is asked for.
#[derive(Serialize)]
struct Request {
    /// The process group that the forks join.
    group: i32,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Answer {
    ready: bool,
    pids: Vec<Option<i32>>,
}

/// The interpreters of a run, which may still be starting. Shared by all trials.
#[derive(Debug, Clone)]
pub struct Warm(Arc<OnceCell<Option<WarmInterpreters>>>);

impl Warm {
    /// Begins to start them beside everything else. `place`: a folder for theirs, which goes away with it.
    pub fn begin(tools: Toolchain, clock: bool, place: PathBuf) -> Self {
        let warm = Self(Arc::default());
        let begun = warm.clone();
        tokio::spawn(async move {
            begun
                .0
                .get_or_init(|| async {
                    match WarmInterpreters::start(&tools, clock, &place).await {
                        Ok(interpreters) => Some(interpreters),
                        Err(why) => {
                            tracing::warn!("{}; playbooks start anew", chain(&why));
                            None
                        }
                    }
                })
                .await;
        });
        warm
    }

    /// The interpreters, once they have started; none: they could not be, or not in time.
    pub(crate) async fn ready(&self) -> Option<&WarmInterpreters> {
        let until = tokio::time::Instant::now() + READY_LIMIT;
        while tokio::time::Instant::now() < until {
            if let Some(started) = self.0.get() {
                return started.as_ref();
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        None
    }
}

/// The interpreters of a run. They end with it.
#[derive(Debug)]
pub struct WarmInterpreters {
    /// One request at a time; none: they have ended.
    requests: Arc<Mutex<Option<OwnedFd>>>,
    // In the order in which they end: the folder goes when nobody is left who writes there.
    _group: Group,
    _server: Child,
    /// What they read: settings that hold before a trial's own.
    _folder: tempfile::TempDir,
}

/// Both of them: they end with it, also while they are still importing.
#[derive(Debug)]
struct Group {
    leader: Option<Pid>,
    /// A setting that only they and their forks were started with.
    marker: String,
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(leader) = self.leader else { return };
        // No such group: all of it has ended, which is what we want.
        let _gone = kill_process_group(leader, Signal::KILL);
        // They have much memory to give back, and whoever looks after the run's end is to find nothing.
        let until = Instant::now() + GONE_LIMIT;
        while Instant::now() < until && !with_environment(std::slice::from_ref(&self.marker)).is_empty() {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl WarmInterpreters {
    /// Starts them. `clock`: time is simulated, so that what they import must take its time from there.
    pub async fn start(tools: &Toolchain, clock: bool, place: &Path) -> Result<Self, WarmError> {
        let folder = tempfile::Builder::new().prefix("warm-").tempdir_in(place)?;
        let [settings_file, inventory, said, program] =
            ["ansible.cfg", "inventory.ini", "said", "microremed_warm.py"].map(|name| folder.path().join(name));
        fs_err::write(&program, SERVER)?;
        fs_err::write(&inventory, "")?;
        fs_err::write(&settings_file, settings(folder.path(), &inventory, tools))?;
        let (ours, theirs) = pair()?;
        let mut command = Command::new(tools.python());
        command.arg(program).arg(tools.collections()).env_clear();
        command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", tools.bin().display()));
        command.env("HOME", folder.path()).env("TMPDIR", folder.path()).env("ANSIBLE_CONFIG", &settings_file);
        command.env("LANG", "C.UTF-8").env("LC_ALL", "C.UTF-8").current_dir(folder.path());
        if clock {
            command.env("SIM_CLOCK", "none");
        }
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::from(fs_err::File::create(&said)?.into_file()));
        let server = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = Group {
            leader: server.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw),
            marker: format!("HOME={}", folder.path().display()),
        };
        // Its end of the channel goes with it.
        drop(command);
        let requests = Arc::new(Mutex::new(Some(ours)));
        let waiting = Arc::clone(&requests);
        let answer = beside(move || exchange(&waiting, None, READY_LIMIT)).await.unwrap_or(Err(WarmError::Ended(String::new())));
        match answer {
            Ok(answer) if answer.ready => Ok(Self { requests, _folder: folder, _group: group, _server: server }),
            Ok(_) | Err(WarmError::Ended(_)) => Err(WarmError::Ended(last_words(&said))),
            Err(error) => Err(error),
        }
    }

    /// Two forks, which wait at the channels for what they are to become: `ansible-playbook`, and what runs its modules. They
    /// join the process group. Returns their process ids.
    pub(crate) async fn fork(&self, group: i32, channels: [OwnedFd; 2]) -> Result<Vec<i32>, WarmError> {
        let requests = Arc::clone(&self.requests);
        let answer = beside(move || exchange(&requests, Some((&Request { group }, channels)), FORK_LIMIT)).await;
        let answer = answer.unwrap_or(Err(WarmError::Ended(String::new())))?;
        let pids: Vec<i32> = answer.pids.into_iter().flatten().collect();
        if pids.len() == 2 { Ok(pids) } else { Err(WarmError::Ended("no fork was made".to_owned())) }
    }
}

/// Asks, unless only an answer is waited for, and takes the answer. After a failure nothing more is asked.
fn exchange(requests: &Mutex<Option<OwnedFd>>, request: Option<(&Request, [OwnedFd; 2])>, patience: Duration) -> Result<Answer, WarmError> {
    let mut held = requests.lock().unwrap_or_else(PoisonError::into_inner);
    let socket = held.take().ok_or_else(|| WarmError::Ended("earlier".to_owned()))?;
    if let Some((request, channels)) = request {
        send(&socket, &serde_json::to_vec(request)?, &channels.each_ref().map(AsFd::as_fd))?;
    }
    let (bytes, _) = receive(&socket, patience)?;
    if bytes.is_empty() {
        return Err(WarmError::Ended(String::new()));
    }
    let answer = serde_json::from_slice(&bytes)?;
    *held = Some(socket);
    Ok(answer)
}

fn last_words(file: &Path) -> String {
    let said = fs_err::read_to_string(file).unwrap_or_default();
    let said = said.trim();
    let from = said.char_indices().rev().nth(SAID_MAX).map_or(0, |(at, _)| at);
    said.get(from..).unwrap_or_default().to_owned()
}
