//! The shell at a terminal: prompts, and commands that Ctrl-C ends.

use std::sync::Arc;

use super::host::Host;
use super::interpreter::{Flow, Shell};
use super::parser::{self, ParseError};
use super::process::Source;
use super::terminal::{Terminal, Typed, prompt};

/// Longest command.
const TEXT_MAX: usize = 1 << 20;
/// The status of what Ctrl-C ended.
pub(super) const INTERRUPTED: i32 = 130;

impl<H: Host> Shell<H> {
    /// The terminal that this shell's commands come from, if they do.
    pub(crate) fn terminal(&self) -> Option<Arc<Terminal>> {
        self.process.machine.terminal.clone().filter(|_| matches!(self.process.io.input, Source::Client(_)))
    }

    /// Asks for commands and runs them until it is left.
    pub(crate) async fn run_interactive(&mut self, terminal: &Terminal) -> i32 {
        self.interactive = true;
        let mine = terminal.enter();
        let code = self.prompts(terminal).await;
        terminal.leave(mine);
        code
    }

    async fn prompts(&mut self, terminal: &Terminal) -> i32 {
        let mut text = String::new();
        loop {
            self.process.renew();
            let shown = self.prompt(text.is_empty());
            match terminal.line(&mut self.process, &shown).await {
                Typed::Line(line) => text.push_str(&line),
                Typed::Interrupt => {
                    text.clear();
                    self.status = INTERRUPTED;
                    continue;
                }
                Typed::End => {
                    if self.name.ends_with("bash") {
                        self.process.raw_error("exit\n");
                        let _ = self.process.flush().await;
                    }
                    return self.status;
                }
            }
            match parser::parse(&text) {
                Ok(items) => {
                    text.clear();
                    let io = self.process.io.clone();
                    let mine = terminal.enter();
                    let ended = tokio::select! {
                        ended = self.list(&items) => Some(ended),
                        () = terminal.interrupted(mine) => None,
                    };
                    terminal.leave(mine);
                    match ended {
                        Some(Err(Flow::Exit(code) | Flow::Return(code))) => return code,
                        Some(_) => {}
                        None => {
                            // Whatever it was in the midst of.
                            self.process.io = io;
                            self.abandon();
                            self.status = INTERRUPTED;
                            self.process.print("\n");
                            let _ = self.process.flush().await;
                        }
                    }
                }
                Err(ParseError::Incomplete(_)) if text.len() < TEXT_MAX => {}
                Err(error) => {
                    text.clear();
                    self.complain(&error.to_string()).await;
                    self.status = 2;
                }
            }
            if self.process.halted() {
                return self.status;
            }
        }
    }

    fn prompt(&self, first: bool) -> String {
        let variable = |name: &str| self.variables.get(name).cloned();
        let text = if first {
            variable("PS1").unwrap_or_else(|| prompt::default(&self.name, self.process.machine.busybox()).to_owned())
        } else {
            variable("PS2").unwrap_or_else(|| "> ".to_owned())
        };
        let home = variable("HOME").unwrap_or_default();
        prompt::expand(&text, &self.process.host().hostname(), &self.process.cwd, &home)
    }
}
