//! What a sleeping thread waits in, read from `/proc`: the system call and the time-out that it was given.
//!
//! Input: a line of `/proc/PID/task/TID/syscall`, and the thread's memory where the time-out lies there; output: the time-out.
//! The kernel shows both to whoever may trace the process. Layouts: the system calls' manual pages.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::libc;
use rustix::time::{ClockId, clock_gettime};

/// How a thread is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocked {
    /// It runs, or may run.
    Not,
    /// Until something happens.
    Forever,
    /// Until something happens, or until this time is over: counted from when the thread began to wait, or from now.
    Within(Duration),
}

impl Blocked {
    /// Reads one thread's line; none: it cannot be known.
    pub(super) fn of(pid: i32, line: &str) -> Option<Self> {
        let line = line.trim_end();
        if line == "running" {
            return Some(Self::Not);
        }
        let mut fields = line.split_ascii_whitespace();
        let call: i64 = fields.next()?.parse().ok()?;
        // -1: blocked outside of any system call.
        let mut args = [0_u64; 6];
        for (arg, field) in args.iter_mut().zip(fields) {
            *arg = u64::from_str_radix(field.trim_start_matches("0x"), 16).ok()?;
        }
        Some(match timeout_of(call, &args) {
            Timeout::None | Timeout::At { address: 0, .. } => Self::Forever,
            Timeout::Milliseconds(ms) => u32::try_from(ms).map_or(Self::Forever, |ms| Self::Within(Duration::from_millis(ms.into()))),
            Timeout::At { address, unit_ns, until } => {
                let given = read_time(pid, address, unit_ns)?;
                Self::Within(until.map_or(given, |clock| given.saturating_sub(now(clock))))
            }
        })
    }
}

/// Where a system call's time-out is found.
enum Timeout {
    None,
    /// Negative: none.
    Milliseconds(i32),
    /// Two words of memory: seconds, and parts of a second. Until a time of that clock, or for so long.
    At {
        address: u64,
        unit_ns: u32,
        until: Option<ClockId>,
    },
}

/// `FUTEX_CMD_MASK`'s complement: private, and the clock.
const FUTEX_FLAGS: u64 = 0x80 | FUTEX_CLOCK_REALTIME;
const FUTEX_CLOCK_REALTIME: u64 = 0x100;
const FUTEX_WAIT: u64 = 0;
const FUTEX_LOCK_PI: u64 = 6;
const FUTEX_WAIT_BITSET: u64 = 9;
const FUTEX_WAIT_REQUEUE_PI: u64 = 11;
const FUTEX_LOCK_PI2: u64 = 13;
const TIMER_ABSTIME: u64 = 1;

fn timeout_of(call: i64, args: &[u64; 6]) -> Timeout {
    let memory = |address: u64| Timeout::At { address, unit_ns: 1, until: None };
    #[cfg(target_arch = "x86_64")]
    match call {
        libc::SYS_epoll_wait => return Timeout::Milliseconds(low_half(args[3])),
        libc::SYS_poll => return Timeout::Milliseconds(low_half(args[2])),
        libc::SYS_select => return Timeout::At { address: args[4], unit_ns: 1000, until: None },
        _ => {}
    }
    match call {
        libc::SYS_epoll_pwait => Timeout::Milliseconds(low_half(args[3])),
        libc::SYS_epoll_pwait2 => memory(args[3]),
        libc::SYS_ppoll | libc::SYS_rt_sigtimedwait => memory(args[2]),
        libc::SYS_pselect6 => memory(args[4]),
        libc::SYS_nanosleep => memory(args[0]),
        libc::SYS_clock_nanosleep if args[1] & TIMER_ABSTIME == 0 => memory(args[2]),
        libc::SYS_clock_nanosleep => {
            let clock = if args[0] == 0 { ClockId::Realtime } else { ClockId::Monotonic };
            Timeout::At { address: args[2], unit_ns: 1, until: Some(clock) }
        }
        libc::SYS_futex => {
            let clock = if args[1] & FUTEX_CLOCK_REALTIME == 0 { ClockId::Monotonic } else { ClockId::Realtime };
            match args[1] & !FUTEX_FLAGS {
                FUTEX_WAIT => memory(args[3]),
                FUTEX_WAIT_BITSET | FUTEX_WAIT_REQUEUE_PI | FUTEX_LOCK_PI2 => {
                    Timeout::At { address: args[3], unit_ns: 1, until: Some(clock) }
                }
                FUTEX_LOCK_PI => Timeout::At { address: args[3], unit_ns: 1, until: Some(ClockId::Realtime) },
                _ => Timeout::None,
            }
        }
        _ => Timeout::None,
    }
}

/// An `int` in a register.
fn low_half(register: u64) -> i32 {
    let [a, b, c, d, ..] = register.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// Two signed words of 64 bits in the memory of a process.
fn read_time(pid: i32, address: u64, unit_ns: u32) -> Option<Duration> {
    let mut bytes = [0; 16];
    File::open(format!("/proc/{pid}/mem")).ok()?.read_exact_at(&mut bytes, address).ok()?;
    let (seconds, parts) = bytes.split_at(8);
    let word = |bytes: &[u8]| bytes.try_into().ok().map(i64::from_ne_bytes);
    let parts = u64::try_from(word(parts)?).ok()?.saturating_mul(unit_ns.into());
    Some(Duration::from_secs(u64::try_from(word(seconds)?).ok()?).saturating_add(Duration::from_nanos(parts)))
}

fn now(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(call: i64, args: [u64; 6]) -> String {
        let args: Vec<String> = args.iter().map(|a| format!("{a:#x}")).collect();
        format!("{call} {} 0x7ffd 0x7f00\n", args.join(" "))
    }

    fn me() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn time_outs_in_registers_are_read() {
        let waits = |ms: u64| Blocked::of(1, &line(libc::SYS_epoll_pwait, [6, 0x16, 0x80, ms, 0, 0]));
        assert_eq!(waits(100), Some(Blocked::Within(Duration::from_millis(100))));
        assert_eq!(waits(0xffff_ffff), Some(Blocked::Forever));
        assert_eq!(Blocked::of(1, &line(libc::SYS_wait4, [0; 6])), Some(Blocked::Forever));
        assert_eq!(Blocked::of(1, &line(libc::SYS_futex, [0x3f, 0x80, 0, 0, 0, 0])), Some(Blocked::Forever));
    }

    #[test]
    fn those_that_run_or_are_not_shown_are_told_apart() {
        assert_eq!(Blocked::of(1, "running\n"), Some(Blocked::Not));
        assert_eq!(Blocked::of(1, "-1 0x7ffd 0x7f00\n"), Some(Blocked::Forever));
        assert_eq!(Blocked::of(1, ""), None);
        assert_eq!(Blocked::of(1, "0 nonsense"), None);
        // Not this process, or no such memory.
        assert_eq!(Blocked::of(-1, &line(libc::SYS_nanosleep, [8, 0, 0, 0, 0, 0])), None);
        assert_eq!(Blocked::of(me(), &line(libc::SYS_nanosleep, [8, 0, 0, 0, 0, 0])), None);
    }

    #[test]
    fn a_thread_that_sleeps_shows_for_how_long() {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            std::thread::sleep(Duration::from_secs(40));
        });
        let thread = told.recv().unwrap();
        let seen = (0..200).find_map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            let line = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap();
            match Blocked::of(me(), &line) {
                Some(Blocked::Within(d)) => Some(d),
                _ => None,
            }
        });
        let seen = seen.unwrap();
        assert!(seen > Duration::from_secs(30) && seen <= Duration::from_secs(40), "{seen:?}");
    }
}
