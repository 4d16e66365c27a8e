//! Small programs on names and bytes: `basename`, `dirname`, `expr`, `base64`, digests, `gzip`, `cmp`, `diff`, `od`.

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use sha2::Digest;

use super::options;
use super::regexes::compile;
use super::text::lines;
use crate::sim::shell::files::Content;
use crate::sim::shell::host::Host;
use crate::sim::shell::process::{BYTES_MAX, Process};

/// `basename NAME [SUFFIX]`, `dirname NAME`
pub(super) fn names<H: Host>(p: &mut Process<H>) -> i32 {
    let Some(path) = p.args.get(1).cloned() else {
        p.complain("missing operand");
        return 1;
    };
    let trimmed = path.trim_end_matches('/');
    let text = if p.name() == "basename" {
        let base = if trimmed.is_empty() { "/" } else { trimmed.rsplit('/').next().unwrap_or(trimmed) };
        let suffix = p.args.get(2).map_or("", String::as_str);
        base.strip_suffix(suffix).filter(|b| !b.is_empty()).unwrap_or(base).to_owned()
    } else {
        match trimmed.rsplit_once('/') {
            None if trimmed.is_empty() && path.starts_with('/') => "/".to_owned(),
            None => ".".to_owned(),
            Some((directory, _)) => match directory.trim_end_matches('/') {
                "" => "/".to_owned(),
                directory => directory.to_owned(),
            },
        }
    };
    p.line(text);
    0
}

/// Operators of `expr`, weakest first.
const EXPR: &[&[&str]] = &[&["|"], &["&"], &["=", "==", "!=", "<", "<=", ">", ">="], &["+", "-"], &["*", "/", "%"], &[":"]];

struct Expr<'a> {
    words: &'a [String],
    at: usize,
    depth: usize,
}

impl Expr<'_> {
    fn level(&mut self, level: usize) -> Result<String, &'static str> {
        let Some(operators) = EXPR.get(level) else { return self.primary() };
        let mut left = self.level(level + 1)?;
        while let Some(operator) = self.words.get(self.at).filter(|w| operators.contains(&w.as_str())).cloned() {
            self.at += 1;
            let right = self.level(level + 1)?;
            left = combine(&left, &operator, &right)?;
        }
        Ok(left)
    }

    fn primary(&mut self) -> Result<String, &'static str> {
        self.depth += 1;
        if self.depth > 200 {
            return Err("syntax error");
        }
        let word = self.words.get(self.at).ok_or("syntax error")?.clone();
        self.at += 1;
        match word.as_str() {
            "(" => {
                let value = self.level(0)?;
                if self.words.get(self.at).map(String::as_str) != Some(")") {
                    return Err("syntax error");
                }
                self.at += 1;
                Ok(value)
            }
            "length" if self.at < self.words.len() => Ok(self.primary()?.chars().count().to_string()),
            _ => Ok(word),
        }
    }
}

fn combine(left: &str, operator: &str, right: &str) -> Result<String, &'static str> {
    let empty = |t: &str| t.is_empty() || t == "0";
    let numbers = left.parse::<i64>().ok().zip(right.parse::<i64>().ok());
    let order = numbers.map_or_else(|| left.cmp(right), |(a, b)| a.cmp(&b));
    let truth = |value: bool| Ok(i64::from(value).to_string());
    match operator {
        "|" => Ok(if empty(left) { right } else { left }.to_owned()),
        "&" => Ok(if empty(left) || empty(right) { "0" } else { left }.to_owned()),
        "=" | "==" => truth(order.is_eq()),
        "!=" => truth(order.is_ne()),
        "<" => truth(order.is_lt()),
        "<=" => truth(order.is_le()),
        ">" => truth(order.is_gt()),
        ">=" => truth(order.is_ge()),
        ":" => {
            let expression = compile(&format!("^{right}"), false, false).ok_or("invalid regular expression")?;
            Ok(match expression.captures(left) {
                Some(captures) if captures.len() > 1 => captures.get(1).map_or("", |m| m.as_str()).to_owned(),
                Some(captures) => captures.get(0).map_or(0, |m| m.as_str().chars().count()).to_string(),
                None if expression.captures_len() > 1 => String::new(),
                None => "0".to_owned(),
            })
        }
        _ => {
            let (a, b) = numbers.ok_or("non-integer argument")?;
            let value = match operator {
                "+" => a.checked_add(b),
                "-" => a.checked_sub(b),
                "*" => a.checked_mul(b),
                _ if b == 0 => return Err("division by zero"),
                "/" => a.checked_div(b),
                _ => a.checked_rem(b),
            };
            value.map(|v| v.to_string()).ok_or("integer overflow")
        }
    }
}

/// `expr`
pub(super) fn expr<H: Host>(p: &mut Process<H>) -> i32 {
    let words = p.args.get(1..).unwrap_or_default().to_vec();
    let mut expression = Expr { words: &words, at: 0, depth: 0 };
    match expression.level(0) {
        Ok(value) if expression.at == words.len() => {
            let code = i32::from(value.is_empty() || value == "0");
            p.line(value);
            code
        }
        Ok(_) => {
            p.complain("syntax error");
            2
        }
        Err(message) => {
            p.complain(message);
            2
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// `md5sum`, `sha256sum`
pub(super) async fn digest<H: Host>(p: &mut Process<H>) -> i32 {
    let name = p.name();
    let options = options::parse(&p.args, "bct", &[]);
    let (inputs, fine) = p.inputs(&options.rest).await;
    for (path, bytes) in inputs {
        let sum = if name == "md5sum" { hexadecimal(&md5::Md5::digest(&bytes)) } else { hexadecimal(&sha2::Sha256::digest(&bytes)) };
        p.line(format!("{sum}  {path}"));
    }
    i32::from(!fine)
}

/// `base64 [-d] [-w COLUMNS] [FILE]`
pub(super) async fn base64<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "dDiw:", &[("decode", 'd'), ("wrap", 'w')]);
    let (inputs, fine) = p.inputs(&options.rest).await;
    for (_, bytes) in inputs {
        if options.has('d') || options.has('D') {
            let clean: Vec<u8> = bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
            if let Ok(plain) = STANDARD.decode(&clean) {
                p.print(plain);
            } else {
                p.complain(if p.machine.busybox() { "truncated input" } else { "invalid input" });
                return 1;
            }
            continue;
        }
        let text = STANDARD.encode(&bytes);
        let width: usize = options.number('w').unwrap_or(76);
        if width == 0 {
            p.print(text);
            continue;
        }
        for piece in text.as_bytes().chunks(width) {
            p.line(piece);
        }
    }
    i32::from(!fine)
}

/// `gzip`, `gunzip`, `zcat`
pub(super) async fn gzip<H: Host>(p: &mut Process<H>) -> i32 {
    let name = p.name();
    let options = options::parse(&p.args, "cdkfqv123456789nt", &[("stdout", 'c'), ("decompress", 'd'), ("keep", 'k'), ("force", 'f')]);
    let unpack = options.has('d') || name != "gzip";
    let to_output = options.has('c') || name == "zcat" || options.rest.is_empty() || options.rest == ["-"];
    let (inputs, fine) = p.inputs(&options.rest).await;
    let mut code = i32::from(!fine);
    for (path, bytes) in inputs {
        let result = if unpack {
            let mut plain = Vec::new();
            GzDecoder::new(bytes.as_slice()).take(BYTES_MAX as u64).read_to_end(&mut plain).map(|_| plain)
        } else {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&bytes).and_then(|()| encoder.finish())
        };
        let Ok(result) = result else {
            code = 1;
            p.raw_error(format!("\ngzip: {path}: not in gzip format\n"));
            continue;
        };
        if to_output {
            p.print(result);
            continue;
        }
        let target = if unpack { path.strip_suffix(".gz").unwrap_or(&path).to_owned() } else { format!("{path}.gz") };
        if let Err(error) = p.write_file(&target, &Content { head: result, zeros: 0 }, false, 1).await {
            code = 1;
            p.file_error(&target, "", error);
        } else if !options.has('k') && target != path {
            let full = p.path(&path);
            let _ = p.machine.files(|f| f.remove(&full));
        }
    }
    code
}

/// `cmp`, `diff`: whether two files are alike; `diff` lists whole differing ranges without looking for moved lines.
pub(super) async fn compare<H: Host>(p: &mut Process<H>) -> i32 {
    let name = p.name();
    let options = options::parse(&p.args, "qsubwrNU:l", &[("brief", 'q')]);
    let (inputs, fine) = p.inputs(&options.rest).await;
    let [(a_name, left), (b_name, right)] = inputs.as_slice() else {
        if fine {
            p.complain("missing operand");
        }
        return 2;
    };
    if left == right {
        return 0;
    }
    if name == "cmp" {
        let at = left.iter().zip(right).take_while(|(l, r)| l == r).count();
        let line = left.iter().take(at).filter(|l| **l == b'\n').count() + 1;
        if !options.has('s') {
            p.line(format!("{a_name} {b_name} differ: byte {}, line {line}", at + 1));
        }
        return 1;
    }
    if options.has('q') {
        p.line(format!("Files {a_name} and {b_name} differ"));
        return 1;
    }
    let (before, after) = (lines(left), lines(right));
    let start = before.iter().zip(&after).take_while(|(l, r)| l == r).count();
    let end = before.iter().rev().zip(after.iter().rev()).take_while(|(l, r)| l == r).count().min(before.len().min(after.len()) - start);
    let (old, new) = (before.get(start..before.len() - end).unwrap_or_default(), after.get(start..after.len() - end).unwrap_or_default());
    let unified = options.has('u') || options.has('U') || p.machine.busybox();
    if unified {
        p.line(format!("--- {a_name}"));
        p.line(format!("+++ {b_name}"));
        p.line(format!("@@ -{},{} +{},{} @@", start + 1, old.len(), start + 1, new.len()));
    } else {
        let range = |from: usize, count: usize| match count {
            0 => from.to_string(),
            1 => (from + 1).to_string(),
            n => format!("{},{}", from + 1, from + n),
        };
        let kind = match (old.len(), new.len()) {
            (0, _) => 'a',
            (_, 0) => 'd',
            _ => 'c',
        };
        p.line(format!("{}{kind}{}", range(start, old.len()), range(start, new.len())));
    }
    for line in old {
        p.line(if unified { format!("-{line}") } else { format!("< {line}") });
    }
    if !unified && !old.is_empty() && !new.is_empty() {
        p.line("---");
    }
    for line in new {
        p.line(if unified { format!("+{line}") } else { format!("> {line}") });
    }
    1
}

/// The last releases of Python, by minor version.
const PYTHONS: [&str; 7] = ["3.14.0", "3.13.9", "3.12.12", "3.11.14", "3.10.19", "3.9.25", "3.8.20"];

/// `python3 --version`: what the tag of an image that is called after Python says, else that of a recent one.
pub(super) fn python<H: Host>(p: &mut Process<H>) -> i32 {
    let image = p.host().image();
    let tag = image.rsplit('/').next().and_then(|name| name.strip_prefix("python:")).unwrap_or_default();
    let asked = tag.split('-').next().unwrap_or_default();
    let minor = |release: &str| release.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let version = match asked.split('.').count() {
        3 => asked,
        _ => PYTHONS.iter().find(|release| minor(release)).copied().unwrap_or("3.12.12"),
    };
    p.line(format!("Python {version}"));
    0
}
