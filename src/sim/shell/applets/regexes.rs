//! POSIX regular expressions as the `regex` crate writes them.

use regex::{Regex, RegexBuilder};

/// Largest compiled expression in bytes.
const SIZE_MAX: usize = 1 << 20;

/// Compiles a basic or extended expression.
pub(super) fn compile(pattern: &str, extended: bool, ignore_case: bool) -> Option<Regex> {
    let pattern = translate(pattern, extended);
    RegexBuilder::new(&pattern).case_insensitive(ignore_case).size_limit(SIZE_MAX).unicode(true).build().ok()
}

/// Swaps the meaning of escaped and plain special characters for a basic expression, and mends what differs.
fn translate(pattern: &str, extended: bool) -> String {
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    let mut start = true;
    while let Some(c) = chars.next() {
        let at_start = std::mem::replace(&mut start, false);
        match c {
            '\\' => match chars.next() {
                Some(c @ ('(' | ')' | '{' | '}' | '|' | '+' | '?')) if !extended => {
                    out.push(c);
                    start = matches!(c, '(' | '|');
                }
                Some('<' | '>') => out.push_str("\\b"),
                Some('\'' | '`') => {}
                Some(c) if c.is_ascii_alphanumeric() && !matches!(c, 'w' | 'W' | 's' | 'S' | 'b' | 'B' | 'd' | 'D' | 'n' | 't') => {
                    out.push_str(&regex::escape(&c.to_string()));
                }
                Some(c) if c.is_ascii_alphanumeric() || c.is_ascii_punctuation() => {
                    out.push('\\');
                    out.push(c);
                }
                Some(c) => out.push(c),
                None => out.push_str("\\\\"),
            },
            '(' | ')' | '{' | '}' | '|' | '+' | '?' if !extended => {
                out.push('\\');
                out.push(c);
            }
            '*' if at_start => out.push_str("\\*"),
            '^' if !extended && !at_start && !out.ends_with('(') => out.push_str("\\^"),
            '^' => {
                out.push('^');
                start = true;
            }
            '{' if !chars.peek().is_some_and(char::is_ascii_digit) => out.push_str("\\{"),
            '[' => {
                out.push('[');
                if chars.peek() == Some(&'^') {
                    chars.next();
                    out.push('^');
                }
                let mut first = true;
                while let Some(c) = chars.next() {
                    match c {
                        ']' if !first => break,
                        '[' if chars.peek() == Some(&':') => {
                            out.push('[');
                            for c in chars.by_ref() {
                                out.push(c);
                                if c == ']' {
                                    break;
                                }
                            }
                        }
                        '[' | ']' | '\\' | '&' | '~' => {
                            out.push('\\');
                            out.push(c);
                        }
                        c => out.push(c),
                    }
                    first = false;
                }
                out.push(']');
            }
            '(' | '|' => {
                out.push(c);
                start = true;
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_and_extended() {
        for (pattern, extended, text, expected) in [
            ("a+b", false, "a+b", true),
            ("a\\+b", false, "aab", true),
            ("a+b", true, "aab", true),
            ("x\\{2\\}", false, "xx", true),
            ("(a|b)", false, "(a|b)", true),
            ("[[:digit:]]\\+", false, "a12", true),
            ("[^]]", true, "]", false),
            ("^*a", false, "*a", true),
            ("\\(ab\\)*c$", false, "ababc", true),
            ("\\<to\\>", false, "go to it", true),
            ("a{", true, "a{", true),
        ] {
            assert_eq!(compile(pattern, extended, false).map(|r| r.is_match(text)), Some(expected), "{pattern}");
        }
    }
}
