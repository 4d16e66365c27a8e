//! How a command fails: an exit code, what happened, and what to do next.

pub(super) use crate::diagnostic::chain;

/// Exit codes, documented in `--help` and the README.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// Trials could not be run.
    Harness = 1,
    /// Bad input.
    Input = 2,
    /// A dependency is missing.
    Dependency = 3,
    /// Interrupted.
    Interrupted = 130,
}

/// A failed command.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: Code,
    /// What happened; empty when it has been printed already.
    pub(super) message: String,
    /// What to do next.
    pub(super) help: Option<String>,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None }
    }

    pub(super) fn input(message: impl Into<String>) -> Self {
        Self::new(Code::Input, message)
    }

    pub(super) fn harness(message: impl Into<String>) -> Self {
        Self::new(Code::Harness, message)
    }

    /// Everything has been said already.
    pub(super) fn silent(code: Code) -> Self {
        Self::new(code, "")
    }

    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
