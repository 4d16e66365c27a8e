//! A listener whose connections are served side by side, so many at a time.

use std::future::Future;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// After a connection could not be accepted: out of file handles, most likely, and others will end.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves each connection in a task of its own, `most` at a time; more wait. When what is returned is dropped, all of it ends. Needs a
/// tokio runtime.
pub(super) fn serve_each<F>(listener: TcpListener, most: usize, serve: impl Fn(TcpStream) -> F + Send + 'static) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut all = JoinSet::new();
    all.spawn(async move {
        let mut open = JoinSet::new();
        loop {
            while open.try_join_next().is_some() {}
            if open.len() >= most {
                let _ended = open.join_next().await;
            }
            match listener.accept().await {
                Ok((connection, _)) => drop(open.spawn(serve(connection))),
                Err(_) => sleep(PAUSE).await,
            }
        }
    });
    all
}
