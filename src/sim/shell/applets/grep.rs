//! `grep`.

use super::options;
use super::regexes::compile;
use super::text::lines;
use super::tree::{respell, walk};
use crate::sim::shell::files::Kind;
use crate::sim::shell::host::Host;
use crate::sim::shell::process::Process;
use std::fmt::Write as _;

/// `grep [-ivcnEFqorRlLhHwxsm] PATTERN FILE...`
pub(super) async fn grep<H: Host>(p: &mut Process<H>) -> i32 {
    let long = [
        ("ignore-case", 'i'),
        ("invert-match", 'v'),
        ("count", 'c'),
        ("line-number", 'n'),
        ("extended-regexp", 'E'),
        ("fixed-strings", 'F'),
        ("quiet", 'q'),
        ("only-matching", 'o'),
        ("recursive", 'r'),
        ("files-with-matches", 'l'),
        ("word-regexp", 'w'),
        ("max-count", 'm'),
        ("color", 'U'),
        ("colour", 'U'),
        ("include", 'I'),
        ("no-messages", 's'),
        ("after-context", 'A'),
        ("before-context", 'B'),
        ("context", 'C'),
    ];
    let options = options::parse(&p.args, "ivcnEFGPqorRlLhHwxse:m:A:B:C:aUI:zf:", &long);
    let mut rest = options.rest.clone();
    let mut patterns: Vec<String> = options.all('e').to_vec();
    if patterns.is_empty() && !rest.is_empty() {
        patterns.push(rest.remove(0));
    }
    if let Some(error) = &options.error {
        p.complain(error);
        return 2;
    }
    if patterns.is_empty() {
        p.raw_error("Usage: grep [OPTION]... PATTERNS [FILE]...\nTry 'grep --help' for more information.\n");
        return 2;
    }
    let extended = options.has('E') || options.has('P') || p.name() == "egrep";
    let fixed = options.has('F') || p.name() == "fgrep";
    let mut expressions = Vec::new();
    for pattern in patterns.iter().flat_map(|t| t.split('\n')) {
        let mut source = if fixed { regex::escape(pattern) } else { pattern.to_owned() };
        let extended = extended || fixed;
        if options.has('w') {
            source = if extended { format!("\\b({source})\\b") } else { format!("\\b\\({source}\\)\\b") };
        }
        if options.has('x') {
            source = if extended { format!("^({source})$") } else { format!("^\\({source}\\)$") };
        }
        if let Some(expression) = compile(&source, extended, options.has('i')) {
            expressions.push(expression);
        } else {
            p.complain("Invalid regular expression");
            return 2;
        }
    }
    let recursive = options.has('r') || options.has('R');
    let mut code = 1;
    let mut failed = false;
    let mut files = Vec::new();
    if rest.is_empty() && recursive {
        rest.push(".".to_owned());
    }
    for spelled in &rest {
        let root = p.path(spelled);
        p.refresh(&root);
        if recursive {
            for full in walk(p, &root) {
                if p.machine.files(|f| f.node(&full)).is_some_and(|n| matches!(n.kind, Kind::Regular(_))) {
                    files.push(respell(&full, &root, spelled));
                }
            }
            if p.machine.files(|f| f.stat(&root)).is_ok() {
                continue;
            }
        }
        files.push(spelled.clone());
    }
    if files.is_empty() && rest.is_empty() {
        files.push("-".to_owned());
    }
    let named = options.has('H') || ((files.len() > 1 || recursive) && !options.has('h'));
    let after: usize = options.number('A').or(options.number('C')).unwrap_or(0);
    let before: usize = options.number('B').or(options.number('C')).unwrap_or(0);
    let limit: usize = options.number('m').unwrap_or(usize::MAX);
    for path in files {
        let bytes = match p.read_input(&path).await {
            Ok(bytes) => bytes,
            Err(error) => {
                failed = true;
                if !options.has('s') {
                    p.complain(format!("{path}: {error}"));
                }
                continue;
            }
        };
        let all = lines(&bytes);
        let label = if path == "-" { "(standard input)" } else { path.as_str() };
        let mut count = 0;
        let mut shown = 0;
        for (at, line) in all.iter().enumerate() {
            if expressions.iter().any(|e| e.is_match(line)) == options.has('v') || count >= limit {
                continue;
            }
            count += 1;
            code = 0;
            if options.has('q') {
                return 0;
            }
            if options.has('c') || options.has('l') || options.has('L') {
                continue;
            }
            let prefix = |number: usize, mark: char| {
                let mut text = if named { format!("{label}{mark}") } else { String::new() };
                if options.has('n') {
                    let _ = write!(text, "{number}{mark}");
                }
                text
            };
            if options.has('o') {
                for found in expressions.iter().flat_map(|e| e.find_iter(line)).filter(|f| !f.is_empty()) {
                    p.line(prefix(at + 1, ':') + found.as_str());
                }
                continue;
            }
            let from = at.saturating_sub(before).max(shown);
            if (after > 0 || before > 0) && shown > 0 && from > shown {
                p.line("--");
            }
            for number in from..at {
                let text = all.get(number).map_or("", String::as_str);
                p.line(prefix(number + 1, '-') + text);
            }
            if at >= shown {
                p.line(prefix(at + 1, ':') + line);
            }
            shown = shown.max(at + 1);
            let end = (at + 1).saturating_add(after).min(all.len());
            for number in at + 1..end {
                let text = all.get(number).map_or("", String::as_str);
                if expressions.iter().any(|e| e.is_match(text)) != options.has('v') {
                    break;
                }
                if number >= shown {
                    p.line(prefix(number + 1, '-') + text);
                    shown = number + 1;
                }
            }
        }
        if options.has('c') {
            p.line(if named { format!("{label}:{count}") } else { count.to_string() });
        }
        if (options.has('l') && count > 0) || (options.has('L') && count == 0) {
            p.line(label);
        }
    }
    if failed && code != 0 { 2 } else { code }
}
