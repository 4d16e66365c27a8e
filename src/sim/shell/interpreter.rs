//! The shell: runs parsed commands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::applets;
use super::expand::Borrowed;
use super::files::FileError;
use super::host::Host;
use super::parser::ast::{Command, Item, Kind, Pipeline, Word};
use super::parser::{self, ParseError};
use super::pattern;
use super::process::{DEPTH_MAX, Process, Sink, Source};

/// Why a command did not simply end with a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// `break N`
    Break(u32),
    /// `continue N`
    Continue(u32),
    /// `return N`
    Return(i32),
    /// `exit N`, or a fatal error.
    Exit(i32),
}

/// Assignments and arguments after expansion.
type Expanded = (Vec<(String, String)>, Vec<String>);

/// A shell's state.
pub(crate) struct Shell<H: Host> {
    pub(crate) process: Process<H>,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) exported: BTreeSet<String>,
    pub(crate) readonly: BTreeSet<String>,
    pub(crate) functions: BTreeMap<String, Arc<Command>>,
    pub(crate) positional: Vec<String>,
    /// Values to put back when the function ends.
    pub(crate) locals: Vec<Vec<(String, Option<String>)>>,
    /// `$0`
    pub(crate) name: String,
    pub(crate) status: i32,
    pub(crate) options: BTreeSet<char>,
    pub(crate) pid: u32,
    pub(crate) last_background: Option<u32>,
    /// What `trap ... EXIT` asked for.
    pub(crate) exit_trap: Option<String>,
    /// Whether the words of the present command had a command substitution.
    pub(crate) substituted: bool,
    /// Whether the present command's status is being tested, which suspends `set -e`.
    tested: u32,
    /// Whether its commands are typed at a prompt.
    pub(super) interactive: bool,
}

impl<H: Host> Shell<H> {
    pub(crate) fn new(process: Process<H>) -> Self {
        let variables = process.environment.clone();
        let exported = variables.keys().cloned().collect();
        let name = process.args.first().cloned().unwrap_or_default();
        let pid = 7 + u32::try_from(process.depth).unwrap_or(0) * 3;
        Self {
            process,
            variables,
            exported,
            readonly: BTreeSet::new(),
            functions: BTreeMap::new(),
            positional: Vec::new(),
            locals: Vec::new(),
            name,
            status: 0,
            options: BTreeSet::new(),
            pid,
            last_background: None,
            exit_trap: None,
            substituted: false,
            tested: 0,
            interactive: false,
        }
    }

    /// A copy whose changes do not come back.
    pub(crate) fn subshell(&self) -> Self {
        let mut process = self.process.clone();
        process.depth += 1;
        Self {
            process,
            variables: self.variables.clone(),
            exported: self.exported.clone(),
            readonly: self.readonly.clone(),
            functions: self.functions.clone(),
            positional: self.positional.clone(),
            locals: self.locals.clone(),
            name: self.name.clone(),
            status: self.status,
            options: self.options.clone(),
            pid: self.pid,
            last_background: self.last_background,
            exit_trap: None,
            substituted: false,
            tested: self.tested,
            interactive: self.interactive,
        }
    }

    /// Forgets the functions and tests that it was in the midst of.
    pub(super) fn abandon(&mut self) {
        self.tested = 0;
        self.locals.clear();
    }

    /// Runs what `trap ... EXIT` asked for, keeping the status.
    pub(crate) async fn at_exit(&mut self, code: i32) -> i32 {
        self.status = code;
        if let Some(text) = self.exit_trap.take()
            && let Ok(items) = parser::parse(&text)
            && let Err(Flow::Exit(changed)) = self.list(&items).await
        {
            return changed;
        }
        code
    }

    /// Parses and runs a script.
    pub(crate) async fn run_text(&mut self, text: &str) -> i32 {
        match parser::parse(text) {
            Ok(items) => self.run_to_code(&items).await,
            Err(error) => {
                self.complain(&error.to_string()).await;
                2
            }
        }
    }

    /// Reads commands from standard input and runs them as they are complete.
    pub(crate) async fn run_input(&mut self) -> i32 {
        let mut text = String::new();
        let input = self.process.io.input.clone();
        loop {
            let line = input.read_line().await;
            let ended = line.is_none();
            text.push_str(&String::from_utf8_lossy(&line.unwrap_or_default()));
            match parser::parse(&text) {
                Ok(items) => {
                    text.clear();
                    if let Err(Flow::Exit(code) | Flow::Return(code)) = self.list(&items).await {
                        return code;
                    }
                }
                Err(ParseError::Incomplete(_)) if !ended && text.len() < 1 << 20 => {}
                Err(error) => {
                    self.complain(&error.to_string()).await;
                    return 2;
                }
            }
            if ended || self.process.halted() {
                return self.status;
            }
        }
    }

    /// Runs commands; whatever ends them becomes a status.
    pub(crate) fn run_to_code<'a>(&'a mut self, items: &'a [Item]) -> Borrowed<'a, i32> {
        Box::pin(async move {
            match self.list(items).await {
                Ok(code) | Err(Flow::Exit(code) | Flow::Return(code)) => code,
                Err(_) => self.status,
            }
        })
    }

    /// Writes a message in the manner of the image's shell.
    pub(crate) async fn complain(&mut self, text: &str) {
        let line = if self.interactive && self.name.ends_with("bash") {
            ""
        } else if self.name.ends_with("bash") {
            "line 1: "
        } else if self.process.machine.busybox() {
            ""
        } else {
            "1: "
        };
        self.process.raw_error(format!("{}: {line}{text}\n", self.name));
        let _ = self.process.flush().await;
    }

    /// Sets a variable.
    pub(crate) async fn assign(&mut self, name: &str, value: &str) -> Result<(), Flow> {
        if self.readonly.contains(name) {
            self.complain(&format!("{name}: is read only")).await;
            return Err(Flow::Exit(2));
        }
        self.variables.insert(name.to_owned(), value.to_owned());
        if self.options.contains(&'a') {
            self.exported.insert(name.to_owned());
        }
        if name == "PATH" {
            self.process.environment.insert(name.to_owned(), value.to_owned());
        }
        Ok(())
    }

    pub(crate) fn list<'a>(&'a mut self, items: &'a [Item]) -> Borrowed<'a, Result<i32, Flow>> {
        Box::pin(async move {
            let mut code = 0;
            for item in items {
                if item.background {
                    let mut inner = self.subshell();
                    inner.process.io.input = Source::Empty;
                    let _ = inner.item(item).await;
                    self.pid += 1;
                    self.last_background = Some(self.pid + 10);
                    code = 0;
                } else {
                    code = self.item(item).await?;
                }
                self.status = code;
            }
            Ok(code)
        })
    }

    async fn item(&mut self, item: &Item) -> Result<i32, Flow> {
        let chained = !item.rest.is_empty();
        self.tested += u32::from(chained);
        let first = self.pipeline(&item.first).await;
        self.tested -= u32::from(chained);
        let mut code = first?;
        let mut last_ran = !chained;
        for (at, (and, pipeline)) in item.rest.iter().enumerate() {
            self.status = code;
            last_ran = (code == 0) == *and;
            if last_ran {
                let last = at + 1 == item.rest.len();
                self.tested += u32::from(!last);
                let result = self.pipeline(pipeline).await;
                self.tested -= u32::from(!last);
                code = result?;
                last_ran = last;
            }
        }
        self.status = code;
        if code != 0 && last_ran && !item.first.negated && self.tested == 0 && self.options.contains(&'e') {
            return Err(Flow::Exit(code));
        }
        Ok(code)
    }

    async fn pipeline(&mut self, pipeline: &Pipeline) -> Result<i32, Flow> {
        self.tested += u32::from(pipeline.negated);
        let result = self.stages(pipeline).await;
        self.tested -= u32::from(pipeline.negated);
        let code = result?;
        Ok(if pipeline.negated { i32::from(code == 0) } else { code })
    }

    async fn stages(&mut self, pipeline: &Pipeline) -> Result<i32, Flow> {
        if let [command] = pipeline.commands.as_slice() {
            return self.command(command).await;
        }
        let mut input = self.process.io.input.clone();
        let mut code = 0;
        let mut failed = 0;
        for (at, command) in pipeline.commands.iter().enumerate() {
            let mut inner = self.subshell();
            inner.process.io.input = input.clone();
            let buffer = Arc::new(Mutex::new(Vec::new()));
            if at + 1 < pipeline.commands.len() {
                inner.process.io.output = Sink::Buffer(Arc::clone(&buffer));
            }
            code = match inner.command(command).await {
                Ok(code) | Err(Flow::Exit(code) | Flow::Return(code)) => code,
                Err(_) => 0,
            };
            if code != 0 {
                failed = code;
            }
            if self.process.halted() {
                return Err(Flow::Exit(code));
            }
            input = Source::bytes(std::mem::take(&mut *buffer.lock().unwrap_or_else(PoisonError::into_inner)));
        }
        Ok(if self.options.contains(&'P') { failed } else { code })
    }

    fn command<'a>(&'a mut self, command: &'a Command) -> Borrowed<'a, Result<i32, Flow>> {
        Box::pin(async move {
            self.process.machine.step().await;
            if self.process.halted() {
                return Err(Flow::Exit(137));
            }
            if self.process.depth > DEPTH_MAX {
                self.complain("nested too deeply").await;
                return Err(Flow::Exit(2));
            }
            if let Kind::Function(name, body) = &command.kind {
                self.functions.insert(name.clone(), Arc::new((**body).clone()));
                return Ok(0);
            }
            // A simple command's words are expanded before its redirections take effect.
            let expanded = match &command.kind {
                Kind::Simple(assignments, words) => Some(self.expand_simple(assignments, words).await?),
                _ => None,
            };
            let io = self.process.io.clone();
            if let Err(flow) = self.redirect(command).await {
                self.process.io = io;
                return match flow {
                    Flow::Return(code) => {
                        self.status = code;
                        Ok(code)
                    }
                    other => Err(other),
                };
            }
            let result = match expanded {
                Some((values, arguments)) => {
                    let result = self.simple(&values, &arguments).await;
                    if let Ok(None) = result {
                        // `exec` with redirections only: they stay.
                        return Ok(0);
                    }
                    result.map(|code| code.unwrap_or(0))
                }
                None => self.compound(&command.kind).await,
            };
            self.process.io = io;
            if let Ok(code) = result {
                self.status = code;
            }
            result
        })
    }

    async fn compound(&mut self, kind: &Kind) -> Result<i32, Flow> {
        match kind {
            Kind::Group(body) => self.list(body).await,
            Kind::Subshell(body) => {
                let mut inner = self.subshell();
                Ok(inner.run_to_code(body).await)
            }
            Kind::If(clauses, otherwise) => {
                for (condition, body) in clauses {
                    if self.condition(condition).await? == 0 {
                        return self.list(body).await;
                    }
                }
                self.list(otherwise).await
            }
            Kind::While(until, condition, body) => {
                let mut code = 0;
                loop {
                    self.process.machine.step().await;
                    if self.process.halted() {
                        return Err(Flow::Exit(137));
                    }
                    if (self.condition(condition).await? == 0) == *until {
                        return Ok(code);
                    }
                    match self.list(body).await {
                        Ok(value) => code = value,
                        Err(Flow::Break(1)) => return Ok(0),
                        Err(Flow::Break(n)) => return Err(Flow::Break(n - 1)),
                        Err(Flow::Continue(1)) => {}
                        Err(Flow::Continue(n)) => return Err(Flow::Continue(n - 1)),
                        Err(other) => return Err(other),
                    }
                }
            }
            Kind::For(name, words, body) => {
                let values = match words {
                    Some(words) => self.expand_words(words).await?,
                    None => self.positional.clone(),
                };
                let mut code = 0;
                for value in values {
                    self.assign(name, &value).await?;
                    match self.list(body).await {
                        Ok(value) => code = value,
                        Err(Flow::Break(1)) => return Ok(0),
                        Err(Flow::Break(n)) => return Err(Flow::Break(n - 1)),
                        Err(Flow::Continue(1)) => {}
                        Err(Flow::Continue(n)) => return Err(Flow::Continue(n - 1)),
                        Err(other) => return Err(other),
                    }
                }
                Ok(code)
            }
            Kind::Case(subject, arms) => {
                let text: Vec<char> = self.expand_text(subject).await?.chars().collect();
                for (patterns, body) in arms {
                    for word in patterns {
                        let pattern = self.expand_pattern(word).await?;
                        if pattern::matches(&pattern, &text) {
                            return self.list(body).await;
                        }
                    }
                }
                Ok(0)
            }
            Kind::Simple(..) | Kind::Function(..) => Ok(0),
        }
    }

    async fn condition(&mut self, items: &[Item]) -> Result<i32, Flow> {
        self.tested += 1;
        let result = self.list(items).await;
        self.tested -= 1;
        result
    }

    /// Assignments with their values, and arguments.
    async fn expand_simple(&mut self, assignments: &[(String, Word)], words: &[Word]) -> Result<Expanded, Flow> {
        self.substituted = false;
        let arguments = self.expand_words(words).await?;
        let mut values = Vec::new();
        for (name, word) in assignments {
            let value = self.expand_text(word).await?;
            if arguments.is_empty() {
                self.assign(name, &value).await?;
            }
            values.push((name.clone(), value));
        }
        if self.options.contains(&'x') {
            let all: Vec<String> = values.iter().map(|(n, v)| format!("{n}={v}")).chain(arguments.iter().cloned()).collect();
            self.process.raw_error(format!("+ {}\n", all.join(" ")));
            let _ = self.process.flush().await;
        }
        Ok((values, arguments))
    }

    /// A simple command; `None` when its redirections are to stay.
    async fn simple(&mut self, values: &[(String, String)], arguments: &[String]) -> Result<Option<i32>, Flow> {
        let Some(name) = arguments.first() else {
            return Ok(Some(if self.substituted { self.status } else { 0 }));
        };
        if name == "exec" && arguments.len() == 1 {
            return Ok(None);
        }
        if let Some(body) = self.functions.get(name).cloned() {
            return self.call(&body, arguments).await.map(Some);
        }
        let saved: Vec<(String, Option<String>)> = values.iter().map(|(n, _)| (n.clone(), self.variables.get(n).cloned())).collect();
        for (name, value) in values {
            self.variables.insert(name.clone(), value.clone());
        }
        let result = match self.builtin(arguments).await {
            Some(result) => result,
            None => Ok(self.external(arguments, values).await),
        };
        for (name, old) in saved {
            match old {
                Some(old) => self.variables.insert(name, old),
                None => self.variables.remove(&name),
            };
        }
        result.map(Some)
    }

    async fn call(&mut self, body: &Command, arguments: &[String]) -> Result<i32, Flow> {
        let positional = std::mem::replace(&mut self.positional, arguments.iter().skip(1).cloned().collect());
        self.locals.push(Vec::new());
        self.process.depth += 1;
        let result = self.command(body).await;
        self.process.depth -= 1;
        for (name, old) in self.locals.pop().unwrap_or_default().into_iter().rev() {
            match old {
                Some(old) => self.variables.insert(name, old),
                None => self.variables.remove(&name),
            };
        }
        self.positional = positional;
        match result {
            Err(Flow::Return(code)) => Ok(code),
            other => other,
        }
    }

    /// The environment for a program.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        self.exported.iter().filter_map(|name| Some((name.clone(), self.variables.get(name)?.clone()))).collect()
    }

    /// Runs a program of the image.
    pub(crate) async fn external(&mut self, arguments: &[String], values: &[(String, String)]) -> i32 {
        let mut process = self.process.clone();
        process.args = arguments.to_vec();
        process.environment = self.environment();
        process.environment.extend(values.iter().cloned());
        process.environment.insert("PWD".to_owned(), self.process.cwd.clone());
        process.depth += 1;
        match applets::locate(&process) {
            Ok(()) => applets::start(process).await,
            Err(missing) => {
                let name = arguments.first().cloned().unwrap_or_default();
                let text = if self.name.ends_with("bash") && !name.contains('/') {
                    format!("{name}: command not found")
                } else if self.name.ends_with("bash") {
                    format!("{name}: {}", if missing { FileError::NoEntry } else { FileError::Denied })
                } else {
                    format!("{name}: {}", if missing { "not found" } else { "Permission denied" })
                };
                self.complain(&text).await;
                if missing { 127 } else { 126 }
            }
        }
    }
}
