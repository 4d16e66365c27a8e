//! Values of `awk`: numbers, texts, and texts from outside that may be numbers.

use crate::sim::shell::applets::echo::{format, significant};

/// A value; `Input` came from outside and compares as a number when it looks like one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Number(f64),
    Text(String),
    Input(String),
    Unset,
}

pub(super) fn number_text(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e16 {
        format!("{number:.0}").replace("-0", if number == 0.0 { "0" } else { "-0" })
    } else {
        significant(number, 6)
    }
}

pub(super) fn to_number(text: &str) -> f64 {
    let text = text.trim_start();
    let mut end = 0;
    let mut seen_e = false;
    for (at, c) in text.char_indices() {
        let fine = c.is_ascii_digit()
            || c == '.'
            || ((c == '-' || c == '+') && (at == 0 || text.get(..at).is_some_and(|t| t.ends_with(['e', 'E']))))
            || (matches!(c, 'e' | 'E') && at > 0 && !std::mem::replace(&mut seen_e, true));
        if !fine {
            break;
        }
        end = at + 1;
    }
    let mut part = text.get(..end).unwrap_or_default();
    loop {
        if let Ok(number) = part.parse() {
            return number;
        }
        let Some((at, _)) = part.char_indices().next_back() else { return 0.0 };
        part = part.get(..at).unwrap_or_default();
    }
}

impl Value {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Number(n) => number_text(*n),
            Self::Text(t) | Self::Input(t) => t.clone(),
            Self::Unset => String::new(),
        }
    }

    pub(super) fn number(&self) -> f64 {
        match self {
            Self::Number(n) => *n,
            Self::Text(t) | Self::Input(t) => to_number(t),
            Self::Unset => 0.0,
        }
    }

    pub(super) fn numeric(&self) -> bool {
        match self {
            Self::Number(_) | Self::Unset => true,
            Self::Input(t) => t.trim().parse::<f64>().is_ok(),
            Self::Text(_) => false,
        }
    }

    pub(super) fn truth(&self) -> bool {
        if self.numeric() { self.number() != 0.0 } else { !self.text().is_empty() }
    }
}

/// `printf` of awk: `%d` cuts fractions and never complains.
pub(super) fn formatted(template: &str, arguments: &[String]) -> String {
    let mut letters =
        template.split('%').skip(1).filter(|part| !part.is_empty()).filter_map(|part| part.chars().find(char::is_ascii_alphabetic));
    let arguments: Vec<String> = arguments
        .iter()
        .map(|argument| match letters.next() {
            Some('d' | 'i' | 'x' | 'o' | 'u') => format!("{:.0}", to_number(argument).trunc()),
            Some('f' | 'e' | 'g') => to_number(argument).to_string(),
            _ => argument.clone(),
        })
        .collect();
    // Literal backslashes were resolved when the text was read.
    let template = template.replace('\\', "\\\\");
    let wanted = template.replace("%%", "").matches('%').count();
    let used = arguments.get(..wanted.min(arguments.len())).unwrap_or_default();
    String::from_utf8_lossy(&format(&template, used).0).into_owned()
}
