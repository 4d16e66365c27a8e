//! Containers whose command is a program of the shell's: it really runs, writes the log, and its exit code is the container's.
//!
//! The kubelet notes what it has started in [`super::Runtime`]; the engine hands it over to [`serve`] with a hold on the
//! clock, so that no time passes in between. A container with an open standard input waits for somebody to attach.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::container::Container;
use super::hooks::When;
use super::{hooks, host, image, lifecycle, nap};
use crate::sim::clock::Hold;
use crate::sim::resource::Key;
use crate::sim::shell::{self, Exit, Output, Terminal};
use crate::sim::time::SimTime;
use crate::sim::world::{Engine, World};

/// How many pieces of output may wait.
const QUEUE: usize = 64;
/// Longest line of a log.
const LINE_MAX: usize = 16 << 10;
/// The code of a shell that was stopped because it took too long or did too much.
const STOPPED: i32 = 137;

/// A started container whose command is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its pod.
    pub key: Key,
    /// Its name.
    pub container: String,
    /// Id of its run: a later run is another program.
    pub id: String,
    /// Its image.
    pub image: String,
    /// Command and arguments.
    pub argv: Vec<String>,
    /// Whether it is a loop without an end.
    pub endless: bool,
    /// Whether its container goes on without it, once it has come to its sleep ([`nap`]).
    pub naps: bool,
    /// Whether it is a hook of its container, and which.
    pub hook: Option<When>,
}

/// Whoever is attached to a program.
#[derive(Debug)]
pub struct Attached {
    /// What is typed.
    pub input: mpsc::Receiver<Vec<u8>>,
    /// Where it is typed, if that is a terminal.
    pub terminal: Option<Arc<Terminal>>,
    /// Sees what the program writes.
    pub output: mpsc::Sender<Output>,
}

/// What the engine hands over.
pub type Started = (Vec<Program>, Hold);

/// Runs what is started, until `stop`.
pub async fn serve(engine: Arc<Engine>, mut started: mpsc::UnboundedReceiver<Started>, stop: CancellationToken) {
    loop {
        let (programs, hold) = tokio::select! {
            () = stop.cancelled() => return,
            started = started.recv() => match started {
                Some(s) => s,
                None => return,
            },
        };
        for program in programs {
            let (engine, stop) = (Arc::clone(&engine), stop.clone());
            // The host takes a hold of its own before this one goes.
            let Ok(host) = host::exec_host(&engine, &program.key, &program.container) else {
                // The container has gone meanwhile; of a hook it is to be known that it is over.
                engine.with(|w| hooks::ended(w, &program, &Exit::Code(STOPPED), ""));
                continue;
            };
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    _exit = run(engine, program, host, None) => {}
                }
            });
        }
        drop(hold);
    }
}

/// Runs a program to its end, and ends its container. Output goes to the log, and to whoever is attached.
pub async fn run(engine: Arc<Engine>, program: Program, host: host::ContainerHost, attached: Option<Attached>) -> Exit {
    let host = Arc::new(host);
    let (mut typed, tee) = attached.map_or((None, None), |a| (Some((a.input, a.terminal)), Some(a.output)));
    let mut log = Log::default();
    loop {
        let input = typed.take().unwrap_or_else(|| (mpsc::channel(1).1, None));
        let Some(exit) = once(&engine, &program, &host, input, tee.as_ref(), &mut log).await else { return Exit::Code(STOPPED) };
        if program.endless && exit == Exit::Code(STOPPED) {
            // The shell has its limits; a loop in a container has not.
            continue;
        }
        log.end(&engine, &program);
        engine.with(|w| finish(w, &program, &exit, &log.kept));
        return exit;
    }
}

/// Runs the command once; `None` when its container ended first.
async fn once(
    engine: &Arc<Engine>,
    program: &Program,
    host: &Arc<host::ContainerHost>,
    (input, terminal): (mpsc::Receiver<Vec<u8>>, Option<Arc<Terminal>>),
    tee: Option<&mpsc::Sender<Output>>,
    log: &mut Log,
) -> Option<Exit> {
    let (out, mut pieces) = mpsc::channel(QUEUE);
    let mut changes = engine.subscribe();
    let (container, argv) = (Arc::clone(host), program.argv.clone());
    let mut command = std::pin::pin!(async move {
        match terminal {
            Some(terminal) => shell::run_at(terminal, container, argv, input, out).await,
            None => shell::run(container, argv, input, out).await,
        }
    });
    let exit = loop {
        tokio::select! {
            biased;
            Some(piece) = pieces.recv() => {
                log.take(engine, program, &piece);
                if let Some(tee) = tee {
                    // Whoever was attached may have gone.
                    let _gone = tee.send(piece).await;
                }
            }
            exit = &mut command => break exit,
            changed = changes.changed() => {
                changed.ok()?;
                if !engine.with(|w| runs(w, program)) {
                    return None;
                }
            }
        }
    };
    while let Ok(piece) = pieces.try_recv() {
        log.take(engine, program, &piece);
        if let Some(tee) = tee {
            let _gone = tee.send(piece).await;
        }
    }
    Some(exit)
}

fn runs(world: &World, program: &Program) -> bool {
    let pod = world.runtime.pod(&program.key);
    pod.and_then(|p| p.containers.get(p.index(&program.container)?)).is_some_and(|c| c.run().is_some() && c.id == program.id)
}

fn finish(world: &mut World, program: &Program, exit: &Exit, output: &[u8]) {
    if program.hook.is_some() {
        hooks::ended(world, program, exit, String::from_utf8_lossy(output).trim_end());
        return;
    }
    if !runs(world, program) || (program.naps && *exit == Exit::Code(nap::ASLEEP)) {
        return;
    }
    match exit {
        Exit::Code(code) => lifecycle::kill(world, &program.key, &program.container, *code),
        Exit::NotFound(text) if image::is_bare(&program.image) => lifecycle::refuse(world, &program.key, &program.container, text),
        // A program of the image's own that is not modelled does what it is meant to.
        Exit::NotFound(_) => lifecycle::kill(world, &program.key, &program.container, 0),
    }
}

/// Output on its way to the log, line by line.
#[derive(Default)]
struct Log {
    rest: Vec<u8>,
    /// What a hook has said: it does not stand in the container's log.
    kept: Vec<u8>,
}

impl Log {
    fn take(&mut self, engine: &Engine, program: &Program, piece: &Output) {
        let (Output::Stdout(bytes) | Output::Stderr(bytes)) = piece;
        if program.hook.is_some() {
            let room = LINE_MAX.saturating_sub(self.kept.len()).min(bytes.len());
            self.kept.extend(bytes.iter().take(room));
            return;
        }
        self.rest.extend_from_slice(bytes);
        let mut lines: Vec<String> = Vec::new();
        while let Some(at) = self.rest.iter().position(|b| *b == b'\n').or((self.rest.len() > LINE_MAX).then_some(LINE_MAX)) {
            let line: Vec<u8> = self.rest.drain(..=at).collect();
            lines.push(String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned());
        }
        write(engine, program, lines);
    }

    fn end(&mut self, engine: &Engine, program: &Program) {
        if !self.rest.is_empty() {
            let rest = String::from_utf8_lossy(&std::mem::take(&mut self.rest)).into_owned();
            with_container(engine, program, |c, now| c.write_rest(now, rest));
        }
    }
}

fn write(engine: &Engine, program: &Program, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    with_container(engine, program, |c, now| lines.into_iter().for_each(|line| c.write(now, line)));
}

/// Does something to a program's container, if that still runs it.
fn with_container(engine: &Engine, program: &Program, f: impl FnOnce(&mut Container, SimTime)) {
    engine.with(|w| {
        let now = w.now;
        let Some(pod) = w.runtime.pods.get_mut(&program.key) else { return };
        let Some(i) = pod.index(&program.container) else { return };
        if let Some(c) = pod.containers.get_mut(i).filter(|c| c.id == program.id) {
            f(c, now);
        }
    });
}
