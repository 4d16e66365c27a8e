//! How long disk calls take, with the faults of the volume.

use std::time::Duration;

use super::network::IoFault;
use super::runtime::PodRun;
use crate::sim::world::World;

/// Bytes a second of a healthy disk.
const SPEED: f64 = 200e6;
/// Each system call.
const CALL: f64 = 0.000_05;
/// Calls looked at one by one; of more, the expected share is affected.
const SAMPLED: u32 = 4096;

/// Time of reading or writing `bytes` in `calls` calls, or the error number name.
#[expect(clippy::cast_precision_loss, reason = "bytes are far below 2^53")]
pub(super) fn disk(world: &mut World, pod: &PodFaults, path: &str, bytes: u64, calls: u32, write: bool) -> Result<Duration, &'static str> {
    let mut seconds = bytes as f64 / SPEED + f64::from(calls) * CALL;
    for fault in pod.0.iter().filter(|f| affects(f, path, write)) {
        let hit = if calls > SAMPLED {
            f64::from(calls) * fault.share
        } else {
            (0..calls.max(1)).map(|_| f64::from(u8::from(world.uniform() < fault.share))).sum()
        };
        if hit > 0.0
            && let Some(e) = fault.error
        {
            return Err(e);
        }
        seconds += hit * fault.delay.as_secs_f64();
    }
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// The disk faults of one container.
#[derive(Debug, Clone)]
pub(super) struct PodFaults(Vec<IoFault>);

impl PodFaults {
    /// Those of a pod that act on the container.
    pub(super) fn of(pod: &PodRun, container: &str) -> Self {
        Self(pod.io.iter().filter(|(_, f)| f.container == container).map(|(_, f)| f.clone()).collect())
    }
}

fn affects(fault: &IoFault, path: &str, write: bool) -> bool {
    let under = path.strip_prefix(&fault.mount).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let method = if write { "write" } else { "read" };
    under
        && (fault.methods.is_empty() || fault.methods.iter().any(|m| m == method))
        && (fault.pattern.is_empty() || glob(&fault.pattern, path))
}

/// `*` and `?` within a path component, `**` for any number of components.
fn glob(pattern: &str, path: &str) -> bool {
    fn parts(p: &[&str], s: &[&str]) -> bool {
        match p {
            [] => s.is_empty(),
            ["**", rest @ ..] => (0..=s.len()).any(|n| s.get(n..).is_some_and(|t| parts(rest, t))),
            [first, rest @ ..] => match s {
                [one, others @ ..] => component(first.as_bytes(), one.as_bytes()) && parts(rest, others),
                [] => false,
            },
        }
    }
    fn component(p: &[u8], s: &[u8]) -> bool {
        match p {
            [] => s.is_empty(),
            [b'*', rest @ ..] => (0..=s.len()).any(|n| s.get(n..).is_some_and(|t| component(rest, t))),
            [c, rest @ ..] => match s {
                [d, others @ ..] => (*c == b'?' || c == d) && component(rest, others),
                [] => false,
            },
        }
    }
    let split = |t: &'_ str| t.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (p, s) = (split(pattern), split(path));
    let (p, s): (Vec<&str>, Vec<&str>) = (p.iter().map(String::as_str).collect(), s.iter().map(String::as_str).collect());
    parts(&p, &s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_chaos_mesh_does() {
        assert!(glob("/var/log/mysql/**/*", "/var/log/mysql/test.tmp"));
        assert!(glob("/var/log/mysql/**/*", "/var/log/mysql/a/b"));
        assert!(!glob("/var/log/mysql/**/*", "/var/lib/x"));
        assert!(glob("/a/*.log", "/a/x.log") && !glob("/a/*.log", "/a/b/x.log"));
    }
}
