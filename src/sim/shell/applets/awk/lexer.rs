//! Tokens of `awk`.

use crate::sim::shell::applets::echo::unescape;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Number(String),
    Text(String),
    Regex(String),
    Name(String),
    /// A function's name: the parenthesis follows at once.
    Function(String),
    Symbol(&'static str),
    Newline,
}

const SYMBOLS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "++", "--", "+=", "-=", "*=", "/=", "%=", "^=", "!~", ">>", "**", "{", "}", "(", ")", "[", "]",
    ";", ",", "+", "-", "*", "/", "%", "^", "!", "<", ">", "~", "?", ":", "=", "$", "|",
];

/// Cuts a program into tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens: Vec<Token> = Vec::new();
    let mut at = 0;
    while let Some(c) = chars.get(at).copied() {
        let quoted = |from: usize, end: char| -> Result<(String, usize), String> {
            let mut body = String::new();
            let mut at = from;
            loop {
                match chars.get(at) {
                    None | Some('\n') => return Err(format!("syntax error: unterminated {end}")),
                    Some(c) if *c == end => return Ok((body, at + 1)),
                    Some('\\') => {
                        let next = chars.get(at + 1).copied().unwrap_or('\\');
                        if next != end {
                            body.push('\\');
                        }
                        body.push(next);
                        at += 2;
                    }
                    Some(c) => {
                        body.push(*c);
                        at += 1;
                    }
                }
            }
        };
        if c == '\n' {
            tokens.push(Token::Newline);
            at += 1;
        } else if c.is_whitespace() {
            at += 1;
        } else if c == '\\' && chars.get(at + 1) == Some(&'\n') {
            at += 2;
        } else if c == '#' {
            while chars.get(at).is_some_and(|c| *c != '\n') {
                at += 1;
            }
        } else if c == '"' {
            let (body, end) = quoted(at + 1, '"')?;
            tokens.push(Token::Text(String::from_utf8_lossy(&unescape(&body).0).into_owned()));
            at = end;
        } else if c == '/'
            && !matches!(tokens.last(), Some(Token::Number(_) | Token::Text(_) | Token::Name(_) | Token::Symbol(")" | "]" | "$")))
        {
            let (body, end) = quoted(at + 1, '/')?;
            tokens.push(Token::Regex(body));
            at = end;
        } else if c.is_ascii_digit() || (c == '.' && chars.get(at + 1).is_some_and(char::is_ascii_digit)) {
            let start = at;
            while chars.get(at).is_some_and(|c| c.is_ascii_digit() || *c == '.') {
                at += 1;
            }
            if matches!(chars.get(at), Some('e' | 'E')) && chars.get(at + 1).is_some_and(|c| c.is_ascii_digit() || *c == '-') {
                at += 2;
                while chars.get(at).is_some_and(char::is_ascii_digit) {
                    at += 1;
                }
            }
            tokens.push(Token::Number(chars.get(start..at).unwrap_or_default().iter().collect()));
        } else if c.is_ascii_alphabetic() || c == '_' {
            let start = at;
            while chars.get(at).is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_') {
                at += 1;
            }
            let name: String = chars.get(start..at).unwrap_or_default().iter().collect();
            let function = chars.get(at) == Some(&'(')
                && !matches!(name.as_str(), "if" | "while" | "for" | "print" | "printf" | "in" | "exit" | "return");
            tokens.push(if function { Token::Function(name) } else { Token::Name(name) });
        } else {
            let symbol = SYMBOLS.iter().find(|s| s.chars().enumerate().all(|(i, x)| chars.get(at + i) == Some(&x)));
            let Some(symbol) = symbol else { return Err(format!("syntax error at or near {c}")) };
            at += symbol.len();
            tokens.push(Token::Symbol(if *symbol == "**" { "^" } else { symbol }));
        }
    }
    Ok(tokens)
}
