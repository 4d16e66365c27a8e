//! Programs that read, make and remove files.

use super::options;
use crate::sim::shell::files::{Content, FileError, Kind, absolute};
use crate::sim::shell::host::Host;
use crate::sim::shell::process::Process;

/// Deepest directory that a recursive program enters.
const DEPTH_MAX: usize = 64;

/// Everything at and below a path, parents first. Mounted volumes are entered.
pub(super) fn walk<H: Host>(p: &Process<H>, path: &str) -> Vec<String> {
    fn inner(files: &crate::sim::shell::files::Files, path: &str, depth: usize, all: &mut Vec<String>) {
        let directory = files.node(path).is_some_and(|n| n.is_directory());
        all.push(path.to_owned());
        if directory && depth < DEPTH_MAX {
            for name in files.list(path).unwrap_or_default() {
                inner(files, &absolute(path, &name), depth + 1, all);
            }
        }
    }
    let mut all = Vec::new();
    p.machine.files(|f| inner(f, path, 0, &mut all));
    all
}

/// The path spelled as the user spelled its root.
pub(super) fn respell(full: &str, root: &str, spelled: &str) -> String {
    match full.strip_prefix(root) {
        Some("") => spelled.to_owned(),
        Some(rest) => format!("{}/{}", spelled.trim_end_matches('/'), rest.trim_start_matches('/')),
        None => full.to_owned(),
    }
}

/// `cat FILE...`
pub(super) async fn cat<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "AbenstTuv", &[]);
    if options.rest.is_empty() || options.rest == ["-"] {
        // Line by line, so that an interactive user sees an echo.
        let input = p.io.input.clone();
        let mut number = 0;
        while let Some(line) = input.read_line().await {
            number += 1;
            if options.has('n') {
                p.print(format!("{number:6}\t"));
            }
            p.print(line);
            let _ = p.flush().await;
            if p.halted() {
                break;
            }
        }
        return 0;
    }
    let (inputs, fine) = p.inputs(&options.rest).await;
    let mut number = 0;
    for (_, bytes) in inputs {
        if options.has('n') {
            for line in bytes.split_inclusive(|b| *b == b'\n') {
                number += 1;
                p.print(format!("{number:6}\t"));
                p.print(line);
            }
        } else {
            p.print(bytes);
        }
    }
    i32::from(!fine)
}

/// `rm [-rf] FILE...`
pub(super) async fn rm<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "rRfivd", &[("recursive", 'r'), ("force", 'f'), ("verbose", 'v')]);
    let (recursive, force) = (options.has('r') || options.has('R'), options.has('f'));
    if options.rest.is_empty() && !force {
        p.complain("missing operand");
        return 1;
    }
    let mut code = 0;
    for spelled in &options.rest {
        let path = p.path(spelled);
        let Some(node) = p.machine.files(|f| f.resolve(&path, false).ok().and_then(|r| f.node(&r))) else {
            if !force {
                code = 1;
                p.file_error_verb(spelled, "cannot remove", "can't remove", FileError::NoEntry);
            }
            continue;
        };
        if node.is_directory() && !recursive {
            code = 1;
            if p.machine.busybox() {
                p.complain(format!("'{spelled}' is a directory"));
            } else {
                p.complain(format!("cannot remove '{spelled}': Is a directory"));
            }
            continue;
        }
        if path == "/" {
            code = 1;
            p.complain("it is dangerous to operate recursively on '/'");
            continue;
        }
        for full in walk(p, &path).into_iter().rev() {
            let result = match p.disk(&full, 0, 1, true).await {
                Ok(()) => p.machine.files(|f| f.remove(&full)),
                Err(error) => Err(error),
            };
            match result {
                Ok(()) if options.has('v') => p.line(format!("removed '{}'", respell(&full, &path, spelled))),
                Ok(()) => {}
                Err(error) => {
                    code = 1;
                    p.file_error_verb(&respell(&full, &path, spelled), "cannot remove", "can't remove", error);
                }
            }
        }
    }
    code
}

/// `rmdir DIRECTORY...`
pub(super) fn rmdir<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "pv", &[]);
    let mut code = 0;
    for spelled in &options.rest {
        let path = p.path(spelled);
        let result = p.machine.files(|f| match f.stat(&path) {
            Ok(node) if node.is_directory() => f.remove(&path),
            Ok(_) => Err(FileError::NotDirectory),
            Err(error) => Err(error),
        });
        if let Err(error) = result {
            code = 1;
            if p.machine.busybox() {
                p.complain(format!("'{spelled}': {error}"));
            } else {
                p.complain(format!("failed to remove '{spelled}': {error}"));
            }
        }
    }
    code
}

/// `mkdir [-p] DIRECTORY...`
pub(super) async fn mkdir<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "pvm:", &[("parents", 'p'), ("mode", 'm')]);
    let mode = options.value('m').and_then(|m| u32::from_str_radix(m, 8).ok()).unwrap_or(0o755);
    let mut code = 0;
    for spelled in &options.rest {
        let path = p.path(spelled);
        let mut result = p.disk(&path, 0, 1, true).await;
        if result.is_ok() {
            result = p.machine.files(|f| {
                if options.has('p') {
                    let mut at = String::new();
                    for part in path.split('/').filter(|x| !x.is_empty()) {
                        at = format!("{at}/{part}");
                        match f.stat(&at) {
                            Ok(node) if node.is_directory() => {}
                            Ok(_) => return Err(FileError::Exists),
                            Err(_) => f.create(&at, Kind::Directory, mode)?,
                        }
                    }
                    Ok(())
                } else {
                    f.create(&path, Kind::Directory, mode)
                }
            });
        }
        if let Err(error) = result {
            code = 1;
            let name = if p.machine.busybox() { "can't create directory" } else { "cannot create directory" };
            p.complain(format!("{name} '{spelled}': {error}"));
        }
    }
    code
}

/// `touch [-c] FILE...`
pub(super) async fn touch<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "acmd:r:t:", &[]);
    let mut code = 0;
    for spelled in &options.rest {
        let path = p.path(spelled);
        let mut result = p.disk(&path, 0, 1, true).await;
        if result.is_ok() {
            result = p.machine.files(|f| {
                if f.stat(&path).is_ok() {
                    let now = f.now;
                    f.change(&path, |n| n.modified = now)
                } else if options.has('c') {
                    Ok(())
                } else {
                    f.write(&path, &Content::default(), false)
                }
            });
        }
        if let Err(error) = result {
            code = 1;
            if p.machine.busybox() {
                p.complain(format!("{spelled}: {error}"));
            } else {
                p.complain(format!("cannot touch '{spelled}': {error}"));
            }
        }
    }
    code
}

/// Splits the operands of `cp` and `mv` into sources and, for each, its target.
fn targets<H: Host>(p: &Process<H>, rest: &[String], directory: Option<&str>) -> Option<Vec<(String, String)>> {
    let (sources, target) = if let Some(target) = directory {
        (rest, target.to_owned())
    } else {
        let (target, sources) = rest.split_last()?;
        (sources, target.clone())
    };
    let into = p.machine.files(|f| f.stat(&p.path(&target)).is_ok_and(|n| n.is_directory()));
    if sources.is_empty() || (sources.len() > 1 && !into) {
        return None;
    }
    let pair = |source: &String| {
        let name = source.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        (source.clone(), if into { format!("{}/{name}", target.trim_end_matches('/')) } else { target.clone() })
    };
    Some(sources.iter().map(pair).collect())
}

async fn copy<H: Host>(p: &mut Process<H>, from: &str, to: &str) -> Result<(), FileError> {
    let node = p.machine.files(|f| f.node(from).ok_or(FileError::NoEntry))?;
    match node.kind {
        Kind::Directory => match p.machine.files(|f| f.create(to, Kind::Directory, node.mode)) {
            Err(FileError::Exists) => Ok(()),
            other => other,
        },
        Kind::Regular(content) => {
            p.disk(from, content.len(), 1, false).await?;
            p.write_file(to, &content, false, 1).await?;
            p.machine.files(|f| f.change(to, |n| n.mode = node.mode))
        }
        other => {
            let _ = p.machine.files(|f| f.remove(to));
            p.machine.files(|f| f.create(to, other, node.mode))
        }
    }
}

/// `cp [-r] SOURCE... TARGET`
pub(super) async fn cp<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "rRapfivdLPt:T", &[("recursive", 'r'), ("archive", 'a'), ("target-directory", 't')]);
    let recursive = options.has('r') || options.has('R') || options.has('a');
    let Some(pairs) = targets(p, &options.rest, options.value('t')) else {
        p.complain("missing destination file operand");
        return 1;
    };
    let mut code = 0;
    for (source, target) in pairs {
        let path = p.path(&source);
        p.refresh(&path);
        let from = match p.machine.files(|f| f.resolve(&path, true).and_then(|r| f.node(&r).ok_or(FileError::NoEntry).map(|n| (r, n)))) {
            Ok((_, node)) if node.is_directory() && !recursive => {
                code = 1;
                if p.machine.busybox() {
                    p.complain(format!("omitting directory '{source}'"));
                } else {
                    p.complain(format!("-r not specified; omitting directory '{source}'"));
                }
                continue;
            }
            Ok((resolved, _)) => resolved,
            Err(error) => {
                code = 1;
                p.file_error_verb(&source, "cannot stat", "can't stat", error);
                continue;
            }
        };
        let to = p.path(&target);
        for full in walk(p, &from) {
            if let Err(error) = copy(p, &full, &respell(&full, &from, &to)).await {
                code = 1;
                p.file_error_verb(&respell(&full, &from, &target), "cannot create regular file", "can't create", error);
            }
        }
    }
    code
}

/// `mv SOURCE... TARGET`
pub(super) async fn mv<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "finvuTt:", &[("force", 'f'), ("target-directory", 't')]);
    let Some(pairs) = targets(p, &options.rest, options.value('t')) else {
        p.complain("missing destination file operand");
        return 1;
    };
    let mut code = 0;
    for (source, target) in pairs {
        let (from, to) = (p.path(&source), p.path(&target));
        if p.machine.files(|f| f.node(&from)).is_none() {
            code = 1;
            p.file_error_verb(&source, "cannot stat", "can't rename", FileError::NoEntry);
            continue;
        }
        if from == to || to.starts_with(&format!("{from}/")) {
            code = 1;
            p.complain(format!("'{source}' and '{target}' are the same file"));
            continue;
        }
        let all = walk(p, &from);
        let mut result = Ok(());
        for full in &all {
            result = result.and(copy(p, full, &respell(full, &from, &to)).await);
        }
        if result.is_ok() {
            for full in all.iter().rev() {
                result = result.and(p.machine.files(|f| f.remove(full)));
            }
        }
        if let Err(error) = result {
            code = 1;
            p.file_error_verb(&source, &format!("cannot move to '{target}'"), "can't rename", error);
        }
    }
    code
}

/// `ln [-s] [-f] TARGET LINK`
pub(super) fn ln<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "sfnvT", &[("symbolic", 's'), ("force", 'f')]);
    let Some(pairs) = targets(p, &options.rest, None) else {
        p.complain("missing file operand");
        return 1;
    };
    for (target, link) in pairs {
        let (at, original) = (p.path(&link), p.path(&target));
        let result = p.machine.files(|f| {
            if options.has('f') {
                let _ = f.remove(&at);
            }
            if options.has('s') {
                return f.create(&at, Kind::Link(target.clone()), 0o777);
            }
            let node = f.stat(&original)?;
            f.create(&at, node.kind, node.mode)
        });
        if let Err(error) = result {
            p.complain(format!("failed to create symbolic link '{link}': {error}"));
            return 1;
        }
    }
    0
}

/// `chmod MODE FILE...`; `chown` and `chgrp` only check that the files exist.
pub(super) fn chmod<H: Host>(p: &mut Process<H>) -> i32 {
    let args: Vec<String> = p.args.iter().skip(1).filter(|a| !matches!(a.as_str(), "-R" | "-f" | "-v" | "--")).cloned().collect();
    let recursive = p.args.iter().any(|a| a == "-R");
    let Some((mode, paths)) = args.split_first() else {
        p.complain("missing operand");
        return 1;
    };
    let own = p.name();
    let mut code = 0;
    for spelled in paths {
        let root = p.path(spelled);
        let all = if recursive { walk(p, &root) } else { vec![root] };
        for path in all {
            let result = p.machine.files(|f| {
                let old = f.stat(&path)?.mode;
                if own == "chmod" { f.change(&path, |n| n.mode = new_mode(old, mode)) } else { Ok(()) }
            });
            if let Err(error) = result {
                code = 1;
                let text = if p.machine.busybox() { format!("{spelled}: {error}") } else { format!("cannot access '{spelled}': {error}") };
                p.complain(text);
            }
        }
    }
    code
}

/// An octal mode, or clauses such as `u+x,go-w`.
fn new_mode(old: u32, text: &str) -> u32 {
    if let Ok(mode) = u32::from_str_radix(text, 8) {
        return mode & 0o7777;
    }
    let mut mode = old;
    for clause in text.split(',') {
        let Some(at) = clause.find(['+', '-', '=']) else { continue };
        let (who, change) = clause.split_at(at);
        let mut mask = 0;
        for c in if who.is_empty() || who.contains('a') { "ugo" } else { who }.chars() {
            mask |= match c {
                'u' => 0o700,
                'g' => 0o070,
                _ => 0o007,
            };
        }
        let mut bits = 0;
        for c in change.chars().skip(1) {
            bits |= match c {
                'r' => 0o444,
                'w' => 0o222,
                'x' | 'X' => 0o111,
                _ => 0,
            };
        }
        match change.chars().next() {
            Some('+') => mode |= bits & mask,
            Some('-') => mode &= !(bits & mask),
            _ => mode = (mode & !mask) | (bits & mask),
        }
    }
    mode
}

/// `readlink [-f] FILE`, `realpath FILE`
pub(super) fn readlink<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "femnqsz", &[]);
    let follow = options.has('f') || options.has('e') || options.has('m') || p.name() == "realpath";
    let mut code = 0;
    for spelled in &options.rest {
        let path = p.path(spelled);
        p.refresh(&path);
        let text = p.machine.files(|f| {
            if follow {
                return f.resolve(&path, true).ok();
            }
            match f.node(&path).map(|n| n.kind) {
                Some(Kind::Link(target)) => Some(target),
                _ => None,
            }
        });
        match text {
            Some(text) => p.line(text),
            None => code = 1,
        }
    }
    code
}

/// `truncate -s SIZE FILE...`
pub(super) async fn truncate<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "cs:", &[("size", 's')]);
    let Some(size) = options.value('s').and_then(super::disk::size) else {
        p.complain("you must specify either '--size' or '--reference'");
        return 1;
    };
    let mut code = 0;
    for spelled in &options.rest {
        let mut content = p.read_file(spelled).await.map(|b| Content { head: b, zeros: 0 }).unwrap_or_default();
        content.head.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        content.zeros = size.saturating_sub(content.head.len() as u64);
        if let Err(error) = p.write_file(spelled, &content, false, 1).await {
            code = 1;
            p.file_error(spelled, "cannot open", error);
        }
    }
    code
}

/// `mktemp [-d] [TEMPLATE]`
pub(super) async fn mktemp<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "dutp:q", &[]);
    let template = options.rest.first().cloned().unwrap_or_else(|| "/tmp/tmp.XXXXXX".to_owned());
    let mut name = template.trim_end_matches('X').to_owned();
    for _ in name.len()..template.len() {
        let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let at = (0..52_u32).rev().find(|n| p.host().uniform() * f64::from(*n + 1) < 1.0 || *n == 0).unwrap_or(0);
        name.extend(letters.chars().nth(at as usize));
    }
    let path = p.path(&name);
    let result = if options.has('d') {
        p.machine.files(|f| f.create(&path, Kind::Directory, 0o700))
    } else {
        p.write_file(&path, &Content::default(), false, 1).await
    };
    match result {
        Ok(()) => {
            p.line(name);
            0
        }
        Err(error) => {
            p.complain(format!("failed to create file via template '{template}': {error}"));
            1
        }
    }
}

impl<H: Host> Process<H> {
    /// Complains about a file with the verb of GNU or of busybox.
    pub(super) fn file_error_verb(&mut self, path: &str, gnu: &str, busybox: &str, error: FileError) {
        let verb = if self.machine.busybox() { busybox } else { gnu };
        self.complain(format!("{verb} '{path}': {error}"));
    }
}
