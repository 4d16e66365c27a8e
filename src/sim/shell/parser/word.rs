//! Words: quoting and the `$` expansions. Works on the characters at the parser's position.

use super::ast::{Action, Part, Word};
use super::{ParseError, Parser};

/// Characters that end an unquoted word.
pub(super) fn ends_word(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')')
}

fn push(word: &mut Word, c: char, as_quoted: bool) {
    if let Some(Part::Text { text, quoted }) = word.last_mut()
        && *quoted == as_quoted
    {
        text.push(c);
        return;
    }
    word.push(Part::Text { text: c.to_string(), quoted: as_quoted });
}

impl Parser {
    /// A word up to an unquoted delimiter.
    pub(super) fn word(&mut self) -> Result<Word, ParseError> {
        self.word_until(ends_word, false)
    }

    /// Parts until `stop` holds for an unquoted character. `in_brace`: inside `${...}`, where blanks belong to the word.
    fn word_until(&mut self, stop: fn(char) -> bool, in_brace: bool) -> Result<Word, ParseError> {
        self.enter()?;
        let mut word = Word::new();
        while let Some(c) = self.peek() {
            if stop(c) {
                break;
            }
            match c {
                '\\' => {
                    self.bump();
                    match self.bump() {
                        Some('\n') => {}
                        Some(c) => push(&mut word, c, true),
                        None => push(&mut word, '\\', true),
                    }
                }
                '\'' => {
                    self.bump();
                    self.single(&mut word)?;
                }
                '"' => {
                    self.bump();
                    self.double(&mut word)?;
                }
                '$' if !in_brace && self.peek_at(1) == Some('\'') => {
                    self.bump();
                    self.bump();
                    self.ansi_c(&mut word)?;
                }
                '$' => self.dollar(&mut word, false)?,
                '`' => self.backtick(&mut word, false)?,
                _ => {
                    self.bump();
                    push(&mut word, c, false);
                }
            }
        }
        self.leave();
        Ok(word)
    }

    fn single(&mut self, word: &mut Word) -> Result<(), ParseError> {
        let mut text = String::new();
        loop {
            match self.bump() {
                Some('\'') => break,
                Some(c) => text.push(c),
                None => return Err(ParseError::Incomplete("Unterminated quoted string")),
            }
        }
        word.push(Part::Text { text, quoted: true });
        Ok(())
    }

    /// `$'...'`
    fn ansi_c(&mut self, word: &mut Word) -> Result<(), ParseError> {
        let mut text = String::new();
        loop {
            match self.bump() {
                Some('\'') => break,
                Some('\\') => match self.bump() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('e') => text.push('\u{1b}'),
                    Some('0') => text.push('\0'),
                    Some(c) => text.push(c),
                    None => return Err(ParseError::Incomplete("Unterminated quoted string")),
                },
                Some(c) => text.push(c),
                None => return Err(ParseError::Incomplete("Unterminated quoted string")),
            }
        }
        word.push(Part::Text { text, quoted: true });
        Ok(())
    }

    fn double(&mut self, word: &mut Word) -> Result<(), ParseError> {
        // An empty quoted part keeps `""` a word.
        word.push(Part::Text { text: String::new(), quoted: true });
        loop {
            match self.peek() {
                None => return Err(ParseError::Incomplete("Unterminated quoted string")),
                Some('"') => {
                    self.bump();
                    return Ok(());
                }
                Some(_) => self.quoted_part(word)?,
            }
        }
    }

    /// One element of double-quoted text (also of here-documents).
    fn quoted_part(&mut self, word: &mut Word) -> Result<(), ParseError> {
        match self.peek() {
            Some('\\') => {
                self.bump();
                match self.bump() {
                    Some('\n') => {}
                    Some(c @ ('$' | '`' | '"' | '\\')) => push(word, c, true),
                    Some(c) => {
                        push(word, '\\', true);
                        push(word, c, true);
                    }
                    None => push(word, '\\', true),
                }
            }
            Some('$') => self.dollar(word, true)?,
            Some('`') => self.backtick(word, true)?,
            Some(c) => {
                self.bump();
                push(word, c, true);
            }
            None => {}
        }
        Ok(())
    }

    /// The text of a here-document with expansions.
    pub(super) fn here_text(text: &str, depth: usize) -> Result<Word, ParseError> {
        let mut inner = Parser::new(text, depth);
        let mut word = Word::new();
        while inner.peek().is_some() {
            inner.quoted_part(&mut word)?;
        }
        Ok(word)
    }

    fn backtick(&mut self, word: &mut Word, quoted: bool) -> Result<(), ParseError> {
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                Some('`') => break,
                Some('\\') => match self.bump() {
                    Some(c @ ('`' | '\\' | '$')) => text.push(c),
                    Some(c) => {
                        text.push('\\');
                        text.push(c);
                    }
                    None => return Err(ParseError::Incomplete("EOF in backquote substitution")),
                },
                Some(c) => text.push(c),
                None => return Err(ParseError::Incomplete("EOF in backquote substitution")),
            }
        }
        let mut inner = Parser::new(&text, self.depth);
        let body = inner.program()?;
        word.push(Part::Command { body, quoted });
        Ok(())
    }

    fn dollar(&mut self, word: &mut Word, quoted: bool) -> Result<(), ParseError> {
        self.bump();
        match self.peek() {
            Some('(') if self.peek_at(1) == Some('(') => {
                let start = self.position;
                self.bump();
                self.bump();
                if let Some(text) = self.arithmetic_text() {
                    let expression = Parser::here_text(&text, self.depth + 1)?;
                    word.push(Part::Arithmetic { expression, quoted });
                    return Ok(());
                }
                self.position = start;
                self.substitution(word, quoted)
            }
            Some('(') => self.substitution(word, quoted),
            Some('{') => {
                self.bump();
                self.brace(word, quoted)
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let name = self.name();
                word.push(Part::Parameter { name, action: Action::Value, quoted });
                Ok(())
            }
            Some(c) if c.is_ascii_digit() || matches!(c, '@' | '*' | '#' | '?' | '$' | '!' | '-') => {
                self.bump();
                word.push(Part::Parameter { name: c.to_string(), action: Action::Value, quoted });
                Ok(())
            }
            _ => {
                push(word, '$', quoted);
                Ok(())
            }
        }
    }

    fn substitution(&mut self, word: &mut Word, quoted: bool) -> Result<(), ParseError> {
        self.bump();
        self.enter()?;
        let body = self.list(&[")"])?;
        if self.peek() != Some(')') {
            return Err(self.unexpected("end of file"));
        }
        self.bump();
        self.leave();
        word.push(Part::Command { body, quoted });
        Ok(())
    }

    /// The text up to the `))` that closes; `None` when there is none (then it was a subshell).
    fn arithmetic_text(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut open = 0_u32;
        loop {
            let c = self.bump()?;
            match c {
                '(' => open += 1,
                ')' if open == 0 => return (self.bump()? == ')').then_some(text),
                ')' => open -= 1,
                _ => {}
            }
            text.push(c);
        }
    }

    fn brace(&mut self, word: &mut Word, quoted: bool) -> Result<(), ParseError> {
        let length = self.peek() == Some('#') && !matches!(self.peek_at(1), Some('}' | '-' | ':' | '%' | '#' | '='));
        if length {
            self.bump();
        }
        let name = match self.peek() {
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.name(),
            Some(c) if c.is_ascii_digit() => {
                let mut name = String::new();
                while let Some(c) = self.peek().filter(char::is_ascii_digit) {
                    name.push(c);
                    self.bump();
                }
                name
            }
            Some(c @ ('@' | '*' | '#' | '?' | '$' | '!' | '-')) => {
                self.bump();
                c.to_string()
            }
            None => return Err(ParseError::Incomplete("Missing '}'")),
            Some(_) => return Err(ParseError::Syntax("Bad substitution".to_owned())),
        };
        let action = if length { Action::Length } else { self.action()? };
        match self.bump() {
            Some('}') => {}
            None => return Err(ParseError::Incomplete("Missing '}'")),
            Some(_) => return Err(ParseError::Syntax("Bad substitution".to_owned())),
        }
        word.push(Part::Parameter { name, action, quoted });
        Ok(())
    }

    fn action(&mut self) -> Result<Action, ParseError> {
        let to_brace: fn(char) -> bool = |c| c == '}';
        let colon = self.peek() == Some(':');
        if colon {
            self.bump();
        }
        match self.peek() {
            Some(c @ ('-' | '=' | '?' | '+')) => {
                self.bump();
                Ok(Action::Default(c, colon, self.word_until(to_brace, true)?))
            }
            _ if colon => {
                let offset = self.word_until(|c| c == '}' || c == ':', true)?;
                let length = if self.peek() == Some(':') {
                    self.bump();
                    Some(self.word_until(to_brace, true)?)
                } else {
                    None
                };
                Ok(Action::Slice(offset, length))
            }
            Some(c @ ('#' | '%')) => {
                self.bump();
                let longest = self.peek() == Some(c);
                if longest {
                    self.bump();
                }
                Ok(Action::Trim(c == '%', longest, self.word_until(to_brace, true)?))
            }
            Some('/') => {
                self.bump();
                let all = self.peek() == Some('/');
                if all {
                    self.bump();
                }
                let pattern = self.word_until(|c| c == '}' || c == '/', true)?;
                let with = if self.peek() == Some('/') {
                    self.bump();
                    self.word_until(to_brace, true)?
                } else {
                    Word::new()
                };
                Ok(Action::Replace(all, pattern, with))
            }
            _ => Ok(Action::Value),
        }
    }

    /// A variable's name at the position; empty when there is none.
    pub(super) fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
            self.bump();
        }
        name
    }
}
