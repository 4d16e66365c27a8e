//! A stand-in for the embedded cluster's clock: an endpoint whose time jumps to the next sleeper when all children wait.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use microremed::ansible::Timekeeping;
use microremed::rest::RestProbe;

#[derive(Default)]
struct State {
    now_ms: AtomicU64,
    next: AtomicU64,
    sleepers: Mutex<BTreeMap<(u64, u64), TcpStream>>,
    rest: Mutex<Option<RestProbe>>,
    asked: Mutex<Vec<u64>>,
    stop: AtomicBool,
}

pub(crate) struct FakeClock {
    state: Arc<State>,
    address: std::net::SocketAddr,
}

impl FakeClock {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let (server, ticker) = (Arc::clone(&state), Arc::clone(&state));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if server.stop.load(Ordering::Relaxed) {
                    return;
                }
                server.accept(stream.unwrap());
            }
        });
        std::thread::spawn(move || ticker.tick());
        Self { state, address }
    }

    pub(crate) fn timekeeping(&self) -> Timekeeping {
        let (now, working) = (Arc::clone(&self.state), Arc::clone(&self.state));
        Timekeeping {
            now_ms: Arc::new(move || now.now_ms.load(Ordering::Relaxed)),
            environment: vec![("SIM_CLOCK".to_owned(), format!("http://{}/.sim", self.address))],
            working: Arc::new(move |rest| {
                *working.rest.lock().unwrap() = Some(rest);
                Box::new(())
            }),
        }
    }

    /// The milliseconds of each request, in order.
    pub(crate) fn asked(&self) -> Vec<u64> {
        self.state.asked.lock().unwrap().clone()
    }
}

impl Drop for FakeClock {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        let _wake = TcpStream::connect(self.address);
    }
}

impl State {
    fn accept(&self, mut stream: TcpStream) {
        // Locked before the request is read: until then it counts as unread, afterwards it is a sleeper.
        let mut sleepers = self.sleepers.lock().unwrap();
        let mut buffer = [0; 1024];
        let n = stream.read(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
        let now = self.now_ms.load(Ordering::Relaxed);
        let what = text.strip_prefix("GET /.sim/").unwrap().split(' ').next().unwrap();
        if what == "date" {
            let date = format!("{}.{:03}", now / 1000, now % 1000);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{date}", date.len()).unwrap();
            return;
        }
        let number = |name: &str| what.strip_prefix(name).map(|n| n.split('&').next().unwrap().parse::<u64>().unwrap());
        let ms = number("sleep?ms=").unwrap_or_else(|| number("sleep?until=").unwrap().saturating_sub(now));
        self.asked.lock().unwrap().push(ms);
        let key = (now + ms, self.next.fetch_add(1, Ordering::Relaxed));
        sleepers.insert(key, stream);
    }

    fn tick(&self) {
        let mut idle = 0;
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(3));
            let quiet = self.rest.lock().unwrap().as_ref().is_some_and(|rest| rest().is_some());
            idle = if quiet { idle + 1 } else { 0 };
            let mut sleepers = self.sleepers.lock().unwrap();
            if idle < 3 || sleepers.is_empty() {
                continue;
            }
            idle = 0;
            let ((at, _), mut stream) = sleepers.pop_first().unwrap();
            self.now_ms.store(at, Ordering::Relaxed);
            // The sleeper may have been killed.
            let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
    }
}
