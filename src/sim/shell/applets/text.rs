//! Filters: `head`, `tail`, `sort`, `uniq`, `wc`, `cut`, `tr`, `tee`, `rev`, `tac`, `nl`, `paste`, `strings` of lines.

use std::collections::BTreeMap;
use std::time::Duration;

use super::options;
use crate::sim::shell::files::Content;
use crate::sim::shell::host::Host;
use crate::sim::shell::process::Process;

/// The lines of some bytes, without their newlines.
pub(super) fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(str::to_owned).collect()
}

/// Turns `-5` into `-n 5`.
fn old_count(args: &[String]) -> Vec<String> {
    args.iter()
        .enumerate()
        .flat_map(|(at, a)| match a.strip_prefix('-') {
            // Not the value of a preceding option.
            Some(_) if at > 0 && args.get(at - 1).is_some_and(|before| matches!(before.as_str(), "-n" | "-c")) => vec![a.clone()],
            Some(n) if !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()) => vec!["-n".to_owned(), n.to_owned()],
            _ => vec![a.clone()],
        })
        .collect()
}

/// `head [-n N] [-c N] FILE...`
pub(super) async fn head<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&old_count(&p.args), "n:c:qv", &[("lines", 'n'), ("bytes", 'c')]);
    let (inputs, fine) = p.inputs(&options.rest).await;
    let several = inputs.len() > 1;
    for (at, (name, bytes)) in inputs.into_iter().enumerate() {
        if several && !options.has('q') {
            p.line(format!("{}==> {name} <==", if at > 0 { "\n" } else { "" }));
        }
        if let Some(count) = options.value('c').and_then(super::disk::size) {
            let count = usize::try_from(count).unwrap_or(usize::MAX).min(bytes.len());
            p.print(bytes.get(..count).unwrap_or_default());
            continue;
        }
        let count = options.value('n').unwrap_or("10");
        let all: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
        let take = match count.strip_prefix('-') {
            Some(n) => all.len().saturating_sub(n.parse().unwrap_or(0)),
            None => count.parse().unwrap_or(10),
        };
        for line in all.into_iter().take(take) {
            p.print(line);
        }
    }
    i32::from(!fine)
}

/// `tail [-n N] [-c N] [-f] FILE...`; `-f` watches a file until the time is over.
pub(super) async fn tail<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&old_count(&p.args), "n:c:fFqvs:", &[("lines", 'n'), ("bytes", 'c'), ("follow", 'f')]);
    let (inputs, fine) = p.inputs(&options.rest).await;
    let several = inputs.len() > 1;
    let mut length = 0;
    for (at, (name, bytes)) in inputs.into_iter().enumerate() {
        length = bytes.len();
        if several && !options.has('q') {
            p.line(format!("{}==> {name} <==", if at > 0 { "\n" } else { "" }));
        }
        if let Some(count) = options.value('c') {
            let count: usize = count.trim_start_matches(['+', '-']).parse().unwrap_or(0);
            let from = if options.value('c').is_some_and(|c| c.starts_with('+')) {
                count.saturating_sub(1)
            } else {
                bytes.len().saturating_sub(count)
            };
            p.print(bytes.get(from.min(bytes.len())..).unwrap_or_default());
            continue;
        }
        let count = options.value('n').unwrap_or("10");
        let all: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
        let skip = match count.strip_prefix('+') {
            Some(n) => n.parse::<usize>().unwrap_or(1).saturating_sub(1),
            None => all.len().saturating_sub(count.trim_start_matches('-').parse().unwrap_or(10)),
        };
        for line in all.into_iter().skip(skip) {
            p.print(line);
        }
    }
    if (options.has('f') || options.has('F')) && fine {
        let Some(path) = options.rest.last().cloned() else { return 0 };
        while p.sleep(Duration::from_secs(1)).await {
            let bytes = p.read_file(&path).await.unwrap_or_default();
            p.print(bytes.get(length.min(bytes.len())..).unwrap_or_default());
            length = bytes.len();
        }
        return 143;
    }
    i32::from(!fine)
}

/// A number at the start of a text, as `sort -n` sees it.
fn leading_number(text: &str) -> f64 {
    let text = text.trim_start();
    let end =
        text.char_indices().find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && *c == '-'))).map_or(text.len(), |(at, _)| at);
    text.get(..end).and_then(|t| t.parse().ok()).unwrap_or(0.0)
}

fn human_number(text: &str) -> f64 {
    let number = leading_number(text);
    let suffix = text.trim_start().trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-')).chars().next();
    let power = suffix.and_then(|c| "KMGTP".find(c.to_ascii_uppercase())).map_or(0, |at| i32::try_from(at).unwrap_or(0) + 1);
    number * 1024_f64.powi(power)
}

/// What `sort -V` compares: texts and numbers in turn.
fn version(text: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        let (number, after) = tail.split_at(end);
        parts.push((word.to_owned(), number.parse().unwrap_or(0)));
        rest = after;
    }
    parts
}

/// The part of a line that `-k FROM[,TO]` selects.
fn key(line: &str, separator: Option<char>, spec: Option<&str>) -> String {
    let Some(spec) = spec else { return line.to_owned() };
    let field =
        |text: &str| text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).split('.').next().and_then(|t| t.parse::<usize>().ok());
    let (from, to) = spec.split_once(',').unwrap_or((spec, ""));
    let from = field(from).unwrap_or(1).max(1);
    let to = field(to).unwrap_or(usize::MAX);
    let fields: Vec<&str> = match separator {
        Some(c) => line.split(c).collect(),
        None => line.split_whitespace().collect(),
    };
    fields.iter().take(to).skip(from - 1).copied().collect::<Vec<_>>().join(" ")
}

/// `sort [-nruhfV] [-k KEY] [-t SEPARATOR] FILE...`
pub(super) async fn sort<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(
        &p.args,
        "nrufhgVbsk:t:o:cz",
        &[("numeric-sort", 'n'), ("reverse", 'r'), ("unique", 'u'), ("human-numeric-sort", 'h'), ("key", 'k'), ("field-separator", 't')],
    );
    let (inputs, fine) = p.inputs(&options.rest).await;
    let mut all: Vec<String> = inputs.iter().flat_map(|(_, bytes)| lines(bytes)).collect();
    let separator = options.value('t').and_then(|t| t.chars().next());
    let spec = options.value('k');
    let inherits = |letter: char| options.has(letter) || spec.is_some_and(|s| s.contains(letter));
    let numeric = inherits('n') || inherits('g');
    let compare = |a: &String, b: &String| {
        let (x, y) = (key(a, separator, spec), key(b, separator, spec));
        if inherits('h') {
            human_number(&x).total_cmp(&human_number(&y))
        } else if inherits('V') {
            version(&x).cmp(&version(&y))
        } else if numeric {
            leading_number(&x).total_cmp(&leading_number(&y))
        } else if inherits('f') {
            x.to_lowercase().cmp(&y.to_lowercase())
        } else {
            x.cmp(&y)
        }
    };
    all.sort_by(|a, b| {
        let order = compare(a, b);
        let order = if options.has('s') || options.has('u') { order } else { order.then_with(|| a.cmp(b)) };
        if inherits('r') { order.reverse() } else { order }
    });
    if options.has('u') {
        all.dedup_by(|a, b| compare(a, b).is_eq());
    }
    let text = all.iter().fold(String::new(), |text, line| text + line + "\n");
    match options.value('o') {
        Some(path) => {
            if let Err(error) = p.write_file(path, &Content { head: text.into_bytes(), zeros: 0 }, false, 1).await {
                p.file_error(path, "open failed", error);
                return 2;
            }
        }
        None => p.print(text),
    }
    if fine { 0 } else { 2 }
}

/// `uniq [-cdui] [FILE]`
pub(super) async fn uniq<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "cduif:s:w:", &[("count", 'c'), ("repeated", 'd'), ("unique", 'u')]);
    let (inputs, fine) = p.inputs(options.rest.get(..1.min(options.rest.len())).unwrap_or_default()).await;
    let mut groups: Vec<(String, usize)> = Vec::new();
    for line in inputs.iter().flat_map(|(_, bytes)| lines(bytes)) {
        match groups.last_mut() {
            Some((last, count)) if *last == line || (options.has('i') && last.to_lowercase() == line.to_lowercase()) => *count += 1,
            _ => groups.push((line, 1)),
        }
    }
    for (line, count) in groups {
        if (options.has('d') && count < 2) || (options.has('u') && count > 1) {
            continue;
        }
        p.line(if options.has('c') { format!("{count:7} {line}") } else { line });
    }
    i32::from(!fine)
}

/// `wc [-lwcm] FILE...`
pub(super) async fn wc<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "lwcmL", &[("lines", 'l'), ("words", 'w'), ("bytes", 'c'), ("chars", 'm')]);
    let (inputs, fine) = p.inputs(&options.rest).await;
    let all = !['l', 'w', 'c', 'm', 'L'].iter().any(|c| options.has(*c));
    let mut rows = Vec::new();
    let mut totals = [0_usize; 4];
    for (name, bytes) in &inputs {
        let text = String::from_utf8_lossy(bytes);
        let counts = [text.matches('\n').count(), text.split_whitespace().count(), bytes.len(), text.chars().count()];
        for (total, count) in totals.iter_mut().zip(counts) {
            *total += count;
        }
        rows.push((counts, if options.rest.is_empty() { String::new() } else { name.clone() }));
    }
    if options.rest.len() > 1 {
        rows.push((totals, "total".to_owned()));
    }
    let single = ['l', 'w', 'c', 'm'].iter().filter(|c| options.has(**c)).count() == 1;
    let width = if single && rows.len() == 1 {
        1
    } else if options.rest.is_empty() {
        if p.machine.busybox() { 9 } else { 7 }
    } else if p.machine.busybox() {
        9
    } else {
        totals.iter().map(|t| t.to_string().len()).max().unwrap_or(1)
    };
    for ([l, w, c, m], name) in rows {
        let mut shown = Vec::new();
        for (letter, value) in [('l', l), ('w', w), ('c', c), ('m', m)] {
            if options.has(letter) || (all && letter != 'm') {
                shown.push(format!("{value:>width$}"));
            }
        }
        let text = shown.join(" ");
        p.line(if name.is_empty() { text } else { format!("{text} {name}") });
    }
    i32::from(!fine)
}

/// Positions of `cut`: `1,3-5,7-`.
fn ranges(spec: &str) -> Option<Vec<(usize, usize)>> {
    spec.split(',')
        .map(|part| match part.split_once('-') {
            None => part.parse().ok().filter(|n| *n > 0).map(|n| (n, n)),
            Some((from, to)) => {
                let from = if from.is_empty() { 1 } else { from.parse().ok()? };
                let to = if to.is_empty() { usize::MAX } else { to.parse().ok()? };
                Some((from, to))
            }
        })
        .collect()
}

/// `cut -d D -f LIST`, `cut -c LIST`
pub(super) async fn cut<H: Host>(p: &mut Process<H>) -> i32 {
    let options =
        options::parse(&p.args, "d:f:c:b:snz", &[("delimiter", 'd'), ("fields", 'f'), ("characters", 'c'), ("output-delimiter", 'O')]);
    let fields = options.value('f');
    let Some(list) = fields.or(options.value('c')).or(options.value('b')).and_then(ranges) else {
        p.complain("you must specify a list of bytes, characters, or fields");
        return 1;
    };
    let wanted = |at: usize| list.iter().any(|(from, to)| (*from..=*to).contains(&at));
    let delimiter = options.value('d').and_then(|d| d.chars().next()).unwrap_or('\t');
    let between = options.value('O').map_or_else(|| delimiter.to_string(), str::to_owned);
    let (inputs, fine) = p.inputs(&options.rest).await;
    for line in inputs.iter().flat_map(|(_, bytes)| lines(bytes)) {
        if fields.is_none() {
            p.line(line.chars().enumerate().filter(|(at, _)| wanted(at + 1)).map(|(_, c)| c).collect::<String>());
        } else if line.contains(delimiter) {
            let kept: Vec<&str> = line.split(delimiter).enumerate().filter(|(at, _)| wanted(at + 1)).map(|(_, f)| f).collect();
            p.line(kept.join(&between));
        } else if !options.has('s') {
            p.line(line);
        }
    }
    i32::from(!fine)
}

/// A set of `tr`: ranges, classes and escapes spelled out.
fn set(text: &str) -> Vec<char> {
    let mut text = text.to_owned();
    for (class, range) in [
        ("[:upper:]", "A-Z"),
        ("[:lower:]", "a-z"),
        ("[:digit:]", "0-9"),
        ("[:alpha:]", "A-Za-z"),
        ("[:alnum:]", "A-Za-z0-9"),
        ("[:space:]", " \t\n\r\u{b}\u{c}"),
        ("[:blank:]", " \t"),
        ("[:punct:]", "!-/:-@[-`{-~"),
    ] {
        text = text.replace(class, range);
    }
    let text = String::from_utf8_lossy(&super::echo::unescape(&text).0).into_owned();
    let chars: Vec<char> = text.chars().collect();
    let mut all = Vec::new();
    let mut rest = chars.as_slice();
    while let Some((first, tail)) = rest.split_first() {
        if let ['-', last, after @ ..] = tail
            && first <= last
        {
            all.extend((*first..=*last).take(70_000));
            rest = after;
        } else {
            all.push(*first);
            rest = tail;
        }
    }
    all
}

/// `tr [-cds] SET1 [SET2]`
pub(super) async fn tr<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "+cCdst", &[("delete", 'd'), ("squeeze-repeats", 's'), ("complement", 'c')]);
    let Some(first) = options.rest.first().map(|t| set(t)) else {
        p.complain("missing operand");
        return 1;
    };
    let second = options.rest.get(1).map(|t| set(t)).unwrap_or_default();
    let complement = options.has('c') || options.has('C');
    let input = p.io.input.clone().read_all().await;
    let text = String::from_utf8_lossy(&input).into_owned();
    let mapping: BTreeMap<char, usize> = first.iter().enumerate().rev().map(|(at, c)| (*c, at)).collect();
    let member = |c: char| mapping.contains_key(&c) != complement;
    let mut result = String::new();
    let mut last = None;
    for c in text.chars() {
        let mut out = c;
        if options.has('d') {
            if member(c) {
                continue;
            }
        } else if member(c) && !second.is_empty() {
            let at = mapping.get(&c).copied().unwrap_or(usize::MAX);
            out = second.get(at).or(second.last()).copied().unwrap_or(c);
        }
        if options.has('s') && last == Some(out) {
            let squeezed = if second.is_empty() { member(out) } else { second.contains(&out) };
            if squeezed {
                continue;
            }
        }
        last = Some(out);
        result.push(out);
    }
    p.print(result);
    0
}

/// `tee [-a] FILE...`
pub(super) async fn tee<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "ai", &[("append", 'a')]);
    let bytes = p.io.input.clone().read_all().await;
    let mut code = 0;
    for path in &options.rest {
        let content = Content { head: bytes.clone(), zeros: 0 };
        if let Err(error) = p.write_file(path, &content, options.has('a'), 1).await {
            code = 1;
            p.file_error(path, "", error);
        }
    }
    p.print(bytes);
    code
}

/// `tac`, `rev`, `nl`: lines in another order or form.
pub(super) async fn relined<H: Host>(p: &mut Process<H>) -> i32 {
    let name = p.name();
    let options = options::parse(&p.args, "b:w:s:n:", &[]);
    let (inputs, fine) = p.inputs(&options.rest).await;
    let mut all: Vec<String> = inputs.iter().flat_map(|(_, bytes)| lines(bytes)).collect();
    match name.as_str() {
        "tac" => all.reverse(),
        "rev" => all = all.iter().map(|l| l.chars().rev().collect()).collect(),
        _ => {
            let mut number = 0;
            for line in &mut all {
                if line.is_empty() {
                    "       ".clone_into(line);
                } else {
                    number += 1;
                    *line = format!("{number:6}\t{line}");
                }
            }
        }
    }
    for line in all {
        p.line(line);
    }
    i32::from(!fine)
}

/// `paste [-s] [-d D] FILE...`
pub(super) async fn paste<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "sd:", &[("serial", 's'), ("delimiters", 'd')]);
    let delimiter = options.value('d').unwrap_or("\t").to_owned();
    let (inputs, fine) = p.inputs(&options.rest).await;
    let columns: Vec<Vec<String>> = inputs.iter().map(|(_, bytes)| lines(bytes)).collect();
    if options.has('s') {
        for column in columns {
            p.line(column.join(&delimiter));
        }
    } else {
        let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
        for row in 0..rows {
            let cells: Vec<&str> = columns.iter().map(|c| c.get(row).map_or("", String::as_str)).collect();
            p.line(cells.join(&delimiter));
        }
    }
    i32::from(!fine)
}

/// `yes [TEXT]`: as much as a pipe's reader could want.
pub(super) async fn yes<H: Host>(p: &mut Process<H>) -> i32 {
    let text = if p.args.len() > 1 { p.args.get(1..).unwrap_or_default().join(" ") } else { "y".to_owned() };
    for _ in 0..10_000 {
        p.line(&text);
    }
    let _ = p.sleep(Duration::from_millis(1)).await;
    0
}
