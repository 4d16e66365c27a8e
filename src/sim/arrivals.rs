//! What clients have sent and nobody has read yet.
//!
//! Input: listeners; output: connections, and whether any of them holds unread bytes. A client that waits for an answer
//! sleeps just as one does that waits for the clock: this tells the two apart. The kernel's table of all connections
//! would tell, too, but it takes a millisecond to read, and the question is asked every few milliseconds.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// After a connection could not be accepted: out of file handles, most likely, and others will end.
const PAUSE: Duration = Duration::from_millis(50);

/// All listeners and connections of a cluster.
#[derive(Debug, Default)]
pub(super) struct Arrivals(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    listeners: Vec<Weak<TcpListener>>,
    open: Vec<Weak<TcpStream>>,
}

impl Arrivals {
    /// Accepts on a listener; what arrives there is known from now on.
    pub(super) fn door(self: &Arc<Self>, listener: TcpListener) -> Door {
        let listener = Arc::new(listener);
        self.table().listeners.push(Arc::downgrade(&listener));
        Door { listener, arrivals: Arc::clone(self) }
    }

    /// Whether a connection waits to be accepted, or bytes wait to be read. A connection that its client has closed holds
    /// none: nobody waits for that.
    pub(super) fn unread(&self) -> bool {
        let mut table = self.table();
        table.listeners.retain(|l| l.strong_count() > 0);
        table.listeners.iter().filter_map(Weak::upgrade).any(|l| waits(&l)) || {
            table.open.retain(|c| c.strong_count() > 0);
            table.open.iter().filter_map(Weak::upgrade).any(|c| rustix::io::ioctl_fionread(&c).is_ok_and(|bytes| bytes > 0))
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn waits(listener: &TcpListener) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&at_once)).is_ok_and(|ready| ready > 0)
}

/// A listener whose connections are known.
pub(super) struct Door {
    listener: Arc<TcpListener>,
    arrivals: Arc<Arrivals>,
}

impl Listener for Door {
    type Io = Arriving;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Arriving, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    super::server::send_at_once(&stream);
                    let stream = Arc::new(stream);
                    self.arrivals.table().open.push(Arc::downgrade(&stream));
                    return (Arriving(stream), peer);
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that is known.
#[derive(Debug)]
pub(super) struct Arriving(Arc<TcpStream>);

impl super::connections::Client for Arriving {
    fn is_certified(&self) -> bool {
        false
    }
}

impl AsyncRead for Arriving {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buf.initialize_unfilled()) {
                Ok(bytes) => {
                    buf.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl Arriving {
    fn when_writable(&self, cx: &mut Context<'_>, write: impl Fn() -> io::Result<usize>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match write() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }
}

impl AsyncWrite for Arriving {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.when_writable(cx, || self.0.try_write(buf))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.when_writable(cx, || self.0.try_write_vectored(pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match rustix::net::shutdown(&self.0, rustix::net::Shutdown::Write) {
            // The client was quicker.
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(e) => Poll::Ready(Err(e.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn connections_and_bytes_are_seen_until_they_are_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let arrivals = Arc::new(Arrivals::default());
        let mut door = arrivals.door(listener);
        assert!(!arrivals.unread());
        let mut client = TcpStream::connect(address).await.unwrap();
        assert!(arrivals.unread(), "a connection in the backlog");
        let (mut connection, _) = door.accept().await;
        assert!(!arrivals.unread());
        client.write_all(b"hello").await.unwrap();
        assert!(arrivals.unread(), "bytes that were not read");
        connection.read_exact(&mut [0; 5]).await.unwrap();
        assert!(!arrivals.unread());
        connection.write_all(b"and back").await.unwrap();
        client.read_exact(&mut [0; 8]).await.unwrap();
        connection.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        drop(client);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!arrivals.unread(), "a client that went away waits for nothing");
        drop(connection);
        assert!(!arrivals.unread());
        assert!(arrivals.table().open.is_empty());
    }
}
