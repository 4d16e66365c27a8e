//! Redirections and here-documents.

use super::ast::{Part, Redirect, RedirectKind, Word};
use super::{ParseError, Parser};

impl Parser {
    /// Cuts the here-document that begins after the current line out of the text.
    fn here_document(&mut self, delimiter: &str, quoted: bool, strip: bool) -> Result<Word, ParseError> {
        let mut start = self.position;
        while self.text.get(start).is_some_and(|c| *c != '\n') {
            start += 1;
        }
        if start >= self.text.len() {
            return Err(ParseError::Incomplete("end of file unexpected (here-document)"));
        }
        start += 1;
        let mut at = start;
        let mut text = String::new();
        loop {
            if at >= self.text.len() {
                break;
            }
            let line: String = self.text.iter().skip(at).take_while(|c| **c != '\n').collect();
            at = (at + line.chars().count() + 1).min(self.text.len());
            let line = if strip { line.trim_start_matches('\t') } else { line.as_str() };
            if line == delimiter {
                break;
            }
            text.push_str(line);
            text.push('\n');
        }
        self.text.drain(start..at);
        if quoted { Ok(vec![Part::Text { text, quoted: true }]) } else { Parser::here_text(&text, self.depth + 1) }
    }

    pub(super) fn redirect(&mut self) -> Result<Option<Redirect>, ParseError> {
        let start = self.position;
        let mut fd = None;
        if self.peek() == Some('&') && self.peek_at(1) == Some('>') {
            self.position += 2;
            self.skip(false);
            let target = self.target()?;
            return Ok(Some(Redirect { fd: 1, operator: RedirectKind::Both, target }));
        }
        if let Some(digit) = self.peek().and_then(|c| c.to_digit(10))
            && matches!(self.peek_at(1), Some('<' | '>'))
        {
            fd = Some(digit);
            self.bump();
        }
        let (default, operator) = match (self.peek(), self.peek_at(1)) {
            (Some('<'), Some('<')) => return self.here(fd.unwrap_or(0)).map(Some),
            (Some('<'), Some('&')) => (0, RedirectKind::Duplicate),
            (Some('>'), Some('&')) => (1, RedirectKind::Duplicate),
            (Some('>'), Some('>')) => (1, RedirectKind::Append),
            (Some('>'), Some('|')) => (1, RedirectKind::Write),
            (Some('<'), _) => {
                self.bump();
                self.skip(false);
                return Ok(Some(Redirect { fd: fd.unwrap_or(0), operator: RedirectKind::Read, target: self.target()? }));
            }
            (Some('>'), _) => {
                self.bump();
                self.skip(false);
                return Ok(Some(Redirect { fd: fd.unwrap_or(1), operator: RedirectKind::Write, target: self.target()? }));
            }
            _ => {
                self.position = start;
                return Ok(None);
            }
        };
        self.position += 2;
        self.skip(false);
        Ok(Some(Redirect { fd: fd.unwrap_or(default), operator, target: self.target()? }))
    }

    fn target(&mut self) -> Result<Word, ParseError> {
        let target = self.word()?;
        if target.is_empty() { Err(self.unexpected("redirection")) } else { Ok(target) }
    }

    fn here(&mut self, fd: u32) -> Result<Redirect, ParseError> {
        self.position += 2;
        if self.peek() == Some('<') {
            self.bump();
            self.skip(false);
            let mut target = self.target()?;
            target.push(Part::Text { text: "\n".to_owned(), quoted: true });
            return Ok(Redirect { fd, operator: RedirectKind::Here, target });
        }
        let strip = self.peek() == Some('-');
        if strip {
            self.bump();
        }
        self.skip(false);
        let mut quoted_delimiter = false;
        let mut delimiter = String::new();
        for part in self.target()? {
            if let Part::Text { text, quoted } = part {
                delimiter.push_str(&text);
                quoted_delimiter |= quoted;
            }
        }
        let target = self.here_document(&delimiter, quoted_delimiter, strip)?;
        Ok(Redirect { fd, operator: RedirectKind::Here, target })
    }
}
