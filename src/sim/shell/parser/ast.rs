//! The shape of a parsed script.

/// A part of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Plain text; quoted text neither splits nor globs.
    Text {
        /// The characters.
        text: String,
        /// Whether they were quoted.
        quoted: bool,
    },
    /// `$name`, `${name...}`.
    Parameter {
        /// Variable, positional parameter or special parameter.
        name: String,
        /// What is done with its value.
        action: Action,
        /// Whether it was inside double quotes.
        quoted: bool,
    },
    /// `$(...)` or backticks.
    Command {
        /// The commands.
        body: Vec<Item>,
        /// Whether it was inside double quotes.
        quoted: bool,
    },
    /// `$((...))`.
    Arithmetic {
        /// The expression, itself subject to expansion.
        expression: Word,
        /// Whether it was inside double quotes.
        quoted: bool,
    },
}

/// A word: parts next to each other.
pub(crate) type Word = Vec<Part>;

/// What `${name...}` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// The value.
    Value,
    /// `${#name}`.
    Length,
    /// `${name:-word}` and its kin: operator, whether an empty value counts as unset, word.
    Default(char, bool, Word),
    /// `${name#pattern}`, `##`, `%`, `%%`: from the end?, longest?, pattern.
    Trim(bool, bool, Word),
    /// `${name/pattern/word}` (bash and busybox): all?, pattern, word.
    Replace(bool, Word, Word),
    /// `${name:offset:length}` (bash and busybox).
    Slice(Word, Option<Word>),
}

/// One redirection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redirect {
    /// File descriptor.
    pub(crate) fd: u32,
    /// Operator.
    pub(crate) operator: RedirectKind,
    /// Target, or the here-document's text.
    pub(crate) target: Word,
}

/// Redirection operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RedirectKind {
    /// `<`
    Read,
    /// `>`, `>|`
    Write,
    /// `>>`
    Append,
    /// `>&`, `<&`
    Duplicate,
    /// `&>` of bash: both outputs.
    Both,
    /// `<<`, `<<-`, `<<<`
    Here,
}

/// A command with its redirections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// What it is.
    pub(crate) kind: Kind,
    /// Redirections.
    pub(crate) redirects: Vec<Redirect>,
}

/// Kinds of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Assignments and words.
    Simple(Vec<(String, Word)>, Vec<Word>),
    /// `{ ...; }`
    Group(Vec<Item>),
    /// `( ... )`
    Subshell(Vec<Item>),
    /// Conditions with their bodies, and `else`.
    If(Vec<(Vec<Item>, Vec<Item>)>, Vec<Item>),
    /// `while` or, when true, `until`.
    While(bool, Vec<Item>, Vec<Item>),
    /// Variable, words (none: the positional parameters), body.
    For(String, Option<Vec<Word>>, Vec<Item>),
    /// Subject, and patterns with bodies.
    Case(Word, Vec<(Vec<Word>, Vec<Item>)>),
    /// Definition of a function.
    Function(String, Box<Command>),
}

/// Commands joined by `|`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pipeline {
    /// `!` in front.
    pub(crate) negated: bool,
    /// The stages.
    pub(crate) commands: Vec<Command>,
}

/// Pipelines joined by `&&` and `||`, ended by `;` or `&`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// The first pipeline.
    pub(crate) first: Pipeline,
    /// Whether it is `&&`, and the pipeline.
    pub(crate) rest: Vec<(bool, Pipeline)>,
    /// Ended by `&`.
    pub(crate) background: bool,
}
