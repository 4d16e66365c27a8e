//! The programs. Each is a function over a [`Process`] that returns its exit code.

mod archive;
mod awk;
mod columns;
mod dig;
mod disk;
mod echo;
mod find;
mod grep;
mod http;
mod listing;
mod names;
mod network;
mod options;
mod ping;
mod processes;
mod qdisc;
mod regexes;
mod screen;
mod sed;
mod shell;
mod small;
mod sockets;
mod text;
mod time;
mod tree;

use super::expand::boxed;
use super::files::Kind;
use super::host::{Host, Pending};
use super::process::{DEPTH_MAX, Process};

/// Whether the program exists and can be run; the error says whether it is missing (or else not executable).
pub(crate) fn locate<H: Host>(process: &Process<H>) -> Result<(), bool> {
    let name = process.args.first().map_or("", String::as_str);
    if !name.contains('/') {
        return process.machine.find_program(name, &process.search_path()).map(|_| ()).ok_or(true);
    }
    let path = process.path(name);
    match process.machine.files(|f| f.stat(&path)) {
        Ok(node) if node.is_directory() || node.mode & 0o111 == 0 => Err(false),
        Ok(_) => Ok(()),
        Err(_) => {
            let base = path.rsplit('/').next().unwrap_or_default();
            let known = process.machine.host.programs().iter().any(|p| p == name || (path.starts_with("/usr/") && p == base));
            if known { Ok(()) } else { Err(true) }
        }
    }
}

/// Runs a program that [`locate`] found.
pub(crate) fn start<H: Host>(mut process: Process<H>) -> Pending<i32> {
    boxed(async move {
        process.machine.step().await;
        if process.halted() || process.depth > DEPTH_MAX {
            return 137;
        }
        let name = process.args.first().cloned().unwrap_or_default();
        let path = if name.contains('/') { Some(process.path(&name)) } else { process.machine.find_program(&name, &process.search_path()) };
        // A text file is a script.
        if let Some(path) = path
            && let Ok(node) = process.machine.files(|f| f.stat(&path))
            && let Kind::Regular(content) = node.kind
            && !content.head.starts_with(b"\x7fELF")
        {
            process.args.splice(0..1, ["sh".to_owned(), path]);
        }
        dispatch(process).await
    })
}

/// Runs a program that a shell has built in, whether or not the image has it as a file.
pub(crate) fn start_builtin<H: Host>(process: Process<H>) -> Pending<i32> {
    boxed(dispatch(process))
}

async fn dispatch<H: Host>(mut process: Process<H>) -> i32 {
    if process.name() == "busybox" {
        process.args.remove(0);
        if process.args.is_empty() {
            process.line("BusyBox v1.37.0 multi-call binary.");
            let _ = process.flush().await;
            return 0;
        }
    }
    let p = &mut process;
    let code = match p.name().as_str() {
        "sh" | "ash" | "dash" | "bash" => shell::shell(p).await,
        "echo" => echo::echo(p),
        "printf" => echo::printf(p),
        "true" | "sync" | "fsync" => 0,
        "clear" | "reset" | "stty" => screen::screen(p),
        "false" => 1,
        "test" | "[" | "[[" => echo::test(p),
        "pwd" => {
            let cwd = p.cwd.clone();
            p.line(cwd);
            0
        }
        "cat" => tree::cat(p).await,
        "ls" => listing::ls(p).await,
        "stat" => listing::stat(p).await,
        "rm" => tree::rm(p).await,
        "rmdir" => tree::rmdir(p),
        "mkdir" => tree::mkdir(p).await,
        "touch" => tree::touch(p).await,
        "cp" => tree::cp(p).await,
        "mv" => tree::mv(p).await,
        "ln" => tree::ln(p),
        "chmod" | "chown" | "chgrp" => tree::chmod(p),
        "readlink" | "realpath" => tree::readlink(p),
        "truncate" => tree::truncate(p).await,
        "mktemp" => tree::mktemp(p).await,
        "dd" => disk::dd(p).await,
        "df" => disk::df(p).await,
        "du" => disk::du(p).await,
        "sleep" | "usleep" => time::sleep(p).await,
        "date" => time::date(p),
        "seq" => time::seq(p),
        "timeout" => time::timeout(p).await,
        "time" | "nohup" | "nice" | "command" => time::wrapper(p).await,
        "env" | "printenv" => shell::env(p).await,
        "chroot" => shell::chroot(p).await,
        "which" => shell::which(p),
        "ping" => ping::ping(p).await,
        "tar" => archive::tar(p).await,
        "head" => text::head(p).await,
        "tail" => text::tail(p).await,
        "sort" => text::sort(p).await,
        "uniq" => text::uniq(p).await,
        "wc" => text::wc(p).await,
        "cut" => text::cut(p).await,
        "tr" => text::tr(p).await,
        "tee" => text::tee(p).await,
        "tac" | "rev" | "nl" => text::relined(p).await,
        "paste" => text::paste(p).await,
        "yes" => text::yes(p).await,
        "grep" | "egrep" | "fgrep" => grep::grep(p).await,
        "sed" => sed::sed(p).await,
        "awk" | "mawk" => awk::awk(p).await,
        "find" => find::find(p).await,
        "xargs" => find::xargs(p).await,
        "nslookup" => names::nslookup(p).await,
        "dig" => dig::dig(p).await,
        "host" => names::host(p).await,
        "getent" => network::getent(p).await,
        "nc" => network::nc(p).await,
        "wget" => http::wget(p).await,
        "curl" => http::curl(p).await,
        "ip" | "ifconfig" => network::addresses(p),
        "ss" => sockets::ss(p),
        "tc" => qdisc::tc(p),
        "netstat" => sockets::netstat(p),
        "ps" => processes::ps(p),
        "top" => processes::top(p).await,
        "kill" => processes::kill(p),
        "pkill" | "pgrep" | "killall" | "pidof" => processes::by_name(p),
        "free" => processes::free(p),
        "uptime" => processes::uptime(p),
        "id" | "whoami" | "groups" | "logname" | "uname" | "hostname" | "nproc" | "arch" | "tty" | "mount" => processes::identity(p),
        "basename" | "dirname" => small::names(p),
        "expr" => small::expr(p),
        "md5sum" | "sha256sum" => small::digest(p).await,
        "base64" => small::base64(p).await,
        "gzip" | "gunzip" | "zcat" => small::gzip(p).await,
        "cmp" | "diff" => small::compare(p).await,
        "python" | "python3" if p.args.get(1).is_some_and(|a| matches!(a.as_str(), "--version" | "-V")) => small::python(p),
        other => {
            let what = if other.starts_with("python") { "Python code" } else { "this program" };
            let text = format!("{other}: this modelled container cannot run {what}\n");
            p.raw_error(text);
            1
        }
    };
    if process.flush().await.is_err() && code == 0 { 1 } else { code }
}
