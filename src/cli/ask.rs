//! Asking the person at the terminal whether a playbook may run (`policy.ask`).
//!
//! Questions come one at a time, however many trials run side by side. The bars are off the screen while one is open.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{Mutex, mpsc};

use super::failure::Failure;
use super::progress;
use crate::execute::{Approver, Question};

/// Longest wait for an answer; then there is nobody.
const LONGEST: Duration = Duration::from_hours(24);
/// Lines that are neither yes nor no before there is no answer.
const MOST_LINES: u32 = 20;

/// Who can be asked, when an experiment wants somebody to be.
pub(super) fn approver(wanted: bool) -> Result<Option<Arc<dyn Approver>>, Failure> {
    if !wanted {
        return Ok(None);
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::input("policy.ask wants a person at a terminal to say whether a playbook may run, and there is no terminal")
            .help("run it in a terminal, or leave it out: --set policy.ask=false"));
    }
    Ok(Some(Arc::new(Terminal::default())))
}

/// The terminal. Its lines come from one thread, which is started by the first question.
#[derive(Default)]
struct Terminal(Mutex<Option<mpsc::Receiver<String>>>);

impl Approver for Terminal {
    fn ask<'a>(&'a self, question: Question<'a>) -> BoxFuture<'a, Result<bool, String>> {
        self.ask_now(question).boxed()
    }
}

impl Terminal {
    async fn ask_now(&self, question: Question<'_>) -> Result<bool, String> {
        let mut lines = self.0.lock().await;
        let lines = match &mut *lines {
            Some(lines) => lines,
            none => none.insert(reader()?),
        };
        // What was typed before there was a question answers none.
        while lines.try_recv().is_ok() {}
        let _hidden = progress::Hidden::begin();
        let t = question.trial;
        say(&format!(
            "\nplaybook {} of {} for {} on {} ({}, {})\n{}",
            question.attempt,
            t.model,
            t.fault,
            t.target,
            t.system,
            t.method,
            shown(question.code)
        ));
        for _ in 0..MOST_LINES {
            say("May it run? [y/n] ");
            let line = match tokio::time::timeout(LONGEST, lines.recv()).await {
                Ok(Some(line)) => line,
                Ok(None) => return Err("nobody can be asked any more: the terminal's input has ended".to_owned()),
                Err(_) => return Err(format!("nobody said within {} hours whether a playbook may run", LONGEST.as_secs() / 3600)),
            };
            if let Some(answer) = meaning(&line) {
                return Ok(answer);
            }
        }
        Err(format!("{MOST_LINES} lines were neither yes nor no"))
    }
}

/// Lines of the standard input, from a thread of its own: a read cannot be given up.
fn reader() -> Result<mpsc::Receiver<String>, String> {
    let (tell, told) = mpsc::channel(1);
    let read = move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if tell.blocking_send(line).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("answers".to_owned()).spawn(read).map_err(|e| format!("nobody can be asked: {e}"))?;
    Ok(told)
}

/// A playbook as it is shown. Some things in a text from a model would be commands to the terminal.
fn shown(code: &str) -> String {
    let harmless = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    let code: String = code.trim_end().chars().map(harmless).collect();
    code.lines().fold(String::new(), |text, line| text + "  | " + line + "\n")
}

fn meaning(line: &str) -> Option<bool> {
    match line.trim().to_lowercase().as_str() {
        "y" | "yes" => Some(true),
        "n" | "no" => Some(false),
        _ => None,
    }
}

fn say(text: &str) {
    let mut out = std::io::stderr().lock();
    // A terminal that cannot be written to will give no answer either.
    let _said = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_and_no_are_answers() {
        assert_eq!(
            [" Y\n", "yes", "N", "no ", "", "maybe", "yesno"].map(meaning),
            [Some(true), Some(true), Some(false), Some(false), None, None, None]
        );
    }

    #[test]
    fn a_playbook_says_nothing_to_the_terminal() {
        let text = shown("- hosts: all\u{1b}[2J\r\n  tasks: []\n\n");
        assert_eq!(text, "  | - hosts: all\u{fffd}[2J\u{fffd}\n  |   tasks: []\n");
    }
}
