//! `echo`, `printf` and `test`.

use std::collections::BTreeMap;

use crate::sim::shell::arithmetic;
use crate::sim::shell::files::Kind;
use crate::sim::shell::host::Host;
use crate::sim::shell::process::{BYTES_MAX, Process, Source};

/// Backslash escapes as `echo -e` and `printf` know them; the flag tells that `\c` ended the output.
pub(super) fn unescape(text: &str) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match chars.next() {
            Some('n') => bytes.push(b'\n'),
            Some('t') => bytes.push(b'\t'),
            Some('r') => bytes.push(b'\r'),
            Some('a') => bytes.push(7),
            Some('b') => bytes.push(8),
            Some('f') => bytes.push(12),
            Some('v') => bytes.push(11),
            Some('e') => bytes.push(27),
            Some('\\') | None => bytes.push(b'\\'),
            Some('c') => return (bytes, true),
            Some('x') => {
                let mut value = 0_u8;
                for _ in 0..2 {
                    let Some(digit) = chars.peek().and_then(|c| c.to_digit(16)) else { break };
                    value = value.wrapping_mul(16).wrapping_add(u8::try_from(digit).unwrap_or(0));
                    chars.next();
                }
                bytes.push(value);
            }
            Some(first @ '0'..='7') => {
                let mut value = first.to_digit(8).unwrap_or(0);
                let most = if first == '0' { 3 } else { 2 };
                for _ in 0..most {
                    let Some(digit) = chars.peek().and_then(|c| c.to_digit(8)) else { break };
                    value = value * 8 + digit;
                    chars.next();
                }
                bytes.push(u8::try_from(value & 0xff).unwrap_or(0));
            }
            Some(other) => {
                bytes.push(b'\\');
                bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
    (bytes, false)
}

/// `echo`: dash's interprets escapes always, the others with `-e`.
pub(super) fn echo<H: Host>(p: &mut Process<H>) -> i32 {
    let mut rest = p.args.get(1..).unwrap_or_default().to_vec();
    let mut newline = true;
    let mut escapes = !p.machine.busybox();
    while let Some(flags) = rest.first().and_then(|a| a.strip_prefix('-')) {
        if flags.is_empty() || !flags.chars().all(|c| matches!(c, 'n' | 'e' | 'E')) {
            break;
        }
        newline &= !flags.contains('n');
        escapes = (escapes || flags.contains('e')) && !flags.contains('E');
        rest.remove(0);
    }
    let text = rest.join(" ");
    if escapes {
        let (bytes, cut) = unescape(&text);
        p.print(bytes);
        newline &= !cut;
    } else {
        p.print(text);
    }
    if newline {
        p.print("\n");
    }
    0
}

/// One `%` conversion: flags, width, precision, letter.
struct Conversion {
    flags: String,
    width: usize,
    precision: Option<usize>,
    letter: char,
}

impl Conversion {
    fn pad(&self, text: String) -> String {
        let count = text.chars().count();
        let fill = self.width.min(10_000).saturating_sub(count);
        if self.flags.contains('-') {
            text + &" ".repeat(fill)
        } else if self.flags.contains('0') && self.letter != 's' {
            let (sign, digits) = if let Some(rest) = text.strip_prefix('-') { ("-", rest) } else { ("", text.as_str()) };
            format!("{sign}{}{digits}", "0".repeat(fill))
        } else {
            " ".repeat(fill) + &text
        }
    }

    /// The argument formatted, and the complaint about a bad number.
    fn format(&self, argument: &str) -> (Vec<u8>, Option<String>) {
        let trimmed = argument.trim();
        let character = trimmed.strip_prefix(['\'', '"']).and_then(|t| t.chars().next()).map(|c| i64::from(u32::from(c)));
        let bad = |fine: bool| (!fine && !trimmed.is_empty()).then(|| format!("{argument}: expected numeric value"));
        match self.letter {
            's' | 'b' => {
                let text = match self.precision {
                    Some(precision) => argument.chars().take(precision).collect(),
                    None => argument.to_owned(),
                };
                if self.letter == 'b' { (unescape(&text).0, None) } else { (self.pad(text).into_bytes(), None) }
            }
            'c' => (self.pad(argument.chars().take(1).collect()).into_bytes(), None),
            'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
                let value = character.or_else(|| trimmed.parse().ok()).or_else(|| {
                    arithmetic::evaluate(trimmed, &mut BTreeMap::new(), false)
                        .ok()
                        .filter(|_| trimmed.starts_with(|c: char| c.is_ascii_digit() || c == '-'))
                });
                let number = value.unwrap_or(0);
                let mut text = match self.letter {
                    'x' => format!("{number:x}"),
                    'X' => format!("{number:X}"),
                    'o' => format!("{number:o}"),
                    _ => number.to_string(),
                };
                if self.flags.contains('+') && number >= 0 {
                    text.insert(0, '+');
                }
                (self.pad(text).into_bytes(), bad(value.is_some()))
            }
            'f' | 'F' | 'e' | 'g' => {
                let value = trimmed.parse::<f64>().ok();
                let number = value.unwrap_or(0.0);
                let precision = self.precision.unwrap_or(6).min(100);
                let text = match self.letter {
                    'e' => exponential(number, precision),
                    'g' => significant(number, precision),
                    _ => format!("{number:.precision$}"),
                };
                (self.pad(text).into_bytes(), bad(value.is_some()))
            }
            other => (format!("%{other}").into_bytes(), None),
        }
    }
}

/// `%e`: at least two digits of exponent, with its sign.
fn exponential(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// `%g`: this many significant digits, no trailing zeros.
pub(super) fn significant(number: f64, digits: usize) -> String {
    if number == 0.0 || !number.is_finite() {
        return if number == 0.0 { "0".to_owned() } else { number.to_string() };
    }
    let digits = digits.max(1);
    let exponent: i32 = format!("{:.*e}", digits - 1, number).rsplit('e').next().and_then(|e| e.parse().ok()).unwrap_or(0);
    if exponent < -4 || exponent >= i32::try_from(digits).unwrap_or(i32::MAX) {
        let text = format!("{:.*e}", digits - 1, number);
        let (mantissa, _) = text.split_once('e').unwrap_or((&text, "0"));
        let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let decimals = usize::try_from(i32::try_from(digits).unwrap_or(6) - 1 - exponent).unwrap_or(0);
    let text = format!("{number:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Formats as `printf` does, using the arguments over and over; returns the bytes and the complaints.
pub(super) fn format(template: &str, arguments: &[String]) -> (Vec<u8>, Vec<String>) {
    let mut bytes = Vec::new();
    let mut complaints = Vec::new();
    let mut next = arguments.iter();
    loop {
        let before = next.len();
        let mut chars = template.chars().peekable();
        let mut literal = String::new();
        while let Some(c) = chars.next() {
            if c == '\\' {
                literal.push(c);
                literal.extend(chars.next());
                continue;
            }
            if c != '%' {
                literal.push(c);
                continue;
            }
            if chars.peek() == Some(&'%') {
                chars.next();
                literal.push('%');
                continue;
            }
            let (text, cut) = unescape(&std::mem::take(&mut literal));
            bytes.extend(text);
            if cut {
                return (bytes, complaints);
            }
            let mut conversion = Conversion { flags: String::new(), width: 0, precision: None, letter: '%' };
            while let Some(flag) = chars.peek().copied().filter(|c| matches!(c, '-' | '0' | '+' | ' ' | '#')) {
                conversion.flags.push(flag);
                chars.next();
            }
            let mut precision = false;
            for c in chars.by_ref() {
                match c {
                    '.' => {
                        precision = true;
                        conversion.precision = Some(0);
                    }
                    '*' => {
                        let value = next.next().and_then(|a| a.parse().ok()).unwrap_or(0);
                        if precision { conversion.precision = Some(value) } else { conversion.width = value }
                    }
                    '0'..='9' => {
                        let digit = c.to_digit(10).map_or(0, |d| d as usize);
                        let target = if precision { conversion.precision.get_or_insert(0) } else { &mut conversion.width };
                        *target = (*target * 10 + digit).min(100_000);
                    }
                    'l' | 'h' => {}
                    letter => {
                        conversion.letter = letter;
                        break;
                    }
                }
            }
            let (text, complaint) = conversion.format(next.next().map_or("", String::as_str));
            bytes.extend(text);
            complaints.extend(complaint);
        }
        let (text, cut) = unescape(&literal);
        bytes.extend(text);
        if cut || next.len() == 0 || next.len() == before || bytes.len() > BYTES_MAX {
            return (bytes, complaints);
        }
    }
}

/// `printf FORMAT ARG...`
pub(super) fn printf<H: Host>(p: &mut Process<H>) -> i32 {
    let mut rest = p.args.get(1..).unwrap_or_default().to_vec();
    if rest.first().is_some_and(|a| a == "--") {
        rest.remove(0);
    }
    let Some((template, arguments)) = rest.split_first() else {
        p.complain("usage: printf format [arg ...]");
        return 2;
    };
    let (bytes, complaints) = format(template, arguments);
    p.print(bytes);
    let code = i32::from(!complaints.is_empty());
    for complaint in complaints {
        p.complain(complaint);
    }
    code
}

/// `test`, `[`, `[[`
pub(super) fn test<H: Host>(p: &mut Process<H>) -> i32 {
    let mut words = p.args.get(1..).unwrap_or_default().to_vec();
    let name = p.name();
    if name != "test" && words.pop().is_none_or(|last| last != if name == "[" { "]" } else { "]]" }) {
        p.complain("missing ]");
        return 2;
    }
    let mut evaluation = Test { process: p, words: &words, at: 0, depth: 0 };
    match evaluation.or() {
        Ok(value) if evaluation.at >= words.len() => i32::from(!value),
        Ok(_) => {
            let word = words.get(evaluation.at).cloned().unwrap_or_default();
            p.complain(format!("{word}: unexpected operator"));
            2
        }
        Err(message) => {
            p.complain(message);
            2
        }
    }
}

struct Test<'a, H: Host> {
    process: &'a Process<H>,
    words: &'a [String],
    at: usize,
    depth: usize,
}

impl<H: Host> Test<'_, H> {
    fn word(&self, offset: usize) -> Option<&str> {
        self.words.get(self.at + offset).map(String::as_str)
    }

    fn or(&mut self) -> Result<bool, String> {
        let mut value = self.and()?;
        while matches!(self.word(0), Some("-o" | "||")) {
            self.at += 1;
            value |= self.and()?;
        }
        Ok(value)
    }

    fn and(&mut self) -> Result<bool, String> {
        let mut value = self.not()?;
        while matches!(self.word(0), Some("-a" | "&&")) {
            self.at += 1;
            value &= self.not()?;
        }
        Ok(value)
    }

    fn not(&mut self) -> Result<bool, String> {
        self.depth += 1;
        if self.depth > 100 {
            return Err("expression too deep".to_owned());
        }
        if self.word(0) == Some("!") && self.words.len() - self.at > 1 && !self.is_binary(1) {
            self.at += 1;
            return Ok(!self.not()?);
        }
        self.primary()
    }

    fn is_binary(&self, offset: usize) -> bool {
        matches!(
            self.word(offset),
            Some("=" | "==" | "!=" | "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge" | "<" | ">" | "-nt" | "-ot" | "=~")
        ) && self.word(offset + 1).is_some()
    }

    fn primary(&mut self) -> Result<bool, String> {
        let Some(first) = self.word(0).map(str::to_owned) else { return Ok(false) };
        if self.is_binary(1) {
            let (operator, right) = (self.word(1).unwrap_or_default().to_owned(), self.word(2).unwrap_or_default().to_owned());
            self.at += 3;
            return self.binary(&first, &operator, &right);
        }
        if first == "(" {
            self.at += 1;
            let value = self.or()?;
            if self.word(0) != Some(")") {
                return Err("closing paren expected".to_owned());
            }
            self.at += 1;
            return Ok(value);
        }
        if first.len() == 2 && first.starts_with('-') && self.word(1).is_some() {
            let operand = self.word(1).unwrap_or_default().to_owned();
            self.at += 2;
            return self.unary(&first, &operand);
        }
        self.at += 1;
        Ok(!first.is_empty())
    }

    fn unary(&self, operator: &str, operand: &str) -> Result<bool, String> {
        let path = self.process.path(operand);
        self.process.refresh(&path);
        let node = || self.process.machine.files(|f| f.stat(&path)).ok();
        Ok(match operator {
            "-n" => !operand.is_empty(),
            "-z" => operand.is_empty(),
            "-e" | "-a" | "-r" | "-w" | "-O" | "-G" => node().is_some(),
            "-f" => node().is_some_and(|n| matches!(n.kind, Kind::Regular(_))),
            "-d" => node().is_some_and(|n| n.is_directory()),
            "-c" => node().is_some_and(|n| matches!(n.kind, Kind::Device)),
            "-S" => node().is_some_and(|n| matches!(n.kind, Kind::Socket)),
            "-x" => node().is_some_and(|n| n.mode & 0o111 != 0),
            "-s" => node().is_some_and(|n| n.size() > 0),
            "-L" | "-h" => self.process.machine.files(|f| f.node(&path)).is_some_and(|n| matches!(n.kind, Kind::Link(_))),
            "-t" => match operand {
                "0" => self.process.machine.terminal.is_some() && matches!(self.process.io.input, Source::Client(_)),
                _ => self.process.screen().is_some(),
            },
            "-p" | "-b" | "-u" | "-g" | "-k" => false,
            other => return Err(format!("{other}: unexpected operator")),
        })
    }

    fn binary(&self, left: &str, operator: &str, right: &str) -> Result<bool, String> {
        let number = |text: &str| text.trim().parse::<i64>().map_err(|_| format!("Illegal number: {text}"));
        Ok(match operator {
            "=" | "==" => left == right,
            "!=" => left != right,
            "<" => left < right,
            ">" => left > right,
            "=~" => regex::Regex::new(right).is_ok_and(|r| r.is_match(left)),
            "-eq" => number(left)? == number(right)?,
            "-ne" => number(left)? != number(right)?,
            "-lt" => number(left)? < number(right)?,
            "-le" => number(left)? <= number(right)?,
            "-gt" => number(left)? > number(right)?,
            "-ge" => number(left)? >= number(right)?,
            other => {
                let modified = |t: &str| self.process.machine.files(|f| f.stat(&self.process.path(t))).ok().map(|n| n.modified);
                if other == "-nt" { modified(left) > modified(right) } else { modified(left) < modified(right) }
            }
        })
    }
}
