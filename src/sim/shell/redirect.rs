//! Redirections of a shell's streams.

use super::files::{Content, FileError, Kind};
use super::host::Host;
use super::interpreter::{Flow, Shell};
use super::parser::ast::{Command, RedirectKind};
use super::process::{Io, Sink, Source};

impl<H: Host> Shell<H> {
    /// Applies redirections to the process's streams; `Err(Flow::Return)` when one fails.
    pub(crate) async fn redirect(&mut self, command: &Command) -> Result<(), Flow> {
        for redirect in &command.redirects {
            let target = self.expand_text(&redirect.target).await?;
            let path = self.process.path(&target);
            match redirect.operator {
                RedirectKind::Here => self.process.io.input = Source::bytes(target.into_bytes()),
                RedirectKind::Read => match self.process.read_file(&path).await {
                    Ok(bytes) => self.process.io.input = Source::bytes(bytes),
                    Err(error) => return self.cannot("open", &target, error).await,
                },
                RedirectKind::Duplicate if redirect.fd == 0 => {}
                RedirectKind::Duplicate => {
                    let io = &self.process.io;
                    let sink = match target.as_str() {
                        "1" => Some(io.output.clone()),
                        "2" => Some(io.error.clone()),
                        "-" => Some(Sink::Null),
                        other => other.parse().ok().and_then(|fd: u32| io.others.get(&fd).cloned()),
                    };
                    let Some(sink) = sink else {
                        self.complain(&format!("{target}: Bad file descriptor")).await;
                        return Err(Flow::Return(2));
                    };
                    set_output(&mut self.process.io, redirect.fd, sink);
                }
                RedirectKind::Write | RedirectKind::Append | RedirectKind::Both => {
                    let sink = match self.open(&path, redirect.operator == RedirectKind::Append) {
                        Ok(sink) => sink,
                        Err(error) => return self.cannot("create", &target, error).await,
                    };
                    if redirect.operator == RedirectKind::Both {
                        self.process.io.error = sink.clone();
                    }
                    set_output(&mut self.process.io, redirect.fd, sink);
                }
            }
        }
        Ok(())
    }

    fn open(&self, path: &str, append: bool) -> Result<Sink, FileError> {
        match path {
            "/dev/null" => Ok(Sink::Null),
            "/dev/full" => Ok(Sink::Full),
            "/dev/stdout" | "/proc/self/fd/1" | "/proc/1/fd/1" => Ok(self.process.io.output.clone()),
            "/dev/stderr" | "/proc/self/fd/2" | "/proc/1/fd/2" => Ok(self.process.io.error.clone()),
            _ => {
                if path.starts_with("/proc") || path.starts_with("/sys") {
                    self.process.refresh(path);
                    return Err(self.process.machine.files(|f| f.stat(path)).err().unwrap_or(FileError::ReadOnly));
                }
                self.process.machine.files(|f| match f.stat(path) {
                    Ok(node) if matches!(node.kind, Kind::Device) => Ok(()),
                    Ok(node) if append && !node.is_directory() => Ok(()),
                    _ => f.write(path, &Content::default(), false),
                })?;
                Ok(Sink::File(path.to_owned()))
            }
        }
    }

    async fn cannot(&mut self, verb: &str, target: &str, error: FileError) -> Result<(), Flow> {
        let text = if self.name.ends_with("bash") {
            format!("{target}: {error}")
        } else if self.process.machine.busybox() {
            let reason = if error == FileError::NoEntry && verb == "open" {
                "no such file".to_owned()
            } else if error == FileError::NoEntry {
                "nonexistent directory".to_owned()
            } else {
                error.to_string()
            };
            format!("can't {verb} {target}: {reason}")
        } else {
            let reason = if error == FileError::NoEntry && verb == "open" {
                "No such file".to_owned()
            } else if error == FileError::NoEntry {
                "Directory nonexistent".to_owned()
            } else {
                error.to_string()
            };
            format!("cannot {verb} {target}: {reason}")
        };
        self.complain(&text).await;
        Err(Flow::Return(if self.process.machine.busybox() || self.name.ends_with("bash") { 1 } else { 2 }))
    }
}

fn set_output(io: &mut Io, fd: u32, sink: Sink) {
    match fd {
        1 => io.output = sink,
        2 => io.error = sink,
        0 => {}
        other => {
            io.others.insert(other, sink);
        }
    }
}
