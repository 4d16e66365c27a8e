//! `find` and `xargs`.

use super::options;
use super::shell::child;
use super::tree::{respell, walk};
use crate::sim::shell::files::{FileError, Kind, Node};
use crate::sim::shell::host::Host;
use crate::sim::shell::pattern;
use crate::sim::shell::process::Process;

/// One test or action of `find`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Name(String, bool),
    Path(String),
    Type(char),
    Size(std::cmp::Ordering, u64, u64),
    Modified(std::cmp::Ordering, i64, i64),
    Empty,
    Print(char),
    Delete,
    Exec(Vec<String>, bool),
    Or,
    Not,
}

struct Search {
    terms: Vec<Term>,
    depth_max: usize,
    depth_min: usize,
}

fn amount(text: &str) -> (std::cmp::Ordering, &str) {
    match text.chars().next() {
        Some('+') => (std::cmp::Ordering::Greater, text.trim_start_matches('+')),
        Some('-') => (std::cmp::Ordering::Less, text.trim_start_matches('-')),
        _ => (std::cmp::Ordering::Equal, text),
    }
}

fn search(args: &[String]) -> Result<Search, String> {
    let mut search = Search { terms: Vec::new(), depth_max: usize::MAX, depth_min: 0 };
    let mut args = args.iter();
    while let Some(argument) = args.next() {
        let mut value = || args.next().cloned().ok_or_else(|| format!("missing argument to `{argument}'"));
        let term = match argument.as_str() {
            "-name" => Term::Name(value()?, false),
            "-iname" => Term::Name(value()?.to_lowercase(), true),
            "-path" | "-wholename" => Term::Path(value()?),
            "-type" => Term::Type(value()?.chars().next().unwrap_or('f')),
            "-maxdepth" => {
                search.depth_max = value()?.parse().unwrap_or(usize::MAX);
                continue;
            }
            "-mindepth" => {
                search.depth_min = value()?.parse().unwrap_or(0);
                continue;
            }
            "-size" => {
                let text = value()?;
                let (order, number) = amount(&text);
                let unit = match number.chars().last() {
                    Some('c') => 1,
                    Some('k') => 1 << 10,
                    Some('M') => 1 << 20,
                    Some('G') => 1 << 30,
                    _ => 512,
                };
                Term::Size(order, number.trim_end_matches(|c: char| c.is_ascii_alphabetic()).parse().unwrap_or(0), unit)
            }
            "-mtime" | "-mmin" => {
                let text = value()?;
                let (order, number) = amount(&text);
                Term::Modified(order, number.parse().unwrap_or(0), if argument == "-mmin" { 60 } else { 86_400 })
            }
            "-empty" => Term::Empty,
            "-print" => Term::Print('\n'),
            "-print0" => Term::Print('\0'),
            "-delete" => Term::Delete,
            "-o" | "-or" => Term::Or,
            "!" | "-not" => Term::Not,
            "-a" | "-and" | "(" | ")" | "-xdev" | "-mount" | "-depth" | "-follow" | "-true" => continue,
            "-exec" => {
                let mut command = Vec::new();
                loop {
                    let word = value()?;
                    if word == ";" {
                        break Term::Exec(command, false);
                    }
                    if word == "+" && command.last().is_some_and(|w: &String| w == "{}") {
                        command.pop();
                        break Term::Exec(command, true);
                    }
                    command.push(word);
                }
            }
            other => {
                return Err(if other.starts_with('-') {
                    format!("unknown predicate `{other}'")
                } else {
                    format!("paths must precede expression: `{other}'")
                });
            }
        };
        search.terms.push(term);
    }
    if !search.terms.iter().any(|t| matches!(t, Term::Print(_) | Term::Delete | Term::Exec(..))) {
        // Without an action the whole expression prints what it finds, both sides of each `-o`.
        search.terms =
            search.terms.split(|t| *t == Term::Or).map(|side| [side, &[Term::Print('\n')]].concat()).collect::<Vec<_>>().join(&Term::Or);
    }
    Ok(search)
}

/// Whether a test holds; `None` for an action.
fn holds(term: &Term, name: &str, path: &str, node: &Node, empty: bool, now: jiff::Timestamp) -> Option<bool> {
    let glob = |wanted: &str, text: &str| pattern::matches(&pattern::unquoted(wanted), &text.chars().collect::<Vec<_>>());
    Some(match term {
        Term::Name(wanted, false) => glob(wanted, name),
        Term::Name(wanted, true) => glob(wanted, &name.to_lowercase()),
        Term::Path(wanted) => glob(wanted, path),
        Term::Type(letter) => {
            *letter
                == match node.kind {
                    Kind::Directory => 'd',
                    Kind::Regular(_) => 'f',
                    Kind::Link(_) => 'l',
                    Kind::Device => 'c',
                    Kind::Socket => 's',
                }
        }
        Term::Size(order, number, unit) => node.size().div_ceil(*unit).cmp(number) == *order,
        Term::Modified(order, number, unit) => (now.duration_since(node.modified).as_secs() / unit).cmp(number) == *order,
        Term::Empty => empty,
        _ => return None,
    })
}

/// `find [PATH...] [EXPRESSION]`
pub(super) async fn find<H: Host>(p: &mut Process<H>) -> i32 {
    let args = p.args.get(1..).unwrap_or_default().to_vec();
    let split = args.iter().position(|a| a.starts_with('-') || a == "!" || a == "(").unwrap_or(args.len());
    let (paths, expression) = args.split_at(split);
    let search = match search(expression) {
        Ok(search) => search,
        Err(message) => {
            p.complain(message);
            return 1;
        }
    };
    let current = [".".to_owned()];
    let paths = if paths.is_empty() { current.as_slice() } else { paths };
    let mut code = 0;
    let mut gathered: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    for spelled in paths {
        let root = p.path(spelled);
        p.refresh(&root);
        if p.machine.files(|f| f.node(&root)).is_none() {
            code = 1;
            let text = if p.machine.busybox() {
                format!("{spelled}: {}", FileError::NoEntry)
            } else {
                format!("'{spelled}': {}", FileError::NoEntry)
            };
            p.complain(text);
            continue;
        }
        let mut all = walk(p, &root);
        if search.terms.contains(&Term::Delete) {
            all.reverse();
        }
        for full in all {
            if p.halted() {
                return 143;
            }
            let shown = respell(&full, &root, spelled);
            let depth = full.trim_start_matches(root.as_str()).split('/').filter(|x| !x.is_empty()).count();
            let Some(node) = p.machine.files(|f| f.node(&full)) else { continue };
            if depth > search.depth_max || depth < search.depth_min {
                continue;
            }
            let empty = match &node.kind {
                Kind::Directory => p.machine.files(|f| f.list(&full)).is_ok_and(|l| l.is_empty()),
                Kind::Regular(content) => content.is_empty(),
                _ => false,
            };
            let name = full.rsplit('/').next().unwrap_or_default().to_owned();
            let now = p.host().now();
            for side in search.terms.split(|t| *t == Term::Or) {
                let mut negate = false;
                let mut matched = true;
                for term in side {
                    if *term == Term::Not {
                        negate = !negate;
                        continue;
                    }
                    let value = match holds(term, &name, &shown, &node, empty, now) {
                        Some(value) => value,
                        None => act(p, term, &shown, &full, &mut gathered).await,
                    };
                    matched = value != std::mem::take(&mut negate);
                    if !matched {
                        break;
                    }
                }
                if matched {
                    break;
                }
            }
        }
    }
    for (mut command, files) in gathered {
        command.extend(files);
        if child(p, &command).await != 0 {
            code = 1;
        }
    }
    code
}

async fn act<H: Host>(p: &mut Process<H>, term: &Term, shown: &str, full: &str, gathered: &mut Vec<(Vec<String>, Vec<String>)>) -> bool {
    match term {
        Term::Print(end) => {
            p.print(format!("{shown}{end}"));
            true
        }
        Term::Delete => match p.machine.files(|f| f.remove(full)) {
            Ok(()) => true,
            Err(error) => {
                p.complain(format!("cannot delete '{shown}': {error}"));
                false
            }
        },
        Term::Exec(command, true) => {
            match gathered.iter_mut().find(|g| g.0 == *command) {
                Some(group) => group.1.push(shown.to_owned()),
                None => gathered.push((command.clone(), vec![shown.to_owned()])),
            }
            true
        }
        Term::Exec(command, false) => {
            let command: Vec<String> = command.iter().map(|w| w.replace("{}", shown)).collect();
            child(p, &command).await == 0
        }
        _ => true,
    }
}

/// `xargs [-n N] [-I X] [-0] [-r] COMMAND...`
pub(super) async fn xargs<H: Host>(p: &mut Process<H>) -> i32 {
    let options =
        options::parse(&p.args, "+n:I:0rtd:P:L:s:", &[("null", '0'), ("no-run-if-empty", 'r'), ("max-args", 'n'), ("replace", 'I')]);
    let input = p.io.input.clone().read_all().await;
    let text = String::from_utf8_lossy(&input).into_owned();
    let items: Vec<String> = if options.has('0') {
        text.split('\0').filter(|t| !t.is_empty()).map(str::to_owned).collect()
    } else if let Some(delimiter) = options.value('d').map(super::echo::unescape).and_then(|(b, _)| b.first().copied()) {
        text.split(char::from(delimiter)).filter(|t| !t.is_empty()).map(str::to_owned).collect()
    } else if options.has('I') || options.has('L') {
        text.lines().map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect()
    } else {
        words(&text)
    };
    let command = if options.rest.is_empty() { vec!["echo".to_owned()] } else { options.rest.clone() };
    if items.is_empty() && (options.has('r') || p.machine.busybox() || options.has('I')) {
        return 0;
    }
    let size: usize = if options.has('I') { 1 } else { options.number('n').or(options.number('L')).unwrap_or(5000).max(1) };
    let mut batches: Vec<&[String]> = items.chunks(size).collect();
    if batches.is_empty() {
        batches.push(&[]);
    }
    let mut code = 0;
    for batch in batches {
        if p.halted() {
            return 143;
        }
        let mut full: Vec<String> = Vec::new();
        if let (Some(mark), Some(item)) = (options.value('I'), batch.first()) {
            full.extend(command.iter().map(|w| w.replace(mark, item)));
        } else {
            full.extend(command.iter().cloned());
            full.extend(batch.iter().cloned());
        }
        if options.has('t') {
            p.raw_error(format!("{}\n", full.join(" ")));
        }
        match child(p, &full).await {
            0 => {}
            missing @ (126 | 127) => return missing,
            _ => code = 123,
        }
    }
    code
}

/// Words as `xargs` splits them: blanks separate, quotes and backslashes protect.
fn words(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut current: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                let word = current.get_or_insert_default();
                word.extend(chars.by_ref().take_while(|x| *x != c));
            }
            '\\' => current.get_or_insert_default().extend(chars.next()),
            c if c.is_whitespace() => all.extend(current.take()),
            c => current.get_or_insert_default().push(c),
        }
    }
    all.extend(current);
    all
}
