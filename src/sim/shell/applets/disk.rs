//! `dd`, `df` and `du`.

use std::time::Duration;

use super::echo::significant;
use super::listing::human;
use super::options;
use super::tree::{respell, walk};
use crate::sim::shell::files::{Content, FileError};
use crate::sim::shell::host::Host;
use crate::sim::shell::process::{BYTES_MAX, Process};
use crate::sim::shell::synthetic::NODE_MEMORY;
use crate::sim::shell::volume::SIZE_MAX;

/// Where a container finds the credentials of its account.
const CREDENTIALS: &str = "/secrets/kubernetes.io/serviceaccount";
/// Memory is given in pages.
const PAGE: u64 = 4096;

/// A number with a suffix: `4k`, `1M`, `1MB`, `2x512` is not understood.
pub(super) fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let factor: u64 = match suffix {
        "" | "c" => 1,
        "w" => 2,
        "b" => 512,
        "k" | "K" | "KiB" => 1 << 10,
        "M" | "m" | "MiB" => 1 << 20,
        "G" | "g" | "GiB" => 1 << 30,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// A quantity as coreutils' `human_readable` shows it: `10 MB`, `1.0 MiB`.
fn gnu_human(value: f64, base: f64) -> String {
    let units = if base > 1000.0 { ["B", "KiB", "MiB", "GiB", "TiB"] } else { ["B", "kB", "MB", "GB", "TB"] };
    let mut value = value;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let suffix = units.get(unit).copied().unwrap_or_default();
    if unit > 0 && value < 9.95 { format!("{value:.1} {suffix}") } else { format!("{value:.0} {suffix}") }
}

fn busybox_human(value: f64) -> String {
    let mut value = value;
    let mut unit = 0;
    while value >= 1024.0 && unit < 4 {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1}{}", ["B", "KB", "MB", "GB", "TB"].get(unit).copied().unwrap_or_default())
}

#[derive(Debug, Default)]
struct Job {
    input: Option<String>,
    output: Option<String>,
    block: u64,
    count: Option<u64>,
    seek: u64,
    skip: u64,
    append: bool,
    keep: bool,
    status: String,
}

fn job(args: &[String]) -> Result<Job, String> {
    let mut job = Job { block: 512, ..Job::default() };
    for argument in args.iter().skip(1) {
        let Some((name, value)) = argument.split_once('=') else { return Err(format!("unrecognized operand '{argument}'")) };
        let number = || size(value).ok_or_else(|| format!("invalid number: '{value}'"));
        match name {
            "if" => job.input = Some(value.to_owned()),
            "of" => job.output = Some(value.to_owned()),
            "bs" | "ibs" | "obs" => job.block = number()?.max(1),
            "count" => job.count = Some(number()?),
            "seek" => job.seek = number()?,
            "skip" => job.skip = number()?,
            "oflag" => job.append |= value.contains("append"),
            "conv" => job.keep |= value.contains("notrunc"),
            "iflag" => {}
            "status" => value.clone_into(&mut job.status),
            _ => return Err(format!("unrecognized operand '{argument}'")),
        }
    }
    Ok(job)
}

/// `dd if= of= bs= count= ...`; takes as long as the disk does.
pub(super) async fn dd<H: Host>(p: &mut Process<H>) -> i32 {
    let job = match job(&p.args) {
        Ok(job) => job,
        Err(message) => {
            p.complain(message);
            return 1;
        }
    };
    let busybox = p.machine.busybox();
    let wanted = job.count.map(|c| c.saturating_mul(job.block));
    let mut took = Duration::from_micros(20);
    let (content, source_cut) = match input(p, &job, wanted, &mut took).await {
        Ok(found) => found,
        Err(error) => {
            let path = job.input.unwrap_or_default();
            let text = match (error, busybox) {
                (FileError::Io, _) => format!("error reading '{path}': {error}"),
                (_, true) => format!("can't open '{path}': {error}"),
                (_, false) => format!("failed to open '{path}': {error}"),
            };
            p.complain(text);
            return 1;
        }
    };
    let bytes = content.len();
    let blocks = bytes.div_ceil(job.block);
    let (full, partial) = (bytes / job.block, u64::from(bytes % job.block != 0));
    let mut written = bytes;
    let mut code = 0;
    match &job.output {
        None => p.print(content.bytes(BYTES_MAX)),
        Some(path) if p.path(path) == "/dev/null" || p.path(path) == "/dev/zero" => {
            took += Duration::from_nanos(bytes / 10 + blocks * 300);
        }
        Some(path) => {
            if let Err((error, opening)) = output(p, path, &job, &content, blocks, &mut took).await {
                code = 1;
                written = 0;
                if opening {
                    p.complain(if busybox { format!("can't open '{path}': {error}") } else { format!("failed to open '{path}': {error}") });
                    return 1;
                }
                p.complain(format!("error writing '{path}': {error}"));
            }
        }
    }
    if source_cut {
        code = 1;
        let path = job.output.clone().unwrap_or_default();
        p.complain(format!("error writing '{path}': No space left on device"));
    }
    if job.status != "none" {
        p.raw_error(format!("{full}+{partial} records in\n"));
        p.raw_error(if code == 0 { format!("{full}+{partial} records out\n") } else { format!("{}+0 records out\n", written / job.block) });
        if job.status != "noxfer" {
            p.raw_error(statistics(written, took.as_secs_f64(), busybox));
        }
    }
    code
}

#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
fn statistics(bytes: u64, seconds: f64, busybox: bool) -> String {
    let rate = bytes as f64 / seconds;
    if busybox {
        return format!("{bytes} bytes ({}) copied, {seconds:.6} seconds, {}/s\n", busybox_human(bytes as f64), busybox_human(rate));
    }
    let amount = match bytes {
        0..1000 => format!("{bytes} bytes"),
        1000..1024 => format!("{bytes} bytes ({})", gnu_human(bytes as f64, 1000.0)),
        _ => format!("{bytes} bytes ({}, {})", gnu_human(bytes as f64, 1000.0), gnu_human(bytes as f64, 1024.0)),
    };
    format!("{amount} copied, {} s, {}/s\n", significant(seconds, 6), gnu_human(rate, 1000.0))
}

/// What is read, and whether it was cut because it had no end.
async fn input<H: Host>(p: &mut Process<H>, job: &Job, wanted: Option<u64>, took: &mut Duration) -> Result<(Content, bool), FileError> {
    let Some(path) = &job.input else {
        let mut head = p.io.input.clone().read_all().await;
        head.truncate(wanted.and_then(|w| usize::try_from(w).ok()).unwrap_or(usize::MAX));
        return Ok((Content { head, zeros: 0 }, false));
    };
    let full = p.path(path);
    match full.as_str() {
        "/dev/zero" => Ok((Content { head: Vec::new(), zeros: wanted.unwrap_or(SIZE_MAX).min(SIZE_MAX) }, wanted.is_none())),
        "/dev/urandom" | "/dev/random" => {
            // Not stored: the bytes themselves do not matter, their number does.
            let length = wanted.unwrap_or(SIZE_MAX).min(SIZE_MAX);
            *took += Duration::from_nanos(length * 3);
            Ok((Content { head: Vec::new(), zeros: length }, wanted.is_none()))
        }
        "/dev/null" => Ok((Content::default(), false)),
        "/dev/stdin" => {
            let head = p.io.input.clone().read_all().await;
            Ok((Content { head, zeros: 0 }, false))
        }
        _ => {
            p.refresh(&full);
            let mut content = p.machine.files(|f| f.read(&full))?;
            let skip = job.skip.saturating_mul(job.block).min(content.len());
            let from_head = usize::try_from(skip).unwrap_or(usize::MAX).min(content.head.len());
            content.head.drain(..from_head);
            content.zeros -= (skip - from_head as u64).min(content.zeros);
            if let Some(wanted) = wanted {
                content.head.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
                content.zeros = content.zeros.min(wanted - (content.head.len() as u64).min(wanted));
            }
            let calls = u32::try_from(content.len().div_ceil(job.block)).unwrap_or(u32::MAX);
            *took += wait(p, &full, content.len(), calls, false).await?;
            Ok((content, false))
        }
    }
}

async fn wait<H: Host>(p: &mut Process<H>, path: &str, bytes: u64, calls: u32, write: bool) -> Result<Duration, FileError> {
    match p.host().disk(path, bytes, calls.max(1), write) {
        Ok(took) => {
            p.sleep(took).await;
            Ok(took)
        }
        Err("ENOSPC") => Err(FileError::NoSpace),
        Err("EROFS") => Err(FileError::ReadOnly),
        Err(_) => Err(FileError::Io),
    }
}

/// The error's second value: whether opening failed.
async fn output<H: Host>(
    p: &mut Process<H>,
    path: &str,
    job: &Job,
    content: &Content,
    blocks: u64,
    took: &mut Duration,
) -> Result<(), (FileError, bool)> {
    let full = p.path(path);
    if full.starts_with("/proc") || full.starts_with("/sys") {
        return Err((FileError::ReadOnly, true));
    }
    let append = job.append || job.keep || job.seek > 0;
    p.machine
        .files(|f| if append && f.stat(&full).is_ok() { Ok(()) } else { f.write(&full, &Content::default(), false) })
        .map_err(|e| (e, true))?;
    if job.seek > 0 {
        let padding = Content { head: Vec::new(), zeros: job.seek.saturating_mul(job.block) };
        p.machine.files(|f| f.write(&full, &padding, job.append)).map_err(|e| (e, false))?;
    }
    let calls = u32::try_from(blocks).unwrap_or(u32::MAX);
    *took += wait(p, &full, content.len(), calls, true).await.map_err(|e| (e, false))?;
    p.machine
        .files(|f| {
            if job.keep && !job.append && job.seek == 0 && f.read(&full).is_ok_and(|c| c.len() > content.len()) {
                return Ok(());
            }
            f.write(&full, content, job.append || job.seek > 0)
        })
        .map_err(|e| (e, false))
}

/// `df [-h] [FILE...]`
pub(super) async fn df<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "hkmPTaiH", &[("human-readable", 'h')]);
    let mut points: Vec<String> = vec!["/".to_owned()];
    points.extend(p.machine.files(|f| f.mount_points()).into_iter().map(|m| m.0));
    let mut chosen = Vec::new();
    let mut code = 0;
    for spelled in &options.rest {
        let path = p.path(spelled);
        let result = match p.disk(&path, 0, 1, false).await {
            Ok(()) => p.machine.files(|f| f.stat(&path)).map(|_| ()),
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => {
                let holder =
                    points.iter().filter(|m| *m == "/" || path == **m || path.starts_with(&format!("{m}/"))).max_by_key(|m| m.len());
                chosen.extend(holder.cloned());
            }
            Err(error) => {
                code = 1;
                p.complain(format!("{spelled}: {error}"));
            }
        }
    }
    if options.rest.is_empty() {
        chosen = points;
    }
    if chosen.is_empty() {
        return code;
    }
    if options.has('i') {
        inodes(p, &chosen, options.has('h'));
        return code;
    }
    let human_sizes = options.has('h');
    let kinds = options.has('T');
    p.line(if kinds && human_sizes {
        "Filesystem     Type     Size  Used Avail Use% Mounted on"
    } else if kinds {
        "Filesystem     Type    1K-blocks    Used Available Use% Mounted on"
    } else if human_sizes {
        "Filesystem      Size  Used Avail Use% Mounted on"
    } else if p.machine.busybox() {
        "Filesystem           1K-blocks      Used Available Use% Mounted on"
    } else {
        "Filesystem     1K-blocks    Used Available Use% Mounted on"
    });
    for point in chosen {
        let (device, kind) = device(&point);
        let base = if point == "/" { 6_u64 << 30 } else { 0 };
        let files = p.machine.files(|f| f.volume_size(&point));
        // What lies in memory may take as much of it as the container has.
        let (used, total) = match kind {
            "tmpfs" => (files.div_ceil(PAGE) * PAGE, p.host().limits().1.unwrap_or(NODE_MEMORY)),
            _ => (files + base, SIZE_MAX + base),
        };
        let free = total.saturating_sub(used);
        let percent = (used * 100).div_ceil(total.max(1));
        let row = if kinds && human_sizes {
            format!("{device:<14} {kind:<7}{:>6}{:>6}{:>6}{percent:>4}% {point}", human(total), human(used), human(free))
        } else if kinds {
            format!("{device:<14} {kind:<7}{:>10}{:>8}{:>10}{percent:>4}% {point}", total / 1024, used / 1024, free / 1024)
        } else if human_sizes {
            format!("{device:<14}{:>6}{:>6}{:>6}{percent:>4}% {point}", human(total), human(used), human(free))
        } else if p.machine.busybox() {
            format!("{device:<20}{:>10}{:>10}{:>10}{percent:>4}% {point}", total / 1024, used / 1024, free / 1024)
        } else {
            format!("{device:<14}{:>10}{:>8}{:>10}{percent:>4}% {point}", total / 1024, used / 1024, free / 1024)
        };
        p.line(row);
    }
    code
}

/// The device of a mount, and the type of its file system: credentials lie in memory.
pub(super) fn device(point: &str) -> (&'static str, &'static str) {
    match point {
        "/" => ("overlay", "overlay"),
        _ if point.ends_with(CREDENTIALS) => ("tmpfs", "tmpfs"),
        _ => ("/dev/sda1", "ext4"),
    }
}

/// `df -i`: how many files there are and could be.
fn inodes<H: Host>(p: &mut Process<H>, points: &[String], human_counts: bool) {
    /// Of a disk of that size.
    const TOTAL: u64 = 2_621_440;
    let count = |n: u64| match n {
        n if !human_counts => n.to_string(),
        1_048_576.. => format!("{:.1}M", f64::from(u32::try_from(n / 1024).unwrap_or(u32::MAX)) / 1024.0),
        1024.. => format!("{}K", n.div_ceil(1024)),
        _ => n.to_string(),
    };
    p.line("Filesystem      Inodes  IUsed   IFree IUse% Mounted on");
    for point in points {
        let (device, base) = (device(point).0, if point == "/" { 61_000 } else { 11 });
        let used = base + walk(p, point).len() as u64;
        let percent = (used * 100).div_ceil(TOTAL);
        p.line(format!("{device:<14}{:>8}{:>7}{:>8}{percent:>5}% {point}", count(TOTAL), count(used), count(TOTAL.saturating_sub(used))));
    }
}

/// `du [-sh] [FILE...]`
pub(super) async fn du<H: Host>(p: &mut Process<H>) -> i32 {
    let options = options::parse(&p.args, "shakcbmd:x", &[("summarize", 's'), ("human-readable", 'h'), ("max-depth", 'd')]);
    let current = [".".to_owned()];
    let paths = if options.rest.is_empty() { current.as_slice() } else { &options.rest };
    let depth_max: usize = if options.has('s') { 0 } else { options.number('d').unwrap_or(usize::MAX) };
    let mut code = 0;
    for spelled in paths {
        let root = p.path(spelled);
        if let Err(error) = p.machine.files(|f| f.stat(&root)) {
            code = 1;
            p.file_error(spelled, "cannot access", error);
            continue;
        }
        let all = walk(p, &root);
        let _ = p.disk(&root, 0, u32::try_from(all.len()).unwrap_or(u32::MAX), false).await;
        let sizes: Vec<(String, u64, bool)> = p.machine.files(|f| {
            all.iter().filter_map(|path| f.node(path).map(|n| (path.clone(), n.size().div_ceil(4096) * 4096, n.is_directory()))).collect()
        });
        for (path, _, directory) in sizes.iter().rev() {
            let depth = path.matches('/').count().saturating_sub(root.trim_end_matches('/').matches('/').count());
            if (!directory && !options.has('a') && *path != root) || depth > depth_max {
                continue;
            }
            let prefix = format!("{}/", path.trim_end_matches('/'));
            let total: u64 = sizes.iter().filter(|(q, _, _)| q == path || q.starts_with(&prefix)).map(|s| s.1).sum();
            let shown = if options.has('h') {
                human(total)
            } else if options.has('b') {
                total.to_string()
            } else if options.has('m') {
                total.div_ceil(1 << 20).to_string()
            } else {
                (total / 1024).to_string()
            };
            p.line(format!("{shown}\t{}", respell(path, &root, spelled)));
        }
    }
    code
}
