//! Commands that the shell itself carries out.

use super::applets;
use super::expand::Borrowed;
use super::files::FileError;
use super::host::Host;
use super::interpreter::{Flow, Shell};

/// Programs that the shell has built in as well.
const ALSO_PROGRAMS: &[&str] = &["echo", "printf", "test", "[", "true", "false", "pwd", "kill"];

/// Names of the builtins, for `type` and `command -v`.
const NAMES: &[&str] = &[
    ".", ":", "[", "break", "cd", "command", "continue", "echo", "eval", "exec", "exit", "export", "false", "getopts", "jobs", "kill",
    "local", "printf", "pwd", "read", "readonly", "return", "set", "shift", "test", "trap", "true", "type", "umask", "unset", "wait",
];

fn number(arguments: &[String], default: i32) -> i32 {
    arguments.get(1).and_then(|t| t.parse().ok()).unwrap_or(default)
}

impl<H: Host> Shell<H> {
    /// Runs a builtin; `None` when there is none of this name.
    pub(crate) fn builtin<'a>(&'a mut self, arguments: &'a [String]) -> Borrowed<'a, Option<Result<i32, Flow>>> {
        Box::pin(self.run_builtin(arguments))
    }

    async fn run_builtin(&mut self, arguments: &[String]) -> Option<Result<i32, Flow>> {
        let name = arguments.first()?.as_str();
        if !self.knows(name) {
            return None;
        }
        let rest = arguments.get(1..).unwrap_or_default();
        let code = match name {
            "trap" => {
                if let [text, signals @ ..] = rest
                    && signals.iter().any(|s| s == "EXIT" || s == "0")
                {
                    self.exit_trap = (text != "-").then(|| text.clone());
                }
                0
            }
            ":" | "wait" | "umask" | "jobs" | "hash" | "ulimit" | "alias" | "unalias" | "shopt" => 0,
            "break" | "continue" => {
                let levels = u32::try_from(number(arguments, 1)).unwrap_or(1).max(1);
                return Some(Err(if name == "break" { Flow::Break(levels) } else { Flow::Continue(levels) }));
            }
            "exit" => return Some(Err(Flow::Exit(number(arguments, self.status) & 0xff))),
            "return" => return Some(Err(Flow::Return(number(arguments, self.status) & 0xff))),
            "shift" => {
                let count = usize::try_from(number(arguments, 1)).unwrap_or(1);
                if count > self.positional.len() {
                    self.complain("shift: can't shift that many").await;
                    return Some(Err(Flow::Exit(2)));
                }
                self.positional.drain(..count);
                0
            }
            "cd" => self.change_directory(rest).await,
            "export" | "readonly" | "local" | "declare" | "typeset" => return Some(self.declare(name, rest).await),
            "unset" => {
                for name in rest.iter().filter(|n| !n.starts_with('-')) {
                    self.variables.remove(name);
                    self.exported.remove(name);
                    self.functions.remove(name);
                }
                0
            }
            "set" => {
                self.set(rest);
                0
            }
            "read" => return Some(self.read(rest).await),
            "eval" => {
                let text = rest.join(" ");
                return Some(self.evaluate(&text).await);
            }
            "." | "source" => {
                let path = rest.first()?.clone();
                match self.process.read_file(&path).await {
                    Ok(bytes) => {
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        return Some(match self.evaluate(&text).await {
                            Err(Flow::Return(code)) => Ok(code),
                            other => other,
                        });
                    }
                    Err(error) => {
                        let text = if self.process.machine.busybox() || self.name.ends_with("bash") {
                            format!("{name}: {path}: {error}")
                        } else {
                            format!(
                                "{name}: cannot open {path}: {}",
                                if error == FileError::NoEntry { "No such file".to_owned() } else { error.to_string() }
                            )
                        };
                        self.complain(&text).await;
                        return Some(Err(Flow::Exit(2)));
                    }
                }
            }
            "exec" => {
                let code = self.external(rest, &[]).await;
                return Some(Err(Flow::Exit(code)));
            }
            "command" if matches!(rest.first().map(String::as_str), Some("-v" | "-V")) => {
                self.describe(rest.get(1..).unwrap_or_default(), rest.first().is_some_and(|o| o == "-V")).await
            }
            "type" => self.describe(rest, true).await,
            "command" | "builtin" => {
                let rest = rest.to_vec();
                if rest.is_empty() {
                    return Some(Ok(0));
                }
                if let Some(result) = self.builtin(&rest).await {
                    return Some(result);
                }
                self.external(&rest, &[]).await
            }
            "let" => {
                let mut value = 0;
                for text in rest {
                    value = match self.arithmetic(text).await {
                        Ok(value) => value,
                        Err(flow) => return Some(Err(flow)),
                    };
                }
                i32::from(value == 0)
            }
            _ if ALSO_PROGRAMS.contains(&name) || (name == "[[" && (self.process.machine.busybox() || self.name.ends_with("bash"))) => {
                let mut process = self.process.clone();
                process.args = arguments.to_vec();
                process.environment = self.environment();
                process.depth += 1;
                applets::start_builtin(process).await
            }
            _ => return None,
        };
        Some(Ok(code))
    }

    /// Whether this image's shell has the builtin: dash lacks what bash added.
    fn knows(&self, name: &str) -> bool {
        match name {
            "declare" | "typeset" | "shopt" | "builtin" => self.name.ends_with("bash"),
            "source" | "let" => self.name.ends_with("bash") || self.process.machine.busybox(),
            _ => true,
        }
    }

    async fn evaluate(&mut self, text: &str) -> Result<i32, Flow> {
        match super::parser::parse(text) {
            Ok(items) => {
                self.process.depth += 1;
                if self.process.depth > super::process::DEPTH_MAX {
                    self.complain("nested too deeply").await;
                    return Err(Flow::Exit(2));
                }
                let result = self.list(&items).await;
                self.process.depth -= 1;
                result
            }
            Err(error) => {
                self.complain(&format!("eval: {error}")).await;
                Err(Flow::Exit(2))
            }
        }
    }

    async fn change_directory(&mut self, rest: &[String]) -> i32 {
        let target = match rest.iter().find(|a| *a == "-" || !a.starts_with('-')) {
            Some(dash) if dash == "-" => self.variable("OLDPWD").unwrap_or_else(|| self.process.cwd.clone()),
            Some(target) => target.clone(),
            None => self.variable("HOME").unwrap_or_else(|| "/root".to_owned()),
        };
        let path = self.process.path(&target);
        self.process.refresh(&path);
        let result = self.process.machine.files(|f| match f.stat(&path) {
            Ok(node) if node.is_directory() => Ok(()),
            Ok(_) => Err(FileError::NotDirectory),
            Err(error) => Err(error),
        });
        match result {
            Ok(()) => {
                self.variables.insert("OLDPWD".to_owned(), std::mem::replace(&mut self.process.cwd, path));
                0
            }
            Err(error) => {
                let text = if self.name.ends_with("bash") {
                    format!("cd: {target}: {error}")
                } else if self.process.machine.busybox() {
                    format!("cd: can't cd to {target}: {error}")
                } else {
                    format!("cd: can't cd to {target}")
                };
                self.complain(&text).await;
                if self.process.machine.busybox() || self.name.ends_with("bash") { 1 } else { 2 }
            }
        }
    }

    async fn declare(&mut self, how: &str, rest: &[String]) -> Result<i32, Flow> {
        if rest.iter().all(|a| a.starts_with('-')) {
            let listed: Vec<String> = self
                .variables
                .iter()
                .filter(|(name, _)| how != "export" || self.exported.contains(*name))
                .map(|(name, value)| format!("{how} {name}='{value}'"))
                .collect();
            for line in listed {
                self.process.line(line);
            }
            let _ = self.process.flush().await;
            return Ok(0);
        }
        for argument in rest.iter().filter(|a| !a.starts_with('-')) {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (argument.as_str(), None),
            };
            if how == "local"
                && let Some(frame) = self.locals.last_mut()
            {
                frame.push((name.to_owned(), self.variables.get(name).cloned()));
            }
            if let Some(value) = value {
                self.assign(name, value).await?;
            } else if how == "local" {
                self.variables.insert(name.to_owned(), String::new());
            }
            match how {
                "export" => {
                    self.exported.insert(name.to_owned());
                }
                "readonly" => {
                    self.readonly.insert(name.to_owned());
                }
                _ => {}
            }
        }
        Ok(0)
    }

    /// `set`: options, and positional parameters after `--` or the first plain word.
    fn set(&mut self, rest: &[String]) {
        let mut at = 0;
        while let Some(argument) = rest.get(at) {
            let on = match argument.chars().next() {
                Some('-') => true,
                Some('+') => false,
                _ => break,
            };
            at += 1;
            if argument == "--" {
                self.positional = rest.get(at..).unwrap_or_default().to_vec();
                return;
            }
            for letter in argument.chars().skip(1) {
                let letter = if letter == 'o' {
                    let long = rest.get(at).map_or("", String::as_str);
                    at += 1;
                    match long {
                        "errexit" => 'e',
                        "nounset" => 'u',
                        "xtrace" => 'x',
                        "allexport" => 'a',
                        "pipefail" => 'P',
                        _ => continue,
                    }
                } else {
                    letter
                };
                self.option(letter, on);
            }
        }
        if at < rest.len() {
            self.positional = rest.get(at..).unwrap_or_default().to_vec();
        }
    }

    /// Turns an option on or off.
    pub(crate) fn option(&mut self, letter: char, on: bool) {
        if on {
            self.options.insert(letter);
        } else {
            self.options.remove(&letter);
        }
    }

    async fn read(&mut self, rest: &[String]) -> Result<i32, Flow> {
        let raw = rest.iter().any(|a| a.starts_with('-') && a.contains('r'));
        let mut names: Vec<&String> = Vec::new();
        let mut skip_value = false;
        for argument in rest {
            if std::mem::take(&mut skip_value) {
                continue;
            }
            if argument.starts_with('-') && names.is_empty() {
                skip_value = argument.ends_with(['p', 't', 'n', 'd']);
            } else {
                names.push(argument);
            }
        }
        let line = self.process.io.input.clone().read_line().await;
        let ended = line.as_ref().is_none_or(|l| l.last() != Some(&b'\n'));
        let mut text = String::from_utf8_lossy(&line.unwrap_or_default()).into_owned();
        if text.ends_with('\n') {
            text.pop();
        }
        if !raw {
            text = text.replace('\\', "");
        }
        let ifs = self.variables.get("IFS").cloned().unwrap_or_else(|| " \t\n".to_owned());
        let blank = |c: char| c.is_whitespace() && ifs.contains(c);
        let mut left = text.trim_matches(blank).to_owned();
        let reply = "REPLY".to_owned();
        if names.is_empty() {
            names.push(&reply);
        }
        for (at, name) in names.iter().enumerate() {
            let value = if at + 1 == names.len() {
                std::mem::take(&mut left)
            } else {
                let end = left.find(|c| ifs.contains(c)).unwrap_or(left.len());
                let value = left.get(..end).unwrap_or_default().to_owned();
                let mut tail = left.get(end..).unwrap_or_default().trim_start_matches(blank);
                if let Some(c) = tail.chars().next()
                    && ifs.contains(c)
                {
                    tail = tail.get(c.len_utf8()..).unwrap_or_default().trim_start_matches(blank);
                }
                left = tail.to_owned();
                value
            };
            self.assign(name, &value).await?;
        }
        Ok(i32::from(ended))
    }

    /// `command -v`, `type`.
    async fn describe(&mut self, names: &[String], verbose: bool) -> i32 {
        let mut code = 0;
        for name in names {
            let found = if self.functions.contains_key(name) {
                Some((name.clone(), "a function".to_owned()))
            } else if NAMES.contains(&name.as_str()) {
                Some((name.clone(), "a shell builtin".to_owned()))
            } else {
                let path = if name.contains('/') {
                    let path = self.process.path(name);
                    self.process.machine.files(|f| f.stat(&path)).is_ok().then(|| name.clone())
                } else {
                    self.process.machine.find_program(name, &self.process.search_path())
                };
                path.map(|p| (p.clone(), p))
            };
            match found {
                Some((_, what)) if verbose => self.process.line(format!("{name} is {what}")),
                Some((path, _)) => self.process.line(path),
                None => {
                    code = if self.name.ends_with("bash") { 1 } else { 127 };
                    if verbose {
                        self.process.line(format!("{name}: not found"));
                    }
                }
            }
        }
        let _ = self.process.flush().await;
        code
    }
}
