//! `sed`: addresses, `s`, `y`, `p`, `d`, `q`, `a`, `i`, `c`, `=`, `n`, groups; no branches and no hold space.

use regex::Regex;
use std::fmt::Write as _;

use super::options;
use super::regexes::compile;
use crate::sim::shell::files::Content;
use crate::sim::shell::host::Host;
use crate::sim::shell::process::Process;

#[derive(Debug, Clone)]
enum Address {
    Line(usize),
    Last,
    Match(Regex),
    Step(usize, usize),
    /// `addr,+N`
    More(usize),
}

#[derive(Debug, Clone)]
enum Action {
    Substitute { expression: Regex, with: Vec<Piece>, global: bool, number: usize, print: bool },
    Transliterate(Vec<(char, char)>),
    Print,
    Delete,
    Quit,
    Append(String),
    Insert(String),
    Change(String),
    Number,
    Next,
    Group(Vec<Command>),
}

/// A part of a replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Group(usize),
}

#[derive(Debug, Clone)]
struct Command {
    from: Option<Address>,
    to: Option<Address>,
    negated: bool,
    action: Action,
    /// While in a range: the line at which `+N` ends, or 0.
    active: Option<usize>,
}

struct Reader<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    extended: bool,
    depth: usize,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        while self.chars.next_if(|c| c.is_whitespace() || *c == ';').is_some() {}
    }

    fn number(&mut self) -> Option<usize> {
        let mut text = String::new();
        while let Some(c) = self.chars.next_if(char::is_ascii_digit) {
            text.push(c);
        }
        text.parse().ok()
    }

    /// Text up to an unescaped delimiter; an escaped delimiter loses its backslash.
    fn until(&mut self, delimiter: char) -> Result<String, String> {
        let mut text = String::new();
        let mut bracket = false;
        loop {
            match self.chars.next() {
                None => return Err("unterminated address regex or `s' command".to_owned()),
                Some('\\') => match self.chars.next() {
                    Some(c) if c == delimiter => text.push(c),
                    Some('n') => text.push_str("\\n"),
                    Some(c) => {
                        text.push('\\');
                        text.push(c);
                    }
                    None => text.push('\\'),
                },
                Some(c) if c == delimiter && !bracket => return Ok(text),
                Some(c) => {
                    // A delimiter inside [...] is text.
                    match c {
                        '[' => bracket = self.closes_soon(delimiter),
                        ']' => bracket = false,
                        _ => {}
                    }
                    text.push(c);
                }
            }
        }
    }

    fn closes_soon(&self, delimiter: char) -> bool {
        let ahead: String = self.chars.clone().take(200).collect();
        ahead.find(']').is_some_and(|close| ahead.find(delimiter).is_none_or(|at| at < close))
    }

    fn expression(&self, text: &str, ignore_case: bool) -> Result<Regex, String> {
        compile(text, self.extended, ignore_case).ok_or_else(|| "invalid regular expression".to_owned())
    }

    fn address(&mut self) -> Result<Option<Address>, String> {
        let Some(c) = self.chars.peek().copied() else { return Ok(None) };
        Ok(match c {
            '$' => {
                self.chars.next();
                Some(Address::Last)
            }
            '/' | '\\' => {
                self.chars.next();
                let delimiter = if c == '\\' { self.chars.next().unwrap_or('/') } else { '/' };
                let text = self.until(delimiter)?;
                let ignore_case = self.chars.next_if_eq(&'I').is_some();
                Some(Address::Match(self.expression(&text, ignore_case)?))
            }
            '+' => {
                self.chars.next();
                self.number().map(Address::More)
            }
            _ => match self.number() {
                Some(first) if self.chars.next_if_eq(&'~').is_some() => Some(Address::Step(first, self.number().unwrap_or(1))),
                other => other.map(Address::Line),
            },
        })
    }

    fn commands(&mut self, nested: bool) -> Result<Vec<Command>, String> {
        self.depth += 1;
        if self.depth > 20 {
            return Err("nested too deeply".to_owned());
        }
        let mut commands = Vec::new();
        loop {
            self.blanks();
            if self.chars.peek() == Some(&'#') {
                while self.chars.next_if(|c| *c != '\n').is_some() {}
                continue;
            }
            if self.chars.peek().is_none() {
                return if nested { Err("unmatched `{'".to_owned()) } else { Ok(commands) };
            }
            if nested && self.chars.next_if_eq(&'}').is_some() {
                self.depth -= 1;
                return Ok(commands);
            }
            let from = self.address()?;
            let mut to = None;
            if from.is_some() && self.chars.next_if_eq(&',').is_some() {
                to = self.address()?;
            }
            self.blanks();
            let mut negated = false;
            while self.chars.next_if_eq(&'!').is_some() {
                negated = true;
                self.blanks();
            }
            let action = self.action()?;
            commands.push(Command { from, to, negated, action, active: None });
        }
    }

    /// The text of `a`, `i` and `c`: the rest of the line, after an optional `\` and newline.
    fn text(&mut self) -> String {
        while self.chars.next_if(|c| *c == ' ' || *c == '\t').is_some() {}
        if self.chars.next_if_eq(&'\\').is_some() && self.chars.next_if_eq(&'\n').is_none() {
            while self.chars.next_if(|c| *c == ' ').is_some() {}
        }
        let mut text = String::new();
        while let Some(c) = self.chars.next_if(|c| *c != '\n') {
            if c == '\\' {
                match self.chars.next() {
                    Some('t') => text.push('\t'),
                    Some('n') => text.push('\n'),
                    other => text.extend(other),
                }
            } else {
                text.push(c);
            }
        }
        text
    }

    fn action(&mut self) -> Result<Action, String> {
        match self.chars.next() {
            Some('p') => Ok(Action::Print),
            Some('d') => Ok(Action::Delete),
            Some('q' | 'Q') => Ok(Action::Quit),
            Some('=') => Ok(Action::Number),
            Some('n') => Ok(Action::Next),
            Some('a') => Ok(Action::Append(self.text())),
            Some('i') => Ok(Action::Insert(self.text())),
            Some('c') => Ok(Action::Change(self.text())),
            Some('{') => Ok(Action::Group(self.commands(true)?)),
            Some('y') => {
                let delimiter = self.chars.next().unwrap_or('/');
                let (from, to) = (self.until(delimiter)?, self.until(delimiter)?);
                if from.chars().count() != to.chars().count() {
                    return Err("strings for `y' command are different lengths".to_owned());
                }
                Ok(Action::Transliterate(from.chars().zip(to.chars()).collect()))
            }
            Some('s') => {
                let delimiter = self.chars.next().unwrap_or('/');
                let pattern = self.until(delimiter)?;
                let with = pieces(&self.until(delimiter)?);
                let (mut global, mut print, mut ignore_case, mut number) = (false, false, false, 1);
                loop {
                    match self.chars.peek() {
                        Some('g') => global = true,
                        Some('p') => print = true,
                        Some('i' | 'I') => ignore_case = true,
                        Some(c) if c.is_ascii_digit() => {
                            number = self.number().unwrap_or(1).max(1);
                            continue;
                        }
                        None | Some(';' | '}' | '\n' | ' ' | '#') => break,
                        Some(_) => return Err("unknown option to `s'".to_owned()),
                    }
                    self.chars.next();
                }
                Ok(Action::Substitute { expression: self.expression(&pattern, ignore_case)?, with, global, number, print })
            }
            Some(c) => Err(format!("unknown command: `{c}'")),
            None => Err("missing command".to_owned()),
        }
    }
}

fn pieces(text: &str) -> Vec<Piece> {
    let mut all = Vec::new();
    let mut literal = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let group = match c {
            '&' => Some(0),
            '\\' => match chars.next() {
                Some(d) if d.is_ascii_digit() => d.to_digit(10).map(|d| d as usize),
                Some('n') => {
                    literal.push('\n');
                    None
                }
                Some('t') => {
                    literal.push('\t');
                    None
                }
                other => {
                    literal.extend(other);
                    None
                }
            },
            other => {
                literal.push(other);
                None
            }
        };
        if let Some(group) = group {
            all.push(Piece::Text(std::mem::take(&mut literal)));
            all.push(Piece::Group(group));
        }
    }
    all.push(Piece::Text(literal));
    all
}

/// The line being worked on.
struct State<'a> {
    lines: &'a [&'a str],
    at: usize,
    space: String,
    quiet: bool,
    output: String,
    after: Vec<String>,
    quit: bool,
}

enum Next {
    Go,
    Deleted,
    Quit,
}

fn address(address: &Address, state: &State<'_>) -> bool {
    let number = state.at + 1;
    match address {
        Address::Line(n) => number == *n,
        Address::Last => number == state.lines.len(),
        Address::Match(expression) => expression.is_match(&state.space),
        Address::Step(first, step) => {
            number >= *first && (*step == 0 && number == *first || *step > 0 && (number - first).is_multiple_of(*step))
        }
        Address::More(_) => false,
    }
}

fn selected(command: &mut Command, state: &State<'_>) -> bool {
    let number = state.at + 1;
    let chosen = match (&command.from, &command.to) {
        (None, _) => true,
        (Some(from), None) => address(from, state),
        (Some(from), Some(to)) => {
            if let Some(end) = command.active {
                let ended = match to {
                    Address::Line(n) => number >= *n,
                    Address::More(_) => number >= end,
                    other => address(other, state),
                };
                if ended {
                    command.active = None;
                }
                !matches!(to, Address::Line(n) if number > *n)
            } else if address(from, state) {
                let end = if let Address::More(n) = to { number + n } else { 0 };
                let single = matches!(to, Address::Line(n) if *n <= number)
                    || matches!(to, Address::More(0))
                    || (matches!(to, Address::Last) && number == state.lines.len());
                command.active = (!single).then_some(end);
                true
            } else {
                false
            }
        }
    };
    chosen != command.negated
}

fn substitute(space: &str, expression: &Regex, with: &[Piece], global: bool, number: usize) -> Option<String> {
    let mut result = String::new();
    let mut last = 0;
    let mut changed = false;
    for (at, captures) in expression.captures_iter(space).enumerate() {
        let Some(whole) = captures.get(0) else { continue };
        if at + 1 < number || (changed && !global) {
            continue;
        }
        changed = true;
        result.push_str(space.get(last..whole.start()).unwrap_or_default());
        for piece in with {
            match piece {
                Piece::Text(text) => result.push_str(text),
                Piece::Group(group) => result.push_str(captures.get(*group).map_or("", |m| m.as_str())),
            }
        }
        last = whole.end();
    }
    result.push_str(space.get(last..).unwrap_or_default());
    changed.then_some(result)
}

fn run(commands: &mut [Command], state: &mut State<'_>) -> Next {
    for command in commands {
        if !selected(command, state) {
            continue;
        }
        match &mut command.action {
            Action::Substitute { expression, with, global, number, print } => {
                if let Some(changed) = substitute(&state.space, expression, with, *global, *number) {
                    state.space = changed;
                    if *print {
                        let _ = writeln!(state.output, "{}", state.space);
                    }
                }
            }
            Action::Transliterate(pairs) => {
                state.space = state.space.chars().map(|c| pairs.iter().find(|p| p.0 == c).map_or(c, |p| p.1)).collect();
            }
            Action::Print => {
                let _ = writeln!(state.output, "{}", state.space);
            }
            Action::Number => {
                let _ = writeln!(state.output, "{}", state.at + 1);
            }
            Action::Delete => return Next::Deleted,
            Action::Quit => return Next::Quit,
            Action::Append(text) => state.after.push(text.clone()),
            Action::Insert(text) => {
                let _ = writeln!(state.output, "{text}");
            }
            Action::Change(text) => {
                if command.active.is_none() {
                    let _ = writeln!(state.output, "{text}");
                }
                return Next::Deleted;
            }
            Action::Next => {
                if !state.quiet {
                    let _ = writeln!(state.output, "{}", state.space);
                }
                let Some(line) = state.lines.get(state.at + 1) else {
                    return Next::Deleted;
                };
                state.at += 1;
                (*line).clone_into(&mut state.space);
            }
            Action::Group(inner) => match run(inner, state) {
                Next::Go => {}
                other => return other,
            },
        }
    }
    Next::Go
}

/// Runs a program over a text.
fn edit(commands: &mut [Command], text: &str, quiet: bool) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut state = State { lines: &lines, at: 0, space: String::new(), quiet, output: String::new(), after: Vec::new(), quit: false };
    while let Some(line) = lines.get(state.at).filter(|_| !state.quit) {
        (*line).clone_into(&mut state.space);
        let next = run(commands, &mut state);
        if !quiet && !matches!(next, Next::Deleted) {
            let _ = writeln!(state.output, "{}", state.space);
        }
        for text in std::mem::take(&mut state.after) {
            let _ = writeln!(state.output, "{text}");
        }
        state.quit = matches!(next, Next::Quit);
        state.at += 1;
    }
    if !text.is_empty() && !text.ends_with('\n') && state.output.ends_with('\n') {
        state.output.pop();
    }
    state.output
}

/// `sed [-n] [-E] [-i[SUFFIX]] [-e SCRIPT | SCRIPT] FILE...`
pub(super) async fn sed<H: Host>(p: &mut Process<H>) -> i32 {
    // `-i` takes its suffix only when attached.
    let mut suffix = None;
    let args: Vec<String> = p
        .args
        .iter()
        .map(|a| {
            if let Some(rest) = a.strip_prefix("-i").or_else(|| a.strip_prefix("--in-place=")) {
                suffix = Some(rest.to_owned());
                "-i".to_owned()
            } else {
                a.clone()
            }
        })
        .collect();
    let options = options::parse(
        &args,
        "nErisuze:f:",
        &[("quiet", 'n'), ("silent", 'n'), ("regexp-extended", 'E'), ("in-place", 'i'), ("expression", 'e'), ("file", 'f')],
    );
    let mut rest = options.rest.clone();
    let mut scripts = options.all('e').to_vec();
    for path in options.all('f') {
        scripts.push(String::from_utf8_lossy(&p.read_file(path).await.unwrap_or_default()).into_owned());
    }
    if scripts.is_empty() && !rest.is_empty() {
        scripts.push(rest.remove(0));
    }
    if scripts.is_empty() {
        p.raw_error("Usage: sed [OPTION]... {script-only-if-no-other-script} [input-file]...\n");
        return 1;
    }
    let script = scripts.join("\n");
    let mut reader = Reader { chars: script.chars().peekable(), extended: options.has('E') || options.has('r'), depth: 0 };
    let mut commands = match reader.commands(false) {
        Ok(commands) => commands,
        Err(message) => {
            let at = script.chars().count() - reader.chars.count();
            p.raw_error(if p.machine.busybox() {
                format!("sed: {message}\n")
            } else {
                format!("sed: -e expression #1, char {at}: {message}\n")
            });
            return 1;
        }
    };
    let quiet = options.has('n');
    if options.has('i') {
        let mut code = 0;
        for path in &rest {
            let result = match p.read_file(path).await {
                Ok(bytes) => {
                    if let Some(suffix) = suffix.as_deref().filter(|s| !s.is_empty()) {
                        let _ = p.write_file(&format!("{path}{suffix}"), &Content { head: bytes.clone(), zeros: 0 }, false, 1).await;
                    }
                    let text = edit(&mut commands.clone(), &String::from_utf8_lossy(&bytes), quiet);
                    p.write_file(path, &Content { head: text.into_bytes(), zeros: 0 }, false, 1).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                code = if p.machine.busybox() { 1 } else { 2 };
                let text = if p.machine.busybox() { format!("{path}: {error}") } else { format!("can't read {path}: {error}") };
                p.complain(text);
            }
        }
        return code;
    }
    let mut all = Vec::new();
    let mut code = 0;
    if rest.is_empty() {
        rest.push("-".to_owned());
    }
    for path in &rest {
        match p.read_input(path).await {
            Ok(bytes) => all.extend(bytes),
            Err(error) => {
                code = if p.machine.busybox() { 1 } else { 2 };
                let text = if p.machine.busybox() { format!("{path}: {error}") } else { format!("can't read {path}: {error}") };
                p.complain(text);
            }
        }
    }
    p.print(edit(&mut commands, &String::from_utf8_lossy(&all), quiet));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts() {
        for (script, quiet, text, expected) in [
            ("s/a/b/", false, "aa\n", "ba\n"),
            ("s/a/[&]/g", false, "aa\n", "[a][a]\n"),
            ("s|/x|/y|2", false, "/x/x\n", "/x/y\n"),
            ("s/\\(.*\\)-\\(.*\\)/\\2-\\1/", false, "a-b\n", "b-a\n"),
            ("2d", false, "1\n2\n3\n", "1\n3\n"),
            ("2,3p", true, "1\n2\n3\n4\n", "2\n3\n"),
            ("/b/,/c/d", false, "a\nb\nx\nc\nd\n", "a\nd\n"),
            ("$!d", false, "1\n2\n", "2\n"),
            ("1q", false, "1\n2\n", "1\n"),
            ("1a new", false, "1\n2\n", "1\nnew\n2\n"),
            ("/1/{s/1/one/;p}", false, "1\n2\n", "one\none\n2\n"),
            ("y/abc/xyz/", false, "cab\n", "zxy\n"),
            ("s/[/]/-/", false, "a/b", "a-b"),
        ] {
            let mut reader = Reader { chars: script.chars().peekable(), extended: false, depth: 0 };
            let mut commands = reader.commands(false).unwrap();
            assert_eq!(edit(&mut commands, text, quiet), expected, "{script}");
        }
    }
}
