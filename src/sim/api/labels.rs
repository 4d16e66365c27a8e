//! Label selectors as text (`app=web,tier in (front, back),!old`), with a real server's words for what it cannot read.
//!
//! Grammar: requirements with commas between them. What may follow what, and the words, are those of Kubernetes'
//! `labels.Parse`, which reads tokens from left to right with one token to look ahead.

use std::collections::BTreeSet;

use crate::sim::schema;

/// What a label must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
    Greater(i64),
    Less(i64),
}

/// Reads a selector; the error is a message for its author.
pub(super) fn parse(text: &str) -> Result<Vec<(String, Test)>, String> {
    let mut p = Parser { tokens: tokens(text), at: 0 };
    let mut out = Vec::new();
    // Each turn takes a token or returns.
    loop {
        match p.peek() {
            "" if p.at_end() => return Ok(out),
            word if word == "!" || is_word(word) => {
                out.push(p.requirement().map_err(|e| format!("unable to parse requirement: {e}"))?);
                if p.at_end() {
                    return Ok(out);
                }
                match p.next() {
                    "," if p.peek() == "!" || is_word(p.peek()) => {}
                    "," => return Err(format!("found '{}', expected: identifier after ','", p.peek())),
                    other => return Err(format!("found '{other}', expected: ',' or 'end of string'")),
                }
            }
            other => return Err(format!("found '{other}', expected: !, identifier, or 'end of string'")),
        }
    }
}

const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

fn is_word(token: &str) -> bool {
    !token.is_empty() && !SYMBOLS.contains(&token)
}

fn tokens(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    // Each turn takes at least one character.
    while !rest.is_empty() {
        let symbol = SYMBOLS.iter().find(|s| rest.starts_with(**s)).map(|s| s.len());
        let word = || rest.find(|c: char| c.is_whitespace() || "=!(),><".contains(c)).unwrap_or(rest.len());
        let (token, after) = rest.split_at(symbol.unwrap_or_else(word));
        out.push(token);
        rest = after.trim_start();
    }
    out
}

struct Parser<'a> {
    tokens: Vec<&'a str>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> &'a str {
        self.tokens.get(self.at).copied().unwrap_or_default()
    }

    fn at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    fn next(&mut self) -> &'a str {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<(String, Test), String> {
        let missing = self.peek() == "!";
        if missing {
            self.at += 1;
        }
        let key = self.next();
        if !is_word(key) {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let faults = schema::qualified(key);
        if !faults.is_empty() {
            return Err(format!("key: Invalid value: {key:?}: {}", faults.join("; ")));
        }
        let done = |test| Ok((key.to_owned(), test));
        if missing {
            return done(Test::Missing);
        }
        if self.at_end() || self.peek() == "," {
            return done(Test::Exists);
        }
        let operator = self.next();
        let values = match operator {
            "in" | "notin" => self.list()?,
            "=" | "==" | "!=" | ">" | "<" => BTreeSet::from([self.value()?]),
            other => return Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        };
        if values.is_empty() {
            return Err("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty".to_owned());
        }
        if let "<" | ">" = operator {
            let value = values.first().copied().unwrap_or_default();
            let n = value
                .parse()
                .map_err(|_| format!("values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"))?;
            return done(if operator == ">" { Test::Greater(n) } else { Test::Less(n) });
        }
        for (i, value) in values.iter().enumerate() {
            let faults = schema::label_value(value);
            if !faults.is_empty() {
                return Err(format!("values[{i}][{key}]: Invalid value: {value:?}: {}", faults.join("; ")));
            }
        }
        let values = values.into_iter().map(str::to_owned).collect();
        done(if matches!(operator, "!=" | "notin") { Test::NotIn(values) } else { Test::In(values) })
    }

    fn value(&mut self) -> Result<&'a str, String> {
        if self.at_end() || self.peek() == "," {
            return Ok("");
        }
        match self.next() {
            word if is_word(word) => Ok(word),
            other => Err(format!("found '{other}', expected: identifier")),
        }
    }

    /// Values in parentheses; those between two commas are empty.
    fn list(&mut self) -> Result<BTreeSet<&'a str>, String> {
        let open = self.next();
        if open != "(" {
            return Err(format!("found '{open}' expected: '('"));
        }
        let mut out = BTreeSet::new();
        match self.peek() {
            ")" => {
                self.at += 1;
                return Ok(out);
            }
            word if word == "," || is_word(word) => {}
            other => return Err(format!("found '{other}', expected: ',', ')' or identifier")),
        }
        // Each turn takes a token.
        loop {
            match self.next() {
                ")" => {
                    out.insert("");
                    return Ok(out);
                }
                "," => {
                    if out.is_empty() || self.peek() == "," {
                        out.insert("");
                    }
                }
                word if is_word(word) => {
                    out.insert(word);
                    match self.peek() {
                        "," => self.at += usize::from(self.tokens.get(self.at + 1).is_some_and(|t| is_word(t))),
                        ")" => {
                            self.at += 1;
                            return Ok(out);
                        }
                        other => return Err(format!("found '{other}', expected: ',' or ')'")),
                    }
                }
                other => return Err(format!("found '{other}', expected: ',', or identifier")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text).unwrap_err()
    }

    #[test]
    fn all_forms_are_read() {
        let of = |text: &str| parse(text).unwrap().into_iter().map(|(_, t)| t).collect::<Vec<_>>();
        let all = |vs: &[&str]| vs.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            of("a=1, b==2,c != 3,d in (y, x,x),e notin(z),f,!g,h>4,i<5"),
            [
                Test::In(all(&["1"])),
                Test::In(all(&["2"])),
                Test::NotIn(all(&["3"])),
                Test::In(all(&["x", "y"])),
                Test::NotIn(all(&["z"])),
                Test::Exists,
                Test::Missing,
                Test::Greater(4),
                Test::Less(5)
            ]
        );
        assert_eq!(of("a=,b in (x,),c in (,)"), [Test::In(all(&[""])), Test::In(all(&["", "x"])), Test::In(all(&[""]))]);
        assert_eq!(of(" "), []);
    }

    #[test]
    fn what_cannot_be_read_is_told_as_a_real_server_does() {
        for (text, told) in [
            ("app in (nginx", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            ("a=b,", "found '', expected: identifier after ','"),
            (",a", "found ',', expected: !, identifier, or 'end of string'"),
            ("a==(", "unable to parse requirement: found '(', expected: identifier"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("a>b", "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer"),
        ] {
            assert_eq!(error(text), told, "{text}");
        }
        assert!(error("-a=b").starts_with("unable to parse requirement: key: Invalid value: \"-a\": name part must consist"));
        assert!(error("a=-b").starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label must be"));
    }
}
