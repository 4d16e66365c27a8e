//! Shell patterns (`*`, `?`, `[...]`) and path name expansion.

use super::files::{Files, absolute};

/// A character and whether it was quoted, which takes its special meaning away.
pub(crate) type Marked = (char, bool);

/// Marks plain text as unquoted.
pub(crate) fn unquoted(text: &str) -> Vec<Marked> {
    text.chars().map(|c| (c, false)).collect()
}

/// Whether the whole text matches.
pub(crate) fn matches(pattern: &[Marked], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&('*', false)) {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        if t < text.len() {
            if let Some(width) = text.get(t).and_then(|c| one(pattern.get(p..).unwrap_or_default(), *c)) {
                p += width;
                t += 1;
                continue;
            }
        } else if p == pattern.len() {
            return true;
        }
        match star {
            Some((after, from)) if from < text.len() => {
                p = after;
                t = from + 1;
                star = Some((after, t));
            }
            _ => return false,
        }
    }
}

/// Whether the pattern's first element matches the character, and its length.
fn one(pattern: &[Marked], c: char) -> Option<usize> {
    match pattern.first()? {
        ('?', false) => Some(1),
        ('[', false) => {
            let end = pattern.iter().enumerate().skip(2).find(|(_, m)| **m == (']', false)).map(|(at, _)| at);
            let Some(end) = end else { return (c == '[').then_some(1) };
            let mut set: Vec<char> = pattern.get(1..end).unwrap_or_default().iter().map(|m| m.0).collect();
            let negated = matches!(set.first(), Some('!' | '^'));
            if negated {
                set.remove(0);
            }
            (in_set(&set, c) != negated).then_some(end + 1)
        }
        (wanted, _) => (*wanted == c).then_some(1),
    }
}

/// Whether a bracket expression's inside contains the character.
fn in_set(set: &[char], c: char) -> bool {
    let mut rest = set;
    while let Some((first, tail)) = rest.split_first() {
        if let [dash, last, after @ ..] = tail
            && *dash == '-'
        {
            if (*first..=*last).contains(&c) {
                return true;
            }
            rest = after;
        } else {
            if *first == c {
                return true;
            }
            rest = tail;
        }
    }
    false
}

/// Whether a field has an unquoted pattern character.
pub(crate) fn is_pattern(field: &[Marked]) -> bool {
    field.iter().any(|(c, quoted)| !quoted && matches!(c, '*' | '?' | '['))
}

/// Paths that match, sorted; empty when none does.
pub(crate) fn expand_path(files: &Files, cwd: &str, pattern: &[Marked]) -> Vec<String> {
    let mut found = vec![if pattern.first().is_some_and(|m| m.0 == '/') { "/".to_owned() } else { String::new() }];
    for component in pattern.split(|m| m.0 == '/').filter(|c| !c.is_empty()) {
        let mut next = Vec::new();
        for base in found.iter().take(4096) {
            let join = |name: &str| if base.is_empty() || base == "/" { format!("{base}{name}") } else { format!("{base}/{name}") };
            if is_pattern(component) {
                let hidden = component.first().is_some_and(|m| m.0 == '.');
                let names = files.list(&absolute(cwd, base)).unwrap_or_default();
                next.extend(
                    names
                        .iter()
                        .filter(|n| (hidden || !n.starts_with('.')) && matches(component, &n.chars().collect::<Vec<_>>()))
                        .map(|n| join(n)),
                );
            } else {
                let path = join(&component.iter().map(|m| m.0).collect::<String>());
                if files.stat(&absolute(cwd, &path)).is_ok() {
                    next.push(path);
                }
            }
        }
        found = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("?x", "ax", true),
            ("[a-c]1", "b1", true),
            ("[!a-c]1", "b1", false),
            ("*.log", "x.log", true),
            ("[", "[", true),
            ("a*b*c*d", "axxbxxcxxd", true),
        ] {
            assert_eq!(matches(&unquoted(pattern), &text.chars().collect::<Vec<_>>()), expected, "{pattern} {text}");
        }
    }
}
