//! The grammar of `awk`: text in, [`Rule`]s out.

use regex::Regex;

use super::lexer::{Token, tokens};
use crate::sim::shell::applets::regexes::compile;

const DEPTH_MAX: usize = 60;

/// When a rule's action runs.
#[derive(Debug, Clone)]
pub(super) enum When {
    Begin,
    End,
    Always,
    If(Expr),
    Range(Expr, Expr),
}

impl PartialEq for When {
    /// Only `Begin` and `End` are ever compared.
    fn eq(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Begin, Self::Begin) | (Self::End, Self::End))
    }
}

/// A pattern with its action; without one it prints.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) when: When,
    pub(super) action: Option<Vec<Statement>>,
}

#[derive(Debug, Clone)]
pub(super) enum Expr {
    Number(f64),
    Text(String),
    Match(Regex),
    Variable(String),
    Field(Box<Expr>),
    Element(String, Vec<Expr>),
    In(Box<Expr>, String),
    /// Target, operator (`=` or the binary one), value.
    Assign(Box<Expr>, String, Box<Expr>),
    Binary(String, Box<Expr>, Box<Expr>),
    Unary(char, Box<Expr>),
    /// Target, by how much, whether the old value is the result.
    Step(Box<Expr>, f64, bool),
    Choice(Box<Expr>, Box<Expr>, Box<Expr>),
    Call(String, Vec<Expr>),
}

#[derive(Debug, Clone)]
pub(super) enum Statement {
    Expression(Expr),
    /// Values, whether formatted, target with whether it appends.
    Print(Vec<Expr>, bool, Option<(Expr, bool)>),
    If(Expr, Vec<Statement>, Vec<Statement>),
    /// Condition, step, body, whether the body comes first.
    Loop(Option<Expr>, Vec<Statement>, Vec<Statement>, bool),
    ForIn(String, String, Vec<Statement>),
    Next,
    Exit(Option<Expr>),
    Break,
    Continue,
    Delete(String, Option<Vec<Expr>>),
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    /// Inside `print` without parentheses `>` redirects.
    no_greater: bool,
}

/// Parses a program.
pub(super) fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, no_greater: false };
    let mut rules = Vec::new();
    loop {
        while parser.take(";") || parser.newline() {}
        if parser.peek().is_none() {
            return Ok(rules);
        }
        rules.push(parser.rule()?);
    }
}

type Parsed<T> = Result<T, String>;

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn error(&self) -> String {
        let near = match self.peek() {
            None => "end of file".to_owned(),
            Some(Token::Symbol(s)) => (*s).to_owned(),
            Some(Token::Newline) => "end of line".to_owned(),
            Some(Token::Number(t) | Token::Text(t) | Token::Regex(t) | Token::Name(t) | Token::Function(t)) => t.clone(),
        };
        format!("line 1: syntax error at or near {near}")
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek(), Some(Token::Symbol(s)) if *s == symbol)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Parsed<()> {
        if self.take(symbol) { Ok(()) } else { Err(self.error()) }
    }

    fn word(&mut self, name: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Name(n)) if n == name);
        self.at += usize::from(found);
        found
    }

    fn newline(&mut self) -> bool {
        let found = self.peek() == Some(&Token::Newline);
        self.at += usize::from(found);
        found
    }

    fn newlines(&mut self) {
        while self.newline() {}
    }

    fn rule(&mut self) -> Parsed<Rule> {
        let when = if self.word("BEGIN") {
            When::Begin
        } else if self.word("END") {
            When::End
        } else if self.is("{") {
            When::Always
        } else {
            let first = self.expression()?;
            if self.take(",") { When::Range(first, self.expression()?) } else { When::If(first) }
        };
        let action = if self.is("{") { Some(self.block()?) } else { None };
        Ok(Rule { when, action })
    }

    fn block(&mut self) -> Parsed<Vec<Statement>> {
        self.expect("{")?;
        let mut statements = Vec::new();
        loop {
            while self.take(";") || self.newline() {}
            if self.take("}") {
                return Ok(statements);
            }
            statements.push(self.statement()?);
        }
    }

    /// One statement or a block of them.
    fn body(&mut self) -> Parsed<Vec<Statement>> {
        self.newlines();
        if self.is("{") {
            return self.block();
        }
        if self.take(";") {
            return Ok(Vec::new());
        }
        Ok(vec![self.statement()?])
    }

    fn statement(&mut self) -> Parsed<Statement> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("nested too deeply".to_owned());
        }
        let statement = self.one_statement();
        self.depth -= 1;
        statement
    }

    fn one_statement(&mut self) -> Parsed<Statement> {
        if self.is("{") {
            return Ok(Statement::If(Expr::Number(1.0), self.block()?, Vec::new()));
        }
        if self.word("if") {
            self.expect("(")?;
            let condition = self.expression()?;
            self.expect(")")?;
            let body = self.body()?;
            let before = self.at;
            while self.take(";") || self.newline() {}
            if self.word("else") {
                return Ok(Statement::If(condition, body, self.body()?));
            }
            self.at = before;
            return Ok(Statement::If(condition, body, Vec::new()));
        }
        if self.word("while") {
            self.expect("(")?;
            let condition = self.expression()?;
            self.expect(")")?;
            return Ok(Statement::Loop(Some(condition), Vec::new(), self.body()?, false));
        }
        if self.word("do") {
            let body = self.body()?;
            while self.take(";") || self.newline() {}
            if !self.word("while") {
                return Err(self.error());
            }
            self.expect("(")?;
            let condition = self.expression()?;
            self.expect(")")?;
            return Ok(Statement::Loop(Some(condition), Vec::new(), body, true));
        }
        if self.word("for") {
            return self.for_loop();
        }
        if self.word("next") {
            return Ok(Statement::Next);
        }
        if self.word("break") {
            return Ok(Statement::Break);
        }
        if self.word("continue") {
            return Ok(Statement::Continue);
        }
        if self.word("exit") {
            let value = if self.ends_statement() { None } else { Some(self.expression()?) };
            return Ok(Statement::Exit(value));
        }
        if self.word("delete") {
            let Some(Token::Name(name)) = self.peek().cloned() else { return Err(self.error()) };
            self.at += 1;
            let index = if self.take("[") { Some(self.list("]")?) } else { None };
            return Ok(Statement::Delete(name, index));
        }
        self.simple()
    }

    fn ends_statement(&self) -> bool {
        matches!(self.peek(), None | Some(Token::Newline | Token::Symbol(";" | "}" | ">" | ">>" | "|")))
    }

    fn simple(&mut self) -> Parsed<Statement> {
        let formatted = if self.word("print") {
            false
        } else if self.word("printf") {
            true
        } else {
            return Ok(Statement::Expression(self.expression()?));
        };
        let mut values = Vec::new();
        let start = self.at;
        // `print (a, b)`: parentheses around the whole list.
        if self.take("(") {
            match self.list(")") {
                Ok(list) if self.ends_statement() => values = list,
                _ => self.at = start,
            }
        }
        if values.is_empty() {
            self.no_greater = true;
            while !self.ends_statement() {
                values.push(self.expression()?);
                if !self.take(",") {
                    break;
                }
            }
            self.no_greater = false;
        }
        let append = self.is(">>");
        let target = if self.take(">") || self.take(">>") {
            self.no_greater = true;
            let target = self.concatenation()?;
            self.no_greater = false;
            Some((target, append))
        } else {
            None
        };
        Ok(Statement::Print(values, formatted, target))
    }

    fn for_loop(&mut self) -> Parsed<Statement> {
        self.expect("(")?;
        if let (Some(Token::Name(name)), Some(Token::Name(word)), Some(Token::Name(array))) =
            (self.tokens.get(self.at).cloned(), self.tokens.get(self.at + 1), self.tokens.get(self.at + 2).cloned())
            && word == "in"
            && self.tokens.get(self.at + 3) == Some(&Token::Symbol(")"))
        {
            self.at += 4;
            return Ok(Statement::ForIn(name, array, self.body()?));
        }
        let mut first = Vec::new();
        if !self.is(";") {
            first.push(self.simple()?);
        }
        self.expect(";")?;
        let condition = if self.is(";") { None } else { Some(self.expression()?) };
        self.expect(";")?;
        let mut step = Vec::new();
        if !self.is(")") {
            step.push(self.simple()?);
        }
        self.expect(")")?;
        let body = self.body()?;
        first.push(Statement::Loop(condition, step, body, false));
        Ok(Statement::If(Expr::Number(1.0), first, Vec::new()))
    }

    fn list(&mut self, end: &str) -> Parsed<Vec<Expr>> {
        let mut list = Vec::new();
        let saved = std::mem::take(&mut self.no_greater);
        self.newlines();
        if !self.take(end) {
            loop {
                list.push(self.expression()?);
                self.newlines();
                if self.take(end) {
                    break;
                }
                self.expect(",")?;
                self.newlines();
            }
        }
        self.no_greater = saved;
        Ok(list)
    }

    fn expression(&mut self) -> Parsed<Expr> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("nested too deeply".to_owned());
        }
        let condition = self.or()?;
        let result = if self.take("?") {
            let yes = self.expression()?;
            self.expect(":")?;
            Expr::Choice(Box::new(condition), Box::new(yes), Box::new(self.expression()?))
        } else {
            self.assignment(condition)?
        };
        self.depth -= 1;
        Ok(result)
    }

    fn assignment(&mut self, target: Expr) -> Parsed<Expr> {
        let assignable = matches!(target, Expr::Variable(_) | Expr::Field(_) | Expr::Element(..));
        for operator in ["=", "+=", "-=", "*=", "/=", "%=", "^="] {
            if assignable && self.take(operator) {
                let value = self.expression()?;
                return Ok(Expr::Assign(Box::new(target), operator.trim_end_matches('=').to_owned(), Box::new(value)));
            }
        }
        Ok(target)
    }

    fn or(&mut self) -> Parsed<Expr> {
        let mut left = self.and()?;
        while self.take("||") {
            self.newlines();
            left = Expr::Binary("||".to_owned(), Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed<Expr> {
        let mut left = self.membership()?;
        while self.take("&&") {
            self.newlines();
            left = Expr::Binary("&&".to_owned(), Box::new(left), Box::new(self.membership()?));
        }
        Ok(left)
    }

    fn membership(&mut self) -> Parsed<Expr> {
        let mut left = self.matching()?;
        while self.word("in") {
            let Some(Token::Name(array)) = self.peek().cloned() else { return Err(self.error()) };
            self.at += 1;
            left = Expr::In(Box::new(left), array);
        }
        Ok(left)
    }

    fn matching(&mut self) -> Parsed<Expr> {
        let mut left = self.comparison()?;
        loop {
            let operator = if self.take("~") {
                "~"
            } else if self.take("!~") {
                "!~"
            } else {
                return Ok(left);
            };
            left = Expr::Binary(operator.to_owned(), Box::new(left), Box::new(self.comparison()?));
        }
    }

    fn comparison(&mut self) -> Parsed<Expr> {
        let left = self.concatenation()?;
        for operator in ["==", "!=", "<=", ">=", "<", ">"] {
            if !(operator == ">" && self.no_greater) && self.take(operator) {
                return Ok(Expr::Binary(operator.to_owned(), Box::new(left), Box::new(self.concatenation()?)));
            }
        }
        Ok(left)
    }

    fn concatenation(&mut self) -> Parsed<Expr> {
        let mut left = self.sum()?;
        loop {
            let starts = match self.peek() {
                Some(Token::Number(_) | Token::Text(_) | Token::Function(_) | Token::Symbol("$" | "(" | "!" | "-" | "++" | "--")) => true,
                Some(Token::Name(name)) => name != "in",
                _ => false,
            };
            if !starts || (self.is("!") && !matches!(left, Expr::Text(_))) {
                return Ok(left);
            }
            left = Expr::Binary(" ".to_owned(), Box::new(left), Box::new(self.sum()?));
        }
    }

    fn chain(&mut self, operators: &[&str], next: fn(&mut Self) -> Parsed<Expr>) -> Parsed<Expr> {
        let mut left = next(self)?;
        loop {
            let Some(operator) = operators.iter().find(|o| self.is(o)) else { return Ok(left) };
            self.at += 1;
            left = Expr::Binary((*operator).to_owned(), Box::new(left), Box::new(next(self)?));
        }
    }

    fn sum(&mut self) -> Parsed<Expr> {
        self.chain(&["+", "-"], Self::product)
    }

    fn product(&mut self) -> Parsed<Expr> {
        self.chain(&["*", "/", "%"], Self::unary)
    }

    fn unary(&mut self) -> Parsed<Expr> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("nested too deeply".to_owned());
        }
        for (symbol, letter) in [("!", '!'), ("-", '-'), ("+", '+')] {
            if self.take(symbol) {
                let inner = self.unary()?;
                self.depth -= 1;
                return Ok(Expr::Unary(letter, Box::new(inner)));
            }
        }
        let base = self.postfix()?;
        let result = if self.take("^") { Expr::Binary("^".to_owned(), Box::new(base), Box::new(self.unary()?)) } else { base };
        self.depth -= 1;
        Ok(result)
    }

    fn postfix(&mut self) -> Parsed<Expr> {
        for (symbol, by) in [("++", 1.0), ("--", -1.0)] {
            if self.take(symbol) {
                let target = self.primary()?;
                return Ok(Expr::Step(Box::new(target), by, false));
            }
        }
        let target = self.primary()?;
        if matches!(target, Expr::Variable(_) | Expr::Field(_) | Expr::Element(..)) {
            for (symbol, by) in [("++", 1.0), ("--", -1.0)] {
                if self.take(symbol) {
                    return Ok(Expr::Step(Box::new(target), by, true));
                }
            }
        }
        Ok(target)
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let token = self.peek().cloned().ok_or_else(|| self.error())?;
        self.at += 1;
        match token {
            Token::Number(text) => Ok(Expr::Number(text.parse().unwrap_or(0.0))),
            Token::Text(text) => Ok(Expr::Text(text)),
            Token::Regex(text) => {
                compile(&text, true, false).map(Expr::Match).ok_or_else(|| format!("regular expression compile failed\n{text}"))
            }
            Token::Function(name) => {
                self.expect("(")?;
                Ok(Expr::Call(name, self.list(")")?))
            }
            Token::Name(name) => {
                if self.take("[") {
                    return Ok(Expr::Element(name, self.list("]")?));
                }
                Ok(if name == "length" { Expr::Call(name, Vec::new()) } else { Expr::Variable(name) })
            }
            Token::Symbol("$") => {
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err("nested too deeply".to_owned());
                }
                let inner = if self.take("-") { Expr::Unary('-', Box::new(self.primary()?)) } else { self.primary()? };
                self.depth -= 1;
                Ok(Expr::Field(Box::new(inner)))
            }
            Token::Symbol("(") => {
                let mut list = self.list(")")?;
                match (list.len(), list.pop()) {
                    (1, Some(inner)) => Ok(Expr::Choice(Box::new(Expr::Number(1.0)), Box::new(inner), Box::new(Expr::Number(0.0)))),
                    _ => Err(self.error()),
                }
            }
            _ => {
                self.at -= 1;
                Err(self.error())
            }
        }
    }
}
