//! `$((...))`: integer expressions over the shell's variables.

use std::collections::BTreeMap;

/// Variables by name.
pub(crate) type Values = BTreeMap<String, String>;

const DEPTH_MAX: usize = 40;

struct Evaluator<'a> {
    text: Vec<char>,
    at: usize,
    depth: usize,
    values: &'a mut Values,
    /// Whether the shell knows `**`.
    powers: bool,
}

/// Evaluates an expression, with `**` where the shell knows it; the error is the message without the shell's name.
pub(crate) fn evaluate(text: &str, values: &mut Values, powers: bool) -> Result<i64, String> {
    let mut evaluator = Evaluator { text: text.chars().collect(), at: 0, depth: 0, values, powers };
    evaluator.blanks();
    if evaluator.at == evaluator.text.len() {
        return Ok(0);
    }
    let value = evaluator.assignment()?;
    evaluator.blanks();
    if evaluator.at < evaluator.text.len() {
        return Err(format!("arithmetic expression: expecting EOF: \"{text}\""));
    }
    Ok(value)
}

/// Binary operators, weakest first; longer spellings before their prefixes.
const LEVELS: &[&[&str]] =
    &[&["||"], &["&&"], &["|"], &["^"], &["&"], &["==", "!="], &["<=", ">=", "<", ">"], &["<<", ">>"], &["+", "-"], &["*", "/", "%"]];

impl Evaluator<'_> {
    fn blanks(&mut self) {
        while self.text.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
    }

    fn looking_at(&self, word: &str) -> bool {
        word.chars().enumerate().all(|(i, c)| self.text.get(self.at + i) == Some(&c))
    }

    fn error(&self) -> String {
        let text: String = self.text.iter().collect();
        format!("arithmetic expression: expecting primary: \"{text}\"")
    }

    fn name(&mut self) -> Option<String> {
        let start = self.at;
        while self.text.get(self.at).is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_') {
            self.at += 1;
        }
        let name: String = self.text.get(start..self.at)?.iter().collect();
        (!name.is_empty()).then_some(name)
    }

    fn assignment(&mut self) -> Result<i64, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("arithmetic expression: nested too deeply".to_owned());
        }
        self.blanks();
        let start = self.at;
        if self.text.get(self.at).is_some_and(|c| c.is_ascii_alphabetic() || *c == '_')
            && let Some(name) = self.name()
        {
            self.blanks();
            for operator in ["=", "+=", "-=", "*=", "/=", "%="] {
                if self.looking_at(operator) && !self.looking_at("==") {
                    self.at += operator.len();
                    let right = self.assignment()?;
                    let value = match operator.strip_suffix('=') {
                        Some("") | None => right,
                        Some(binary) => apply(binary, self.value(&name), right)?,
                    };
                    self.values.insert(name, value.to_string());
                    self.depth -= 1;
                    return Ok(value);
                }
            }
            self.at = start;
        }
        let value = self.conditional()?;
        self.depth -= 1;
        Ok(value)
    }

    fn conditional(&mut self) -> Result<i64, String> {
        let condition = self.binary(0)?;
        self.blanks();
        if !self.looking_at("?") {
            return Ok(condition);
        }
        self.at += 1;
        let yes = self.assignment()?;
        self.blanks();
        if !self.looking_at(":") {
            return Err(self.error());
        }
        self.at += 1;
        let no = self.assignment()?;
        Ok(if condition != 0 { yes } else { no })
    }

    fn binary(&mut self, level: usize) -> Result<i64, String> {
        let Some(operators) = LEVELS.get(level) else { return self.power() };
        let mut left = self.binary(level + 1)?;
        loop {
            self.blanks();
            let found = operators.iter().find(|o| {
                self.looking_at(o)
                    && !(o.len() == 1
                        && self.text.get(self.at + 1).is_some_and(|c| {
                            *c == '=' && !matches!(**o, "<" | ">") || o.starts_with(*c) && matches!(**o, "&" | "|" | "<" | ">")
                        }))
            });
            let Some(operator) = found else { return Ok(left) };
            self.at += operator.len();
            let right = self.binary(level + 1)?;
            left = apply(operator, left, right)?;
        }
    }

    /// Powers, from the right; a sign before the base belongs to it.
    fn power(&mut self) -> Result<i64, String> {
        let base = self.unary()?;
        self.blanks();
        if !self.powers || !self.looking_at("**") {
            return Ok(base);
        }
        self.at += 2;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("arithmetic expression: nested too deeply".to_owned());
        }
        let exponent = self.power()?;
        self.depth -= 1;
        let Ok(mut left) = u64::try_from(exponent) else { return Err("exponent less than 0".to_owned()) };
        // By squares, and modulo 2^64 as the shells have it.
        let (mut value, mut square) = (1_i64, base);
        while left > 0 {
            if left & 1 == 1 {
                value = value.wrapping_mul(square);
            }
            square = square.wrapping_mul(square);
            left >>= 1;
        }
        Ok(value)
    }

    fn unary(&mut self) -> Result<i64, String> {
        self.blanks();
        let mut signs = Vec::new();
        while let Some(c @ ('-' | '+' | '!' | '~')) = self.text.get(self.at).copied() {
            self.at += 1;
            self.blanks();
            signs.push(c);
        }
        let mut value = self.primary()?;
        for sign in signs.iter().rev() {
            value = match sign {
                '-' => value.wrapping_neg(),
                '!' => i64::from(value == 0),
                '~' => !value,
                _ => value,
            };
        }
        Ok(value)
    }

    fn primary(&mut self) -> Result<i64, String> {
        match self.text.get(self.at) {
            Some('(') => {
                self.at += 1;
                let value = self.assignment()?;
                self.blanks();
                if !self.looking_at(")") {
                    return Err(self.error());
                }
                self.at += 1;
                Ok(value)
            }
            Some(c) if c.is_ascii_alphanumeric() || *c == '_' => {
                let digits = c.is_ascii_digit();
                let word = self.name().ok_or_else(|| self.error())?;
                if !digits {
                    return Ok(self.value(&word));
                }
                number(&word).ok_or_else(|| self.error())
            }
            _ => Err(self.error()),
        }
    }

    fn value(&self, name: &str) -> i64 {
        self.values.get(name).and_then(|v| number(v.trim())).unwrap_or(0)
    }
}

fn number(text: &str) -> Option<i64> {
    if let Some(hex) = text.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok();
    }
    if text.len() > 1 && text.starts_with('0') {
        return i64::from_str_radix(text, 8).ok();
    }
    text.parse().ok()
}

fn apply(operator: &str, left: i64, right: i64) -> Result<i64, String> {
    let shift = u32::try_from(right & 63).unwrap_or(0);
    Ok(match operator {
        "||" => i64::from(left != 0 || right != 0),
        "&&" => i64::from(left != 0 && right != 0),
        "|" => left | right,
        "^" => left ^ right,
        "&" => left & right,
        "==" => i64::from(left == right),
        "!=" => i64::from(left != right),
        "<=" => i64::from(left <= right),
        ">=" => i64::from(left >= right),
        "<" => i64::from(left < right),
        ">" => i64::from(left > right),
        "<<" => left.wrapping_shl(shift),
        ">>" => left.wrapping_shr(shift),
        "+" => left.wrapping_add(right),
        "-" => left.wrapping_sub(right),
        "*" => left.wrapping_mul(right),
        _ if right == 0 => return Err("arithmetic expression: division by zero".to_owned()),
        "/" => left.wrapping_div(right),
        _ => left.wrapping_rem(right),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let mut values = Values::from([("x".to_owned(), "5".to_owned())]);
        for (text, expected) in [
            ("1 + 2 * 3", 7),
            ("(1+2)*3", 9),
            ("x - 7", -2),
            ("10 / 3 % 2", 1),
            ("x > 4 && x != 6", 1),
            ("x == 5 ? 10 : 20", 10),
            ("-x + +1", -4),
            ("!0", 1),
            ("1 << 4 | 1", 17),
            ("x <= 5", 1),
            ("0x10", 16),
            ("", 0),
            ("y = x * 2", 10),
            ("2**3", 8),
            ("2 ** 3 ** 2", 512),
            ("-2**2 + 2*3", 10),
            ("3**0", 1),
        ] {
            assert_eq!(evaluate(text, &mut values, true), Ok(expected), "{text}");
        }
        assert_eq!(values.get("y").map(String::as_str), Some("10"));
        for text in ["1 / 0", "1 +", &"(".repeat(500), "2 ** -1", &"1**".repeat(500)] {
            assert!(evaluate(text, &mut values, true).is_err(), "{text}");
        }
        assert!(evaluate("2**3", &mut values, false).is_err());
    }
}
