//! The shell grammar: text in, [`ast`] out. Recursive descent straight over the characters, depth-bounded.

pub(crate) mod ast;
mod redirect;
mod word;

use ast::{Command, Item, Kind, Part, Pipeline, Redirect, RedirectKind, Word};
use thiserror::Error;

/// Deepest nesting of groups, substitutions and quotes.
const DEPTH_MAX: usize = 60;

/// Why a script is not one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ParseError {
    /// More text could complete it.
    #[error("Syntax error: {0}")]
    Incomplete(&'static str),
    /// Nothing can.
    #[error("Syntax error: {0}")]
    Syntax(String),
}

/// The parser's state.
pub(crate) struct Parser {
    text: Vec<char>,
    position: usize,
    depth: usize,
}

/// Parses a whole script.
pub(crate) fn parse(text: &str) -> Result<Vec<Item>, ParseError> {
    Parser::new(text, 0).program()
}

const RESERVED_ENDS: &[&str] = &["then", "else", "elif", "fi", "do", "done", "esac", "}", "in"];

impl Parser {
    fn new(text: &str, depth: usize) -> Self {
        Self { text: text.chars().collect(), position: 0, depth }
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.position).copied()
    }

    fn peek_at(&self, offset: usize) -> Option<char> {
        self.text.get(self.position + offset).copied()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.position += 1;
        Some(c)
    }

    fn enter(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(ParseError::Syntax("nested too deeply".to_owned())) } else { Ok(()) }
    }

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    fn program(&mut self) -> Result<Vec<Item>, ParseError> {
        self.enter()?;
        let items = self.list(&[])?;
        self.leave();
        if self.peek().is_some() {
            return Err(self.unexpected("token"));
        }
        Ok(items)
    }

    fn unexpected(&self, what: &str) -> ParseError {
        match self.peek() {
            None => ParseError::Incomplete("end of file unexpected"),
            Some('\n') => ParseError::Syntax("newline unexpected".to_owned()),
            Some(c) if word::ends_word(c) => ParseError::Syntax(format!("\"{c}\" unexpected")),
            Some(_) => {
                let token = self.plain_word().unwrap_or_else(|| what.to_owned());
                ParseError::Syntax(format!("\"{token}\" unexpected"))
            }
        }
    }

    /// Skips blanks, comments and line continuations; newlines too when asked.
    fn skip(&mut self, newlines: bool) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r') => {
                    self.bump();
                }
                Some('\\') if self.peek_at(1) == Some('\n') => {
                    self.position += 2;
                }
                Some('#') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.bump();
                    }
                }
                Some('\n') if newlines => {
                    self.bump();
                }
                _ => return,
            }
        }
    }

    /// The unquoted word at the position, without consuming it: how reserved words are recognised.
    fn plain_word(&self) -> Option<String> {
        let mut text = String::new();
        let mut at = self.position;
        while let Some(c) = self.text.get(at) {
            if word::ends_word(*c) {
                break;
            }
            if matches!(c, '\'' | '"' | '\\' | '$' | '`') {
                return None;
            }
            text.push(*c);
            at += 1;
        }
        (!text.is_empty()).then_some(text)
    }

    fn at_keyword(&self, keyword: &str) -> bool {
        self.plain_word().is_some_and(|w| w == keyword)
    }

    fn expect_keyword(&mut self, keyword: &str) -> Result<(), ParseError> {
        self.skip(true);
        if self.at_keyword(keyword) {
            self.position += keyword.chars().count();
            Ok(())
        } else {
            match self.unexpected(keyword) {
                ParseError::Syntax(text) => Err(ParseError::Syntax(format!("{text} (expecting \"{keyword}\")"))),
                incomplete @ ParseError::Incomplete(_) => Err(incomplete),
            }
        }
    }

    /// Items until one of `ends` (or any reserved word that only ends things) or the end of the text.
    fn list(&mut self, ends: &[&str]) -> Result<Vec<Item>, ParseError> {
        let mut items = Vec::new();
        loop {
            self.skip(true);
            match self.peek() {
                None => return Ok(items),
                Some(')') if ends.contains(&")") => return Ok(items),
                Some(';') if ends.contains(&";;") && self.peek_at(1) == Some(';') => return Ok(items),
                _ => {}
            }
            if let Some(word) = self.plain_word() {
                if ends.contains(&word.as_str()) {
                    return Ok(items);
                }
                if RESERVED_ENDS.contains(&word.as_str()) && word != "in" {
                    return Err(self.unexpected(&word));
                }
            }
            let mut item = self.and_or()?;
            self.skip(false);
            match self.peek() {
                Some(';') if self.peek_at(1) == Some(';') => {}
                Some('&') if self.peek_at(1) != Some('&') => {
                    self.bump();
                    item.background = true;
                }
                Some(';') => {
                    self.bump();
                }
                Some('\n' | ')') | None => {}
                Some(_) => return Err(self.unexpected("token")),
            }
            items.push(item);
            if self.peek() == Some(')') && !ends.contains(&")") {
                return Err(self.unexpected(")"));
            }
        }
    }

    fn and_or(&mut self) -> Result<Item, ParseError> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            self.skip(false);
            let and = match (self.peek(), self.peek_at(1)) {
                (Some('&'), Some('&')) => true,
                (Some('|'), Some('|')) => false,
                _ => return Ok(Item { first, rest, background: false }),
            };
            self.position += 2;
            self.skip(true);
            rest.push((and, self.pipeline()?));
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline, ParseError> {
        self.skip(false);
        let mut negated = false;
        while self.at_keyword("!") {
            self.bump();
            negated = !negated;
            self.skip(false);
        }
        let mut commands = vec![self.command()?];
        loop {
            self.skip(false);
            if self.peek() != Some('|') || self.peek_at(1) == Some('|') {
                return Ok(Pipeline { negated, commands });
            }
            self.bump();
            if self.peek() == Some('&') {
                self.bump();
                if let Some(last) = commands.last_mut() {
                    let target = vec![Part::Text { text: "1".to_owned(), quoted: false }];
                    last.redirects.push(Redirect { fd: 2, operator: RedirectKind::Duplicate, target });
                }
            }
            self.skip(true);
            commands.push(self.command()?);
        }
    }

    fn command(&mut self) -> Result<Command, ParseError> {
        self.enter()?;
        self.skip(false);
        let kind = self.compound()?;
        let command = match kind {
            Some(kind) => {
                let mut redirects = Vec::new();
                loop {
                    self.skip(false);
                    match self.redirect()? {
                        Some(redirect) => redirects.push(redirect),
                        None => break,
                    }
                }
                Command { kind, redirects }
            }
            None => self.simple()?,
        };
        self.leave();
        Ok(command)
    }

    fn compound(&mut self) -> Result<Option<Kind>, ParseError> {
        if self.peek() == Some('(') {
            self.bump();
            let body = self.list(&[")"])?;
            if self.bump() != Some(')') {
                return Err(ParseError::Incomplete("end of file unexpected (expecting \")\")"));
            }
            return Ok(Some(Kind::Subshell(body)));
        }
        let Some(word) = self.plain_word() else { return Ok(None) };
        let kind = match word.as_str() {
            "{" => {
                self.bump();
                let body = self.list(&["}"])?;
                self.expect_keyword("}")?;
                Kind::Group(body)
            }
            "if" => {
                self.position += 2;
                self.if_clauses()?
            }
            "while" | "until" => {
                self.position += 5;
                let condition = self.list(&["do"])?;
                let body = self.do_body()?;
                Kind::While(word == "until", condition, body)
            }
            "for" => {
                self.position += 3;
                self.for_loop()?
            }
            "case" => {
                self.position += 4;
                self.case()?
            }
            "function" => {
                self.position += 8;
                self.skip(false);
                let name = self.plain_word().unwrap_or_default();
                self.position += name.chars().count();
                self.skip(false);
                if self.peek() == Some('(') && self.peek_at(1) == Some(')') {
                    self.position += 2;
                }
                self.skip(true);
                Kind::Function(name, Box::new(self.command()?))
            }
            _ => return self.function(&word),
        };
        Ok(Some(kind))
    }

    /// `name() command`
    fn function(&mut self, name: &str) -> Result<Option<Kind>, ParseError> {
        let start = self.position;
        if name.contains('=') || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            return Ok(None);
        }
        self.position += name.chars().count();
        self.skip(false);
        if self.peek() == Some('(') {
            self.bump();
            self.skip(false);
            if self.bump() == Some(')') {
                self.skip(true);
                return Ok(Some(Kind::Function(name.to_owned(), Box::new(self.command()?))));
            }
        }
        self.position = start;
        Ok(None)
    }

    fn if_clauses(&mut self) -> Result<Kind, ParseError> {
        let mut clauses = Vec::new();
        loop {
            let condition = self.list(&["then"])?;
            self.expect_keyword("then")?;
            let body = self.list(&["elif", "else", "fi"])?;
            clauses.push((condition, body));
            self.skip(true);
            if self.at_keyword("elif") {
                self.position += 4;
                continue;
            }
            let mut otherwise = Vec::new();
            if self.at_keyword("else") {
                self.position += 4;
                otherwise = self.list(&["fi"])?;
            }
            self.expect_keyword("fi")?;
            return Ok(Kind::If(clauses, otherwise));
        }
    }

    fn do_body(&mut self) -> Result<Vec<Item>, ParseError> {
        self.expect_keyword("do")?;
        let body = self.list(&["done"])?;
        self.expect_keyword("done")?;
        Ok(body)
    }

    fn for_loop(&mut self) -> Result<Kind, ParseError> {
        self.skip(false);
        let name = self.name();
        if name.is_empty() {
            return Err(ParseError::Syntax("Bad for loop variable".to_owned()));
        }
        self.skip(true);
        let mut words = None;
        if self.at_keyword("in") {
            self.position += 2;
            let mut list = Vec::new();
            loop {
                self.skip(false);
                match self.peek() {
                    Some(c) if !word::ends_word(c) => list.push(self.word()?),
                    _ => break,
                }
            }
            words = Some(list);
        }
        self.skip(false);
        if self.peek() == Some(';') {
            self.bump();
        }
        Ok(Kind::For(name, words, self.do_body()?))
    }

    fn case(&mut self) -> Result<Kind, ParseError> {
        self.skip(false);
        let subject = self.word()?;
        self.expect_keyword("in")?;
        let mut arms = Vec::new();
        loop {
            self.skip(true);
            if self.at_keyword("esac") {
                self.position += 4;
                return Ok(Kind::Case(subject, arms));
            }
            if self.peek() == Some('(') {
                self.bump();
            }
            let mut patterns = Vec::new();
            loop {
                self.skip(false);
                let pattern = self.word()?;
                if pattern.is_empty() {
                    return Err(self.unexpected("pattern"));
                }
                patterns.push(pattern);
                self.skip(false);
                match self.bump() {
                    Some('|') => {}
                    Some(')') => break,
                    Some(c) => return Err(ParseError::Syntax(format!("\"{c}\" unexpected (expecting \")\")"))),
                    None => return Err(ParseError::Incomplete("end of file unexpected (expecting \")\")")),
                }
            }
            let body = self.list(&["esac", ";;"])?;
            arms.push((patterns, body));
            if self.peek() == Some(';') {
                self.position += 2;
            }
        }
    }

    fn simple(&mut self) -> Result<Command, ParseError> {
        let mut assignments = Vec::new();
        let mut words: Vec<Word> = Vec::new();
        let mut redirects = Vec::new();
        loop {
            self.skip(false);
            if let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
                continue;
            }
            match self.peek() {
                Some(c) if !word::ends_word(c) => {}
                _ => break,
            }
            let start = self.position;
            if words.is_empty() {
                let name = self.name();
                if !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && self.peek() == Some('=') {
                    self.bump();
                    assignments.push((name, self.word()?));
                    continue;
                }
                self.position = start;
            }
            words.push(self.word()?);
            if self.position == start {
                return Err(self.unexpected("token"));
            }
        }
        if assignments.is_empty() && words.is_empty() && redirects.is_empty() {
            return Err(self.unexpected("token"));
        }
        Ok(Command { kind: Kind::Simple(assignments, words), redirects })
    }
}
