//! Ctrl-C and SIGTERM: the first asks for a clean end, the second ends at once.

use tokio_util::sync::CancellationToken;

use super::failure::Code;
use super::tell;

/// A token that the first interrupt cancels. `what` says what is going on meanwhile.
pub(super) fn token(what: &'static str) -> CancellationToken {
    let token = CancellationToken::new();
    let ours = token.clone();
    tokio::task::spawn(async move {
        if wait().await == Signal::CtrlC {
            super::progress::take_back_echo();
        }
        tell(&format!("interrupted: {what} (again to stop at once)"));
        ours.cancel();
        wait().await;
        #[expect(clippy::exit, reason = "the user asked twice")]
        std::process::exit(Code::Interrupted as i32);
    });
    token
}

#[derive(PartialEq, Eq)]
enum Signal {
    CtrlC,
    Terminate,
}

async fn wait() -> Signal {
    let ctrl_c = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut s) => {
                s.recv().await;
            }
            Err(_) => std::future::pending::<()>().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! { () = ctrl_c => Signal::CtrlC, () = terminate => Signal::Terminate }
}
