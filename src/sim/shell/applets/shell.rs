//! `sh` itself, `env`, `chroot` and `which`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::options;
use crate::sim::shell::files::FileError;
use crate::sim::shell::host::Host;
use crate::sim::shell::interpreter::Shell;
use crate::sim::shell::process::{Process, Sink};

/// `sh`, `bash`: `-c TEXT [NAME ARG...]`, a script, or commands on standard input.
pub(super) async fn shell<H: Host>(p: &mut Process<H>) -> i32 {
    let mut shell = Shell::new(p.clone());
    let mut at = 1;
    let mut command = false;
    while let Some(argument) = p.args.get(at) {
        let Some(letters) = argument.strip_prefix('-').or_else(|| argument.strip_prefix('+')) else { break };
        let on = argument.starts_with('-');
        at += 1;
        if argument == "--" || argument == "-" {
            break;
        }
        if letters.starts_with('-') {
            continue;
        }
        for letter in letters.chars() {
            match letter {
                'c' => command = true,
                'o' => {
                    if p.args.get(at).is_some_and(|o| o == "pipefail") {
                        shell.option('P', on);
                    }
                    at += 1;
                }
                'i' | 's' | 'l' => {}
                other => shell.option(other, on),
            }
        }
    }
    let rest: Vec<String> = p.args.get(at..).unwrap_or_default().to_vec();
    if command {
        let Some(text) = rest.first().cloned() else {
            p.raw_error("sh: 0: -c requires an argument\n");
            return 2;
        };
        if let Some(name) = rest.get(1) {
            shell.name.clone_from(name);
        }
        shell.positional = rest.get(2..).unwrap_or_default().to_vec();
        let code = shell.run_text(&text).await;
        return shell.at_exit(code).await;
    }
    if let Some(path) = rest.first() {
        shell.positional = rest.get(1..).unwrap_or_default().to_vec();
        return match p.read_file(path).await {
            Ok(bytes) => {
                shell.name.clone_from(path);
                let code = shell.run_text(&String::from_utf8_lossy(&bytes)).await;
                shell.at_exit(code).await
            }
            Err(error) => {
                let text = if p.machine.busybox() {
                    format!("sh: can't open '{path}': {error}\n")
                } else {
                    format!("sh: 0: cannot open {path}: No such file\n")
                };
                p.raw_error(text);
                2
            }
        };
    }
    let code = match shell.terminal() {
        Some(terminal) => shell.run_interactive(&terminal).await,
        None => shell.run_input().await,
    };
    shell.at_exit(code).await
}

/// `env [-i] [NAME=VALUE...] [COMMAND...]`, `printenv`
pub(super) async fn env<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "+iu:0", &[("ignore-environment", 'i'), ("unset", 'u')]);
    if p.name() == "printenv" && !options.rest.is_empty() {
        let mut code = 0;
        for name in &options.rest {
            match p.environment.get(name).cloned() {
                Some(value) => p.line(value),
                None => code = 1,
            }
        }
        return code;
    }
    let mut environment = if options.has('i') { BTreeMap::new() } else { p.environment.clone() };
    for name in options.all('u') {
        environment.remove(name);
    }
    let mut rest = options.rest.as_slice();
    while let Some((name, value)) = rest.first().and_then(|a| a.split_once('=')) {
        environment.insert(name.to_owned(), value.to_owned());
        rest = rest.get(1..).unwrap_or_default();
    }
    if rest.is_empty() {
        for (name, value) in &environment {
            p.line(format!("{name}={value}"));
        }
        return 0;
    }
    p.environment = environment;
    child(p, rest).await
}

/// Runs another program with this one's streams.
pub(super) async fn child<H: Host>(p: &mut Process<H>, args: &[String]) -> i32 {
    let _ = p.flush().await;
    let mut child = p.clone();
    child.args = args.to_vec();
    child.depth += 1;
    let name = args.first().cloned().unwrap_or_default();
    match super::locate(&child) {
        Ok(()) => super::start(child).await,
        Err(missing) => {
            let own = p.name();
            let reason = if missing { "No such file or directory" } else { "Permission denied" };
            let text = match own.as_str() {
                _ if p.machine.busybox() => format!("{own}: can't execute '{name}': {reason}\n"),
                "timeout" | "nohup" | "nice" | "chroot" => format!("{own}: failed to run command '{name}': {reason}\n"),
                "env" => format!("{own}: '{name}': {reason}\n"),
                _ => format!("{own}: {name}: {reason}\n"),
            };
            p.raw_error(text);
            if missing { 127 } else { 126 }
        }
    }
}

/// `chroot DIRECTORY [COMMAND...]`
pub(super) async fn chroot<H: Host>(p: &mut Process<H>) -> i32 {
    let rest: Vec<String> = p.args.iter().skip(1).skip_while(|a| a.starts_with("--")).cloned().collect();
    let Some(directory) = rest.first().cloned() else {
        p.complain("missing operand\nTry 'chroot --help' for more information.");
        return 125;
    };
    let path = p.path(&directory);
    let found = p.machine.files(|files| {
        let real = files.resolve(&path, true)?;
        if files.stat(&real)?.is_directory() { Ok(real) } else { Err(FileError::NotDirectory) }
    });
    let real = match found {
        Ok(real) => real,
        Err(error) => {
            let (word, code) = if p.machine.busybox() { ("can't", 1) } else { ("cannot", 125) };
            p.complain(format!("{word} change root directory to '{directory}': {error}"));
            return code;
        }
    };
    let own = Arc::clone(&p.machine);
    let mut inside = p.clone();
    if real != "/" {
        inside.machine = own.rooted(&real);
    }
    "/".clone_into(&mut inside.cwd);
    // Files that the caller has opened are in its own root.
    let kept = [&inside.io.output, &inside.io.error].map(|sink| matches!(sink, Sink::File(_)).then(Arc::<Mutex<Vec<u8>>>::default));
    for (sink, buffer) in [&mut inside.io.output, &mut inside.io.error].into_iter().zip(&kept) {
        if let Some(buffer) = buffer {
            *sink = Sink::Buffer(Arc::clone(buffer));
        }
    }
    let shell = inside.environment.get("SHELL").cloned().unwrap_or_else(|| "/bin/sh".to_owned());
    let command = if rest.len() > 1 { rest.get(1..).unwrap_or_default().to_vec() } else { vec![shell] };
    let code = child(&mut inside, &command).await;
    let _ = inside.flush().await;
    let [output, error] = kept.map(|b| b.map(|b| std::mem::take(&mut *b.lock().unwrap_or_else(PoisonError::into_inner))));
    p.print(output.unwrap_or_default());
    if let Some(error) = error {
        p.raw_error(error);
    }
    code
}

/// `which NAME...`
pub(super) fn which<H: Host>(p: &mut Process<H>) -> i32 {
    let mut code = 0;
    for name in p.args.clone().iter().skip(1).filter(|n| !n.starts_with('-')) {
        match p.machine.find_program(name, &p.search_path()) {
            Some(path) => p.line(path),
            None => code = 1,
        }
    }
    code
}
