//! Expansion of words: parameters, command substitution, arithmetic, field splitting and path names.

use std::sync::{Arc, Mutex, PoisonError};

use super::arithmetic;
use super::host::{Host, Pending};
use super::interpreter::{Flow, Shell};
use super::parser::ast::{Action, Part, Word};
use super::pattern::{self, Marked};
use super::process::Sink;

/// A future that borrows the shell.
pub(crate) type Borrowed<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Most fields of one expansion.
const FIELDS_MAX: usize = 100_000;

#[derive(Default)]
struct Fields {
    done: Vec<Vec<Marked>>,
    current: Vec<Marked>,
    present: bool,
}

impl Fields {
    fn finish(&mut self) {
        if (self.present || !self.current.is_empty()) && self.done.len() < FIELDS_MAX {
            self.done.push(std::mem::take(&mut self.current));
        }
        self.current.clear();
        self.present = false;
    }

    fn add(&mut self, text: &str, quoted: bool, ifs: Option<&str>) {
        if quoted {
            self.present = true;
        }
        for c in text.chars() {
            match ifs {
                Some(ifs) if !quoted && ifs.contains(c) => {
                    if !c.is_whitespace() {
                        self.present = true;
                    }
                    self.finish();
                }
                _ => self.current.push((c, quoted)),
            }
        }
    }
}

impl<H: Host> Shell<H> {
    /// Expands words into arguments.
    pub(crate) async fn expand_words(&mut self, words: &[Word]) -> Result<Vec<String>, Flow> {
        let mut arguments = Vec::new();
        for word in words {
            for field in self.fields(word, true).await? {
                if pattern::is_pattern(&field) {
                    let text: String = field.iter().map(|m| m.0).collect();
                    self.process.refresh(&self.process.path(&text));
                    let found = self.process.machine.files(|f| pattern::expand_path(f, &self.process.cwd, &field));
                    if !found.is_empty() {
                        arguments.extend(found);
                        continue;
                    }
                }
                arguments.push(field.iter().map(|m| m.0).collect());
            }
        }
        Ok(arguments)
    }

    /// Expands a word into one string, without splitting or path names.
    pub(crate) async fn expand_text(&mut self, word: &Word) -> Result<String, Flow> {
        Ok(self.expand_pattern(word).await?.iter().map(|m| m.0).collect())
    }

    /// Expands a word into a pattern.
    pub(crate) async fn expand_pattern(&mut self, word: &Word) -> Result<Vec<Marked>, Flow> {
        let mut all = Vec::new();
        for (at, field) in self.fields(word, false).await?.into_iter().enumerate() {
            if at > 0 {
                all.push((' ', true));
            }
            all.extend(field);
        }
        Ok(all)
    }

    fn fields<'a>(&'a mut self, word: &'a Word, split: bool) -> Borrowed<'a, Result<Vec<Vec<Marked>>, Flow>> {
        Box::pin(async move {
            let ifs = self.variables.get("IFS").cloned().unwrap_or_else(|| " \t\n".to_owned());
            let ifs = split.then_some(ifs.as_str());
            let mut fields = Fields::default();
            for (at, part) in word.iter().enumerate() {
                match part {
                    Part::Text { text, quoted } => {
                        let home = (at == 0 && !quoted && (text == "~" || text.starts_with("~/"))).then(|| self.variable("HOME"));
                        if let Some(home) = home {
                            fields.add(&home.unwrap_or_else(|| "/root".to_owned()), true, None);
                            fields.add(text.trim_start_matches('~'), false, None);
                        } else {
                            fields.add(text, *quoted, None);
                        }
                    }
                    Part::Command { body, quoted } => {
                        let text = self.substitute(body).await?;
                        fields.add(&text, *quoted, ifs);
                    }
                    Part::Arithmetic { expression, quoted } => {
                        let text = self.expand_text(expression).await?;
                        let value = self.arithmetic(&text).await?;
                        fields.add(&value.to_string(), *quoted, ifs);
                    }
                    Part::Parameter { name, action: Action::Value, quoted } if name == "@" || (name == "*" && !quoted) => {
                        for (at, value) in self.positional.clone().iter().enumerate() {
                            if at > 0 {
                                if split {
                                    fields.finish();
                                } else {
                                    fields.add(" ", true, None);
                                }
                            }
                            fields.add(value, *quoted, ifs);
                        }
                        // `"$@"` without parameters is no field at all, not an empty one.
                        if self.positional.is_empty() && fields.current.is_empty() {
                            fields.present = false;
                        }
                    }
                    Part::Parameter { name, action: Action::Default(operator, colon, alternative), quoted } => {
                        let value = self.variable(name).filter(|v| !(*colon && v.is_empty()));
                        match (operator, value) {
                            ('+', None) => fields.add("", *quoted, ifs),
                            ('+', Some(_)) | ('-', None) => {
                                let inner = self.fields(alternative, split).await?;
                                for (at, field) in inner.into_iter().enumerate() {
                                    if at > 0 {
                                        fields.finish();
                                    }
                                    fields.present = true;
                                    fields.current.extend(field.into_iter().map(|(c, q)| (c, q || *quoted)));
                                }
                            }
                            ('=', None) => {
                                let text = self.expand_text(alternative).await?;
                                self.assign(name, &text).await?;
                                fields.add(&text, *quoted, ifs);
                            }
                            ('?', None) => {
                                let mut text = self.expand_text(alternative).await?;
                                if text.is_empty() {
                                    "parameter not set".clone_into(&mut text);
                                }
                                self.complain(&format!("{name}: {text}")).await;
                                return Err(Flow::Exit(2));
                            }
                            (_, Some(value)) => fields.add(&value, *quoted, ifs),
                            (_, None) => {}
                        }
                    }
                    Part::Parameter { name, action, quoted } => {
                        let value = self.parameter(name, action).await?;
                        fields.add(&value, *quoted, ifs);
                    }
                }
            }
            fields.finish();
            Ok(fields.done)
        })
    }

    async fn parameter(&mut self, name: &str, action: &Action) -> Result<String, Flow> {
        let value = match self.variable(name) {
            Some(value) => value,
            None if self.options.contains(&'u') && !matches!(name, "@" | "*") => {
                self.complain(&format!("{name}: parameter not set")).await;
                return Err(Flow::Exit(2));
            }
            None => String::new(),
        };
        match action {
            Action::Length if matches!(name, "@" | "*") => Ok(self.positional.len().to_string()),
            Action::Length => Ok(value.chars().count().to_string()),
            Action::Trim(from_end, longest, word) => {
                let pattern = self.expand_pattern(word).await?;
                Ok(trim(&value, &pattern, *from_end, *longest))
            }
            Action::Replace(all, word, with) => {
                let pattern = self.expand_pattern(word).await?;
                let with = self.expand_text(with).await?;
                Ok(replace(&value, &pattern, &with, *all))
            }
            Action::Slice(offset, length) => {
                let text = self.expand_text(offset).await?;
                let offset = self.arithmetic(&text).await?;
                let count = i64::try_from(value.chars().count()).unwrap_or(i64::MAX);
                let start = if offset < 0 { (count + offset).max(0) } else { offset };
                let mut length_value = count;
                if let Some(length) = length {
                    let text = self.expand_text(length).await?;
                    length_value = self.arithmetic(&text).await?;
                    if length_value < 0 {
                        length_value = (count - start + length_value).max(0);
                    }
                }
                let skip = usize::try_from(start).unwrap_or(0);
                let take = usize::try_from(length_value).unwrap_or(0);
                Ok(value.chars().skip(skip).take(take).collect())
            }
            Action::Value | Action::Default(..) => Ok(value),
        }
    }

    pub(crate) async fn arithmetic(&mut self, text: &str) -> Result<i64, Flow> {
        // dash does not know powers.
        let powers = self.name.ends_with("bash") || self.process.machine.busybox();
        match arithmetic::evaluate(text, &mut self.variables, powers) {
            Ok(value) => Ok(value),
            Err(message) => {
                self.complain(&message).await;
                Err(Flow::Exit(2))
            }
        }
    }

    async fn substitute(&mut self, body: &[super::parser::ast::Item]) -> Result<String, Flow> {
        let buffer = Arc::new(Mutex::new(Vec::new()));
        let mut inner = self.subshell();
        inner.process.io.output = Sink::Buffer(Arc::clone(&buffer));
        self.status = inner.run_to_code(body).await;
        self.substituted = true;
        let bytes = std::mem::take(&mut *buffer.lock().unwrap_or_else(PoisonError::into_inner));
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.trim_end_matches('\n').replace('\0', ""))
    }

    /// A parameter's value, special ones included.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let text = match name {
            "?" => self.status.to_string(),
            "#" => self.positional.len().to_string(),
            "$" => self.pid.to_string(),
            "!" => self.last_background.map(|p| p.to_string()).unwrap_or_default(),
            "-" => self.options.iter().collect(),
            "0" => self.name.clone(),
            "*" => {
                let separator = self.variables.get("IFS").map_or(Some(' '), |ifs| ifs.chars().next());
                self.positional.join(&separator.map(String::from).unwrap_or_default())
            }
            "@" => self.positional.join(" "),
            "PWD" => self.process.cwd.clone(),
            "RANDOM" if self.name.ends_with("bash") || self.process.machine.busybox() => {
                format!("{:.0}", (self.process.host().uniform() * 32_767.0).floor())
            }
            _ => {
                if let Ok(index) = name.parse::<usize>() {
                    return self.positional.get(index.checked_sub(1)?).cloned();
                }
                return self.variables.get(name).cloned();
            }
        };
        Some(text)
    }
}

/// `${x#p}` and its kin. Bounded: at most one match per prefix or suffix.
fn trim(value: &str, pattern: &[Marked], from_end: bool, longest: bool) -> String {
    let chars: Vec<char> = value.chars().collect();
    let count = chars.len();
    let mut lengths: Vec<usize> = (0..=count).collect();
    if longest {
        lengths.reverse();
    }
    for length in lengths {
        let (part, rest) = if from_end {
            let (rest, part) = chars.split_at(count - length);
            (part, rest)
        } else {
            chars.split_at(length)
        };
        if pattern::matches(pattern, part) {
            return rest.iter().collect();
        }
    }
    value.to_owned()
}

fn replace(value: &str, pattern: &[Marked], with: &str, all: bool) -> String {
    let chars: Vec<char> = value.chars().take(10_000).collect();
    let mut result = String::new();
    let mut at = 0;
    let mut done = false;
    while at < chars.len() {
        let rest = chars.get(at..).unwrap_or_default();
        let found =
            if done { None } else { (1..=rest.len()).rev().find(|n| pattern::matches(pattern, rest.get(..*n).unwrap_or_default())) };
        if let Some(length) = found {
            result.push_str(with);
            at += length;
            done = !all;
        } else {
            result.extend(rest.first());
            at += 1;
        }
    }
    result
}

/// Boxes a future without a name; helps the compiler over recursion.
pub(crate) fn boxed<T>(future: impl Future<Output = T> + Send + 'static) -> Pending<T> {
    Box::pin(future)
}
