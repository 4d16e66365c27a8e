//! Packets between the runner, the launcher and the warm interpreters: bytes, and open files that go with them.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Files that go with one packet, at most.
const FILES: usize = 10;
/// Bytes of a packet, at most.
pub(crate) const LONGEST: usize = 256 << 10;

/// Two ends of a channel that keeps packets apart. Not inherited by programs.
pub(crate) fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends one packet.
pub(crate) fn send(to: impl AsFd, bytes: &[u8], files: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !with.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(Errno::TOOBIG);
    }
    sendmsg(to, &[IoSlice::new(bytes)], &mut with, SendFlags::NOSIGNAL).map(|_| ())
}

/// Takes one packet; an empty one means that the other end is closed. `patience`: how long it may take to come.
pub(crate) fn receive(from: impl AsFd, patience: Duration) -> rustix::io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    if !arrives(&from, patience)? {
        return Err(Errno::TIMEDOUT);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; LONGEST];
    let got = recvmsg(from, &mut [IoSliceMut::new(&mut bytes)], &mut with, RecvFlags::CMSG_CLOEXEC)?;
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE);
    }
    bytes.truncate(got.bytes);
    let files = with.drain().flat_map(|m| match m {
        RecvAncillaryMessage::ScmRights(files) => files.collect(),
        _ => Vec::new(),
    });
    Ok((bytes, files.collect()))
}

/// Whether something comes, or the other end closes, within so much time.
fn arrives(from: impl AsFd, patience: Duration) -> rustix::io::Result<bool> {
    let until = std::time::Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        let left =
            rustix::event::Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_files_arrive_together_and_an_end_is_seen() {
        let (here, there) = pair().unwrap();
        let (inside, outside) = pair().unwrap();
        send(&here, b"hello", &[outside.as_fd()]).unwrap();
        drop(outside);
        let (bytes, files) = receive(&there, Duration::from_secs(5)).unwrap();
        assert_eq!((bytes.as_slice(), files.len()), (b"hello".as_slice(), 1));
        send(&files[0], b"through", &[]).unwrap();
        assert_eq!(receive(&inside, Duration::from_secs(5)).unwrap().0, b"through");
        assert_eq!(receive(&there, Duration::from_millis(5)).unwrap_err(), Errno::TIMEDOUT);
        drop(here);
        assert!(receive(&there, Duration::from_secs(5)).unwrap().0.is_empty());
    }
}
