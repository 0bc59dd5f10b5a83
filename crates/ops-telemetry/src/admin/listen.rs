//! A listener for programs that have no HTTP server of their own: one thread that waits, and a bounded number that answer.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::respond::{Admin, Question, text};
use super::wire::{self, Timed};
use crate::error::{Error, ErrorKind};

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The address; the default is port 9464 on the loopback, where only this machine gets in. Whoever reaches it can read
    /// all metrics and change the level.
    pub addr: SocketAddr,
    /// How long one connection may take as a whole, from its start to the last byte of the answer. A client that sends or
    /// reads slower is cut off.
    pub deadline: Duration,
    /// How many connections are answered at a time; the others are told 503 at once.
    pub max_connections: usize,
}

/// Answers until it is dropped.
pub struct Listener {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
            deadline: Duration::from_secs(5),
            max_connections: 8,
        }
    }
}

impl Listener {
    /// Starts to answer.
    ///
    /// # Errors
    /// [`ErrorKind::CannotListen`] where the address cannot be had or no thread can be started.
    pub fn start(admin: &Admin, listen: Listen) -> Result<Self, Error> {
        let cannot = |error: std::io::Error| {
            Error::new(ErrorKind::CannotListen, format!("cannot listen on {}: {error}", listen.addr))
        };
        let socket = TcpListener::bind(listen.addr).map_err(cannot)?;
        let addr = socket.local_addr().map_err(cannot)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (admin, stopped, limits) = (admin.clone(), Arc::clone(&stop), listen.clone());
        let thread = Builder::new()
            .name("telemetry-admin".into())
            .spawn(move || accept(&socket, &admin, &limits, &stopped))
            .map_err(cannot)?;
        Ok(Self { addr, stop, thread: Some(thread) })
    }

    /// Returns the address, with the port that was found where the wanted one was zero.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The thread waits for a connection, so it gets one. Where that fails it stays, and ends with the process.
        let mut addr = self.addr;
        if addr.ip().is_unspecified() {
            addr.set_ip(match addr.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        if TcpStream::connect_timeout(&addr, Duration::from_secs(1)).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// Counts a connection as long as it lives, also where answering panics.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn accept(socket: &TcpListener, admin: &Admin, limits: &Listen, stop: &AtomicBool) {
    let busy = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = socket.accept();
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok((stream, _)) = accepted else {
            // Most likely there is no free file descriptor; at once there would be none either.
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        let end = Instant::now() + limits.deadline;
        let is_full = busy.fetch_add(1, Ordering::SeqCst) >= limits.max_connections;
        let place = Place(Arc::clone(&busy));
        if is_full {
            // The socket's buffer takes this whole, so nobody can hold the thread up.
            let _ = stream.set_nonblocking(true);
            let _ = wire::write(&mut &stream, &text(503, "too many connections"), false);
            continue;
        }
        let admin = admin.clone();
        let answer = move || {
            let _place = place;
            answer(&stream, end, &admin);
        };
        // Without a thread the connection is closed, and its place is free again.
        let _ = Builder::new().name("telemetry-admin-answer".into()).spawn(answer);
    }
}

fn answer(stream: &TcpStream, end: Instant, admin: &Admin) {
    let mut stream = Timed { stream, end };
    let Ok(request) = wire::read(&mut stream) else { return };
    let (answer, is_head) = match &request {
        Ok(request) => {
            let question = Question {
                method: &request.method,
                target: &request.target,
                accept: request.accept.as_deref(),
                has_origin: request.has_origin,
                body: &request.body,
            };
            (admin.answer(&question), request.method == "HEAD")
        }
        Err(answer) => (answer.clone(), false),
    };
    // Who is gone or too slow to read gets no more.
    let _ = wire::write(&mut stream, &answer, is_head);
}
