//! `tar`, as much as `kubectl cp` and people need.

use std::io::{Read, Write};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use tar::{Archive, Builder, EntryType, Header};

use super::options::{self, Options};
use super::tree::{respell, walk};
use crate::sim::shell::files::{Content, FileError, Kind, absolute};
use crate::sim::shell::host::Host;
use crate::sim::shell::process::{BYTES_MAX, Process};

/// Most members of one archive.
const MEMBERS_MAX: usize = 20_000;

/// `tar c|x|t [zvmf...] [-C DIRECTORY] [FILE...]`
pub(super) async fn tar<H: Host>(p: &mut Process<H>) -> i32 {
    let mut args = p.args.clone();
    // The old style: the first argument is a cluster of options without a dash.
    if let Some(first) = args.get_mut(1)
        && !first.starts_with('-')
    {
        first.insert(0, '-');
    }
    let long = [
        ("create", 'c'),
        ("extract", 'x'),
        ("get", 'x'),
        ("list", 't'),
        ("file", 'f'),
        ("directory", 'C'),
        ("gzip", 'z'),
        ("verbose", 'v'),
        ("touch", 'm'),
        ("no-same-owner", 'o'),
        ("no-same-permissions", 'o'),
        ("overwrite", 'o'),
        ("exclude", 'X'),
        ("warning", 'w'),
        ("strip-components", 'S'),
        ("absolute-names", 'P'),
    ];
    let options = options::parse(&args, "cxtzvmpkohOPf:C:X:S:w:", &long);
    if let Some(error) = &options.error {
        p.complain(error);
        return 64;
    }
    if let Some(directory) = options.value('C') {
        let path = p.path(directory);
        if let Err(error) =
            p.machine.files(|f| f.stat(&path).and_then(|n| if n.is_directory() { Ok(()) } else { Err(FileError::NotDirectory) }))
        {
            p.raw_error(format!("tar: {directory}: Cannot open: {error}\ntar: Error is not recoverable: exiting now\n"));
            return 2;
        }
    }
    let base = options.value('C').map_or_else(|| p.cwd.clone(), |d| p.path(d));
    if options.has('c') {
        create(p, &options, &base).await
    } else if options.has('x') || options.has('t') {
        extract(p, &options, &base).await
    } else {
        p.raw_error("tar: You must specify one of the '-Acdtrux', '--delete' or '--test-label' options\n");
        2
    }
}

async fn create<H: Host>(p: &mut Process<H>, options: &Options, base: &str) -> i32 {
    let mut builder = Builder::new(Vec::new());
    let mut code = 0;
    let mut stripped = false;
    for spelled in &options.rest {
        let root = absolute(base, spelled);
        p.refresh(&root);
        if p.machine.files(|f| f.node(&root)).is_none() {
            code = 2;
            p.raw_error(if p.machine.busybox() {
                format!("tar: {spelled}: {}\n", FileError::NoEntry)
            } else {
                format!("tar: {spelled}: Cannot stat: {}\n", FileError::NoEntry)
            });
            continue;
        }
        if spelled.starts_with('/') && !stripped {
            stripped = true;
            p.raw_error(if p.machine.busybox() {
                "tar: removing leading '/' from member names\n"
            } else {
                "tar: Removing leading `/' from member names\n"
            });
        }
        for full in walk(p, &root).into_iter().take(MEMBERS_MAX) {
            let name = respell(&full, &root, spelled);
            let name = name.trim_start_matches('/');
            let name = if name.is_empty() { "." } else { name };
            if options.has('v') {
                p.raw_error(format!("{name}\n"));
            }
            if let Err(error) = add(p, &mut builder, &full, name).await {
                code = 2;
                p.raw_error(format!("tar: {name}: {error}\n"));
            }
        }
    }
    if code != 0 && !p.machine.busybox() {
        p.raw_error("tar: Exiting with failure status due to previous errors\n");
    }
    let Ok(mut bytes) = builder.into_inner() else { return 2 };
    if options.has('z') {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        bytes = match encoder.write_all(&bytes).and_then(|()| encoder.finish()) {
            Ok(bytes) => bytes,
            Err(_) => return 2,
        };
    }
    match options.value('f') {
        None | Some("-") => p.print(bytes),
        Some(path) => {
            if let Err(error) = p.write_file(path, &Content { head: bytes, zeros: 0 }, false, 1).await {
                p.raw_error(format!("tar: {path}: Cannot open: {error}\n"));
                return 2;
            }
        }
    }
    code
}

async fn add<H: Host>(p: &mut Process<H>, builder: &mut Builder<Vec<u8>>, full: &str, name: &str) -> Result<(), FileError> {
    let node = p.machine.files(|f| f.node(full)).ok_or(FileError::NoEntry)?;
    let mut header = Header::new_gnu();
    header.set_mode(node.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::try_from(node.modified.as_second()).unwrap_or(0));
    header.set_size(0);
    let result = match node.kind {
        Kind::Directory => {
            header.set_entry_type(EntryType::Directory);
            builder.append_data(&mut header, format!("{}/", name.trim_end_matches('/')), std::io::empty())
        }
        Kind::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            builder.append_link(&mut header, name, target)
        }
        Kind::Device | Kind::Socket => return Ok(()),
        Kind::Regular(_) => {
            let bytes = p.read_file(full).await?;
            if builder.get_ref().len() + bytes.len() > BYTES_MAX {
                return Err(FileError::NoSpace);
            }
            header.set_entry_type(EntryType::Regular);
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, bytes.as_slice())
        }
    };
    result.map_err(|_| FileError::Io)
}

/// One member: name, type, mode, link's target, bytes.
type Member = (String, EntryType, u32, String, Vec<u8>);

fn members(bytes: &[u8]) -> std::io::Result<Vec<Member>> {
    let mut plain = Vec::new();
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        GzDecoder::new(bytes).take(BYTES_MAX as u64 * 4).read_to_end(&mut plain)?;
        plain.as_slice()
    } else {
        bytes
    };
    let mut members = Vec::new();
    for entry in Archive::new(bytes).entries()?.take(MEMBERS_MAX) {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let target = entry.link_name_bytes().map(|t| String::from_utf8_lossy(&t).into_owned()).unwrap_or_default();
        let mut data = Vec::new();
        entry.read_to_end(&mut data)?;
        members.push((name, entry.header().entry_type(), entry.header().mode().unwrap_or(0o644), target, data));
    }
    Ok(members)
}

async fn extract<H: Host>(p: &mut Process<H>, options: &Options, base: &str) -> i32 {
    let path = options.value('f').unwrap_or("-").to_owned();
    let bytes = match p.read_input(&path).await {
        Ok(bytes) => bytes,
        Err(error) => {
            p.raw_error(format!("tar: {path}: Cannot open: {error}\ntar: Error is not recoverable: exiting now\n"));
            return 2;
        }
    };
    let Ok(members) = members(&bytes) else {
        p.raw_error(if p.machine.busybox() {
            "tar: invalid tar magic\n"
        } else {
            "tar: This does not look like a tar archive\ntar: Exiting with failure status due to previous errors\n"
        });
        return if p.machine.busybox() { 1 } else { 2 };
    };
    let strip: usize = options.number('S').unwrap_or(0);
    let mut code = 0;
    for (name, kind, mode, target, data) in members {
        let wanted = options.rest.is_empty()
            || options.rest.iter().any(|w| {
                name.trim_end_matches('/') == w.trim_end_matches('/') || name.starts_with(&format!("{}/", w.trim_end_matches('/')))
            });
        if !wanted {
            continue;
        }
        if options.has('t') || options.has('v') {
            p.line(&name);
        }
        if options.has('t') {
            continue;
        }
        if options.has('O') {
            p.print(data);
            continue;
        }
        let inner: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != "." && *part != "..").skip(strip).collect();
        if inner.is_empty() {
            continue;
        }
        let at = absolute(base, &inner.join("/"));
        if let Err(error) = place(p, &at, kind, mode, target, data).await {
            code = if p.machine.busybox() { 1 } else { 2 };
            p.raw_error(if p.machine.busybox() {
                format!("tar: can't open '{name}': {error}\n")
            } else {
                format!("tar: {name}: Cannot open: {error}\n")
            });
        }
    }
    if code == 2 {
        p.raw_error("tar: Exiting with failure status due to previous errors\n");
    }
    code
}

async fn place<H: Host>(p: &mut Process<H>, at: &str, kind: EntryType, mode: u32, target: String, data: Vec<u8>) -> Result<(), FileError> {
    let directory = if kind == EntryType::Directory { at.to_owned() } else { crate::sim::shell::files::parent(at).to_owned() };
    p.machine.files(|f| {
        let mut made = String::new();
        for part in directory.split('/').filter(|x| !x.is_empty()) {
            made = format!("{made}/{part}");
            if f.stat(&made).is_err() {
                f.create(&made, Kind::Directory, 0o755)?;
            }
        }
        Ok(())
    })?;
    match kind {
        EntryType::Symlink => {
            let _ = p.machine.files(|f| f.remove(at));
            p.machine.files(|f| f.create(at, Kind::Link(target), 0o777))
        }
        EntryType::Regular => {
            p.write_file(at, &Content { head: data, zeros: 0 }, false, 1).await?;
            p.machine.files(|f| f.change(at, |n| n.mode = mode & 0o7777))
        }
        _ => Ok(()),
    }
}
