//! Runs `awk` programs over lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use regex::Regex;

use super::parse::{Expr, Rule, Statement, When};
use super::value::{Value, formatted, number_text};
use crate::sim::shell::applets::regexes::compile;
use crate::sim::shell::process::BYTES_MAX;

/// Most steps of one program.
const STEPS_MAX: u64 = 2_000_000;
/// Most fields of a line that an assignment may make.
const FIELDS_MAX: usize = 10_000;

enum Stop {
    Next,
    Exit(i32),
    Break,
    Continue,
    Error(String),
}

type Run<T> = Result<T, Stop>;

/// The state of a program.
pub(super) struct Machine {
    variables: BTreeMap<String, Value>,
    arrays: BTreeMap<String, BTreeMap<String, Value>>,
    line: String,
    fields: Vec<String>,
    steps: u64,
    ranges: Vec<bool>,
    /// What was printed.
    pub(super) output: String,
    /// What was printed to `/dev/stderr`.
    pub(super) errors: String,
    /// Files written: path, whether it was appended to, text.
    pub(super) files: Vec<(String, bool, String)>,
}

impl Machine {
    pub(super) fn new(environment: BTreeMap<String, String>) -> Self {
        let mut machine = Self {
            variables: BTreeMap::new(),
            arrays: BTreeMap::new(),
            line: String::new(),
            fields: Vec::new(),
            steps: 0,
            ranges: Vec::new(),
            output: String::new(),
            errors: String::new(),
            files: Vec::new(),
        };
        for (name, value) in [("FS", " "), ("OFS", " "), ("ORS", "\n"), ("RS", "\n"), ("SUBSEP", "\u{1c}")] {
            machine.variables.insert(name.to_owned(), Value::Text(value.to_owned()));
        }
        machine.arrays.insert("ENVIRON".to_owned(), environment.into_iter().map(|(k, v)| (k, Value::Input(v))).collect());
        machine
    }

    /// Sets a variable from outside.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), Value::Input(value.to_owned()));
    }

    fn get(&self, name: &str) -> String {
        self.variables.get(name).map_or_else(String::new, Value::text)
    }

    /// Runs the rules over the inputs; the result is the code of `exit`.
    pub(super) fn run(&mut self, rules: &[Rule], inputs: &[(String, String)]) -> Result<Option<i32>, String> {
        self.ranges = vec![false; rules.len()];
        let mut code = None;
        let mut ended = self.phase(rules, &When::Begin, &mut code)?;
        let mut total = 0.0;
        for (name, text) in inputs {
            self.set("FILENAME", if name == "-" { "" } else { name });
            for (index, line) in text.lines().enumerate() {
                if ended {
                    break;
                }
                total += 1.0;
                self.variables.insert("NR".to_owned(), Value::Number(total));
                let in_file = f64::from(u32::try_from(index + 1).unwrap_or(u32::MAX));
                self.variables.insert("FNR".to_owned(), Value::Number(in_file));
                self.set_line(line.to_owned());
                for (at, rule) in rules.iter().enumerate() {
                    match self.rule(at, rule) {
                        Ok(()) | Err(Stop::Break | Stop::Continue) => {}
                        Err(Stop::Next) => break,
                        Err(Stop::Exit(value)) => {
                            code = Some(value);
                            ended = true;
                            break;
                        }
                        Err(Stop::Error(message)) => return Err(message),
                    }
                }
            }
        }
        self.phase(rules, &When::End, &mut code)?;
        Ok(code)
    }

    fn phase(&mut self, rules: &[Rule], when: &When, code: &mut Option<i32>) -> Result<bool, String> {
        for rule in rules.iter().filter(|r| r.when == *when) {
            match self.block(rule.action.as_deref().unwrap_or_default()) {
                Err(Stop::Exit(value)) => {
                    *code = Some(value);
                    return Ok(true);
                }
                Err(Stop::Error(message)) => return Err(message),
                _ => {}
            }
        }
        Ok(false)
    }

    fn rule(&mut self, at: usize, rule: &Rule) -> Run<()> {
        let chosen = match &rule.when {
            When::Begin | When::End => false,
            When::Always => true,
            When::If(condition) => self.value(condition)?.truth(),
            When::Range(from, to) => {
                let inside = self.ranges.get(at).copied().unwrap_or(false) || self.value(from)?.truth();
                let ends = inside && self.value(to)?.truth();
                if let Some(range) = self.ranges.get_mut(at) {
                    *range = inside && !ends;
                }
                inside
            }
        };
        if !chosen {
            return Ok(());
        }
        if let Some(action) = &rule.action {
            self.block(action)
        } else {
            let _ = write!(self.output, "{}{}", self.line, self.get("ORS"));
            Ok(())
        }
    }

    fn step(&mut self) -> Run<()> {
        self.steps += 1;
        if self.steps > STEPS_MAX || self.output.len() > BYTES_MAX {
            Err(Stop::Error("stopped: too many steps".to_owned()))
        } else {
            Ok(())
        }
    }

    fn split(text: &str, separator: &str) -> Vec<String> {
        if text.is_empty() {
            return Vec::new();
        }
        let mut single = separator.chars();
        match (single.next(), single.next()) {
            (Some(' '), None) => text.split_whitespace().map(str::to_owned).collect(),
            (None, _) => text.chars().map(String::from).collect(),
            (Some(c), None) => text.split(c).map(str::to_owned).collect(),
            _ => match compile(separator, true, false) {
                Some(expression) => expression.split(text).map(str::to_owned).collect(),
                None => vec![text.to_owned()],
            },
        }
    }

    fn set_line(&mut self, line: String) {
        self.fields = Self::split(&line, &self.get("FS"));
        self.line = line;
    }

    fn field(&self, index: usize) -> Value {
        match index.checked_sub(1) {
            None => Value::Input(self.line.clone()),
            Some(at) => self.fields.get(at).map_or(Value::Unset, |f| Value::Input(f.clone())),
        }
    }

    fn index(&mut self, expression: &Expr) -> Run<usize> {
        let number = self.value(expression)?.number();
        if !(0.0..10_000.0).contains(&number) {
            return Err(Stop::Error(format!("attempt to access field {}", number_text(number))));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range, checked above")]
        let index = number as usize;
        Ok(index)
    }

    fn key(&mut self, parts: &[Expr]) -> Run<String> {
        let mut key = Vec::new();
        for part in parts {
            key.push(self.value(part)?.text());
        }
        Ok(key.join(&self.get("SUBSEP")))
    }

    fn store(&mut self, target: &Expr, value: Value) -> Run<()> {
        match target {
            Expr::Variable(name) if name == "NF" => {
                let count = self.index(&Expr::Number(value.number()))?;
                self.fields.resize(count, String::new());
                self.line = self.fields.join(&self.get("OFS"));
            }
            Expr::Variable(name) => {
                self.variables.insert(name.clone(), value);
            }
            Expr::Element(name, parts) => {
                let key = self.key(parts)?;
                self.arrays.entry(name.clone()).or_default().insert(key, value);
            }
            Expr::Field(inner) => match self.index(inner)? {
                0 => self.set_line(value.text()),
                at if at <= FIELDS_MAX => {
                    if self.fields.len() < at {
                        self.fields.resize(at, String::new());
                    }
                    if let Some(field) = self.fields.get_mut(at - 1) {
                        *field = value.text();
                    }
                    self.line = self.fields.join(&self.get("OFS"));
                }
                _ => {}
            },
            // A parenthesised target.
            Expr::Choice(_, inner, _) => return self.store(inner, value),
            _ => return Err(Stop::Error("assignment to something that is no variable".to_owned())),
        }
        Ok(())
    }

    fn regex(&mut self, expression: &Expr) -> Run<Regex> {
        if let Expr::Match(regex) = expression {
            return Ok(regex.clone());
        }
        let text = self.value(expression)?.text();
        compile(&text, true, false).ok_or_else(|| Stop::Error(format!("regular expression compile failed\n{text}")))
    }

    fn value(&mut self, expression: &Expr) -> Run<Value> {
        self.step()?;
        let truth = |value: bool| Value::Number(f64::from(u8::from(value)));
        Ok(match expression {
            Expr::Number(number) => Value::Number(*number),
            Expr::Text(text) => Value::Text(text.clone()),
            Expr::Match(regex) => truth(regex.is_match(&self.line)),
            Expr::Variable(name) if name == "NF" => Value::Number(f64::from(u32::try_from(self.fields.len()).unwrap_or(u32::MAX))),
            Expr::Variable(name) => self.variables.get(name).cloned().unwrap_or(Value::Unset),
            Expr::Field(inner) => {
                let index = self.index(inner)?;
                self.field(index)
            }
            Expr::Element(name, parts) => {
                let key = self.key(parts)?;
                self.arrays.entry(name.clone()).or_default().entry(key).or_insert(Value::Unset).clone()
            }
            Expr::In(key, array) => {
                let key = self.value(key)?.text();
                truth(self.arrays.get(array).is_some_and(|a| a.contains_key(&key)))
            }
            Expr::Assign(target, operator, value) => {
                let mut value = self.value(value)?;
                if !operator.is_empty() {
                    let old = self.value(target)?.number();
                    value = Value::Number(arithmetic(operator, old, value.number())?);
                }
                self.store(target, value.clone())?;
                value
            }
            Expr::Step(target, by, old_value) => {
                let old = self.value(target)?.number();
                self.store(target, Value::Number(old + by))?;
                Value::Number(if *old_value { old } else { old + by })
            }
            Expr::Unary('!', inner) => truth(!self.value(inner)?.truth()),
            Expr::Unary(sign, inner) => {
                let number = self.value(inner)?.number();
                Value::Number(if *sign == '-' { -number } else { number })
            }
            Expr::Choice(condition, yes, no) => {
                if self.value(condition)?.truth() {
                    self.value(yes)?
                } else {
                    self.value(no)?
                }
            }
            Expr::Call(name, arguments) => self.call(name, arguments)?,
            Expr::Binary(operator, left, right) => match operator.as_str() {
                "&&" => truth(self.value(left)?.truth() && self.value(right)?.truth()),
                "||" => truth(self.value(left)?.truth() || self.value(right)?.truth()),
                "~" | "!~" => {
                    let text = self.value(left)?.text();
                    truth(self.regex(right)?.is_match(&text) == (operator == "~"))
                }
                " " => {
                    let left = self.value(left)?.text();
                    Value::Text(left + &self.value(right)?.text())
                }
                "==" | "!=" | "<" | "<=" | ">" | ">=" => {
                    let (a, b) = (self.value(left)?, self.value(right)?);
                    let order = if a.numeric() && b.numeric() { a.number().total_cmp(&b.number()) } else { a.text().cmp(&b.text()) };
                    truth(match operator.as_str() {
                        "==" => order.is_eq(),
                        "!=" => order.is_ne(),
                        "<" => order.is_lt(),
                        "<=" => order.is_le(),
                        ">" => order.is_gt(),
                        _ => order.is_ge(),
                    })
                }
                _ => {
                    let (a, b) = (self.value(left)?.number(), self.value(right)?.number());
                    Value::Number(arithmetic(operator, a, b)?)
                }
            },
        })
    }

    fn call(&mut self, name: &str, arguments: &[Expr]) -> Run<Value> {
        let mut texts = Vec::new();
        // `split`, `sub` and their kin take names and expressions that must not be evaluated here.
        let special = matches!(name, "split" | "sub" | "gsub" | "match");
        for (at, argument) in arguments.iter().enumerate() {
            let evaluate = !special || at == usize::from(name.ends_with("sub")) && name != "match" || (name == "match" && at == 0);
            texts.push(if evaluate && !(name == "length" && matches!(argument, Expr::Variable(n) if self.arrays.contains_key(n))) {
                self.value(argument)?
            } else {
                Value::Unset
            });
        }
        let text = |at: usize| texts.get(at).map_or_else(String::new, Value::text);
        let number = |at: usize| texts.get(at).map_or(0.0, Value::number);
        let count = |n: usize| Value::Number(f64::from(u32::try_from(n).unwrap_or(u32::MAX)));
        Ok(match name {
            "length" => match arguments.first() {
                None => count(self.line.chars().count()),
                Some(Expr::Variable(array)) if self.arrays.contains_key(array) => count(self.arrays.get(array).map_or(0, BTreeMap::len)),
                Some(_) => count(text(0).chars().count()),
            },
            "toupper" => Value::Text(text(0).to_uppercase()),
            "tolower" => Value::Text(text(0).to_lowercase()),
            "index" => {
                let (all, part) = (text(0), text(1));
                count(all.find(&part).map_or(0, |at| all.get(..at).unwrap_or_default().chars().count() + 1))
            }
            "substr" => {
                let start = number(1).round();
                let end = if arguments.len() > 2 { start + number(2).round() } else { f64::INFINITY };
                let mut position = 0.0;
                let mut kept = text(0);
                kept.retain(|_| {
                    position += 1.0;
                    position >= start && position < end
                });
                Value::Text(kept)
            }
            "split" => {
                let separator = match arguments.get(2) {
                    Some(Expr::Match(regex)) => regex.as_str().to_owned(),
                    Some(expression) => self.value(expression)?.text(),
                    None => self.get("FS"),
                };
                let parts = Self::split(&text(0), &separator);
                let Some(Expr::Variable(array)) = arguments.get(1) else { return Err(Stop::Error("split needs an array".to_owned())) };
                let found = parts.len();
                self.arrays.insert(
                    array.clone(),
                    parts.into_iter().enumerate().map(|(at, part)| ((at + 1).to_string(), Value::Input(part))).collect(),
                );
                count(found)
            }
            "sub" | "gsub" => {
                let Some(pattern) = arguments.first() else { return Err(Stop::Error("syntax error".to_owned())) };
                let regex = self.regex(pattern)?;
                let whole = Expr::Field(Box::new(Expr::Number(0.0)));
                let target = arguments.get(2).unwrap_or(&whole);
                let old = self.value(target)?.text();
                let replacement = text(1);
                let limit = usize::from(name == "sub");
                let found = if limit == 1 { usize::from(regex.is_match(&old)) } else { regex.find_iter(&old).count() };
                if found > 0 {
                    let new = regex.replacen(&old, limit, |captures: &regex::Captures<'_>| {
                        let matched = captures.get(0).map_or("", |m| m.as_str());
                        replacement.replace("\\&", "\0").replace('&', matched).replace('\0', "&")
                    });
                    self.store(target, Value::Text(new.into_owned()))?;
                }
                count(found)
            }
            "match" => {
                let Some(pattern) = arguments.get(1) else { return Err(Stop::Error("syntax error".to_owned())) };
                let regex = self.regex(pattern)?;
                let subject = text(0);
                let (start, length) = regex.find(&subject).map_or((0, -1.0), |m| {
                    (
                        subject.get(..m.start()).unwrap_or_default().chars().count() + 1,
                        f64::from(u32::try_from(m.as_str().chars().count()).unwrap_or(0)),
                    )
                });
                self.variables.insert("RSTART".to_owned(), count(start));
                self.variables.insert("RLENGTH".to_owned(), Value::Number(length));
                count(start)
            }
            "sprintf" => {
                let rest: Vec<String> = texts.iter().skip(1).map(Value::text).collect();
                Value::Text(formatted(&text(0), &rest))
            }
            "int" => Value::Number(number(0).trunc()),
            "sqrt" => Value::Number(number(0).sqrt()),
            "exp" => Value::Number(number(0).exp()),
            "log" => Value::Number(number(0).ln()),
            "sin" => Value::Number(number(0).sin()),
            "cos" => Value::Number(number(0).cos()),
            "rand" => Value::Number(0.5),
            "srand" | "systime" | "fflush" | "close" => Value::Number(0.0),
            other => return Err(Stop::Error(format!("calling undefined function {other}"))),
        })
    }

    fn block(&mut self, statements: &[Statement]) -> Run<()> {
        for statement in statements {
            self.statement(statement)?;
        }
        Ok(())
    }

    /// Runs a loop's body; `true` when the loop is to end.
    fn round(&mut self, body: &[Statement]) -> Run<bool> {
        self.step()?;
        match self.block(body) {
            Ok(()) | Err(Stop::Continue) => Ok(false),
            Err(Stop::Break) => Ok(true),
            Err(other) => Err(other),
        }
    }

    fn statement(&mut self, statement: &Statement) -> Run<()> {
        self.step()?;
        match statement {
            Statement::Expression(expression) => {
                self.value(expression)?;
            }
            Statement::Print(values, is_formatted, target) => {
                let mut texts = Vec::new();
                for value in values {
                    texts.push(self.value(value)?.text());
                }
                let text = if *is_formatted {
                    formatted(texts.first().map_or("", String::as_str), texts.get(1..).unwrap_or_default())
                } else if values.is_empty() {
                    format!("{}{}", self.line, self.get("ORS"))
                } else {
                    texts.join(&self.get("OFS")) + &self.get("ORS")
                };
                match target {
                    None => self.output += &text,
                    Some((path, append)) => {
                        let path = self.value(path)?.text();
                        match path.as_str() {
                            "/dev/stdout" | "-" => self.output += &text,
                            "/dev/stderr" => self.errors += &text,
                            _ => match self.files.iter_mut().find(|f| f.0 == path) {
                                Some(file) => file.2 += &text,
                                None => self.files.push((path, *append, text)),
                            },
                        }
                    }
                }
            }
            Statement::If(condition, yes, no) => {
                let chosen = if self.value(condition)?.truth() { yes } else { no };
                self.block(chosen)?;
            }
            Statement::Loop(condition, step, body, body_first) => {
                if *body_first && self.round(body)? {
                    return Ok(());
                }
                loop {
                    if let Some(condition) = condition
                        && !self.value(condition)?.truth()
                    {
                        return Ok(());
                    }
                    if self.round(body)? {
                        return Ok(());
                    }
                    self.block(step)?;
                }
            }
            Statement::ForIn(name, array, body) => {
                let keys: Vec<String> = self.arrays.get(array).map(|a| a.keys().cloned().collect()).unwrap_or_default();
                for key in keys {
                    self.variables.insert(name.clone(), Value::Input(key));
                    if self.round(body)? {
                        return Ok(());
                    }
                }
            }
            Statement::Next => return Err(Stop::Next),
            Statement::Break => return Err(Stop::Break),
            Statement::Continue => return Err(Stop::Continue),
            Statement::Exit(value) => {
                let code = match value {
                    Some(value) => self.value(value)?.number(),
                    None => 0.0,
                };
                #[expect(clippy::cast_possible_truncation, reason = "an exit code")]
                return Err(Stop::Exit(code as i32 & 0xff));
            }
            Statement::Delete(array, index) => match index {
                Some(parts) => {
                    let key = self.key(parts)?;
                    if let Some(array) = self.arrays.get_mut(array) {
                        array.remove(&key);
                    }
                }
                None => {
                    self.arrays.remove(array);
                }
            },
        }
        Ok(())
    }
}

fn arithmetic(operator: &str, a: f64, b: f64) -> Run<f64> {
    Ok(match operator {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "^" => a.powf(b),
        _ if b == 0.0 => return Err(Stop::Error("division by zero".to_owned())),
        "/" => a / b,
        _ => a % b,
    })
}
