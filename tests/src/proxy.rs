//! A proxy of ours: what goes through it is late, comes by fits and starts, stops in one direction, or breaks.
//!
//! The kernel of a test's machine need not be able to lose packets (it takes a module), and a proxy sees connections, which
//! is what Bourse sees of a bad network: a lost packet is a wait of some hundred milliseconds, after which all that was
//! behind it comes at once.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::chance::Chance;

/// As much as is read at once.
const PIECE: usize = 16 << 10;

/// How long a piece takes that was lost and sent again.
const LOST: Range<Duration> = Duration::from_millis(200)..Duration::from_millis(1200);

/// How long the other end may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// What happens to what goes through.
#[derive(Clone, Debug, PartialEq)]
pub struct Weather {
    /// How long each piece is under way.
    pub delay: Range<Duration>,
    /// The probability that a piece is lost and has to be sent again.
    pub loss: f64,
    /// The probability that the connection is reset, at each piece.
    pub reset: f64,
    /// At most so many bytes in a second, in each direction of each connection.
    pub rate: Option<u32>,
    /// What clients say goes on to the server.
    pub up: bool,
    /// What the server says goes on to clients.
    pub down: bool,
}

impl Weather {
    /// Nothing happens to it.
    pub const FAIR: Weather = Weather {
        delay: Duration::ZERO..Duration::ZERO,
        loss: 0.0,
        reset: 0.0,
        rate: None,
        up: true,
        down: true,
    };
}

/// A listener that passes on each connection. It ends with this value, and its connections with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepts: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    weather: Mutex<Weather>,
    /// The weather has changed, or a connection is over.
    changed: Condvar,
    /// All connections shall end, and no more be taken.
    over: AtomicBool,
    chance: Mutex<Chance>,
}

/// The two ends of a connection. Both are closed when the last of its threads is done with it.
#[derive(Debug)]
struct Pair {
    client: TcpStream,
    server: TcpStream,
    broken: AtomicBool,
}

impl Proxy {
    /// Listens at this address, port 0 being any, in the network of the thread that calls; the seed is for its chances.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn start(listen: SocketAddr, target: SocketAddr, seed: u64) -> io::Result<Proxy> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            weather: Mutex::new(Weather::FAIR),
            changed: Condvar::new(),
            over: AtomicBool::new(false),
            chance: Mutex::new(Chance::new(seed)),
        });
        let accepting = shared.clone();
        let accepts =
            thread::Builder::new().name("proxy".to_owned()).spawn(move || accepting.accept(&listener))?;
        Ok(Proxy { address, shared, accepts: Some(accepts) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it is like this, also for what is under way.
    pub fn set(&self, weather: Weather) {
        *self.shared.weather() = weather;
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        // It waits for a connection: this is the last one.
        let woken = TcpStream::connect_timeout(&self.address, CONNECT);
        if let (Ok(_), Some(accepts)) = (woken, self.accepts.take()) {
            let _ = accepts.join();
        }
    }
}

impl Shared {
    fn accept(self: &Arc<Shared>, listener: &TcpListener) {
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        // A connection is closed when its threads are done with it, so nobody else keeps it.
        let mut pairs: Vec<Weak<Pair>> = Vec::new();
        for client in listener.incoming() {
            if self.over() {
                break;
            }
            // Who cannot be reached refuses: the client's connection ends at once.
            let (Ok(client), Ok(server)) = (client, TcpStream::connect_timeout(&self.target, CONNECT)) else {
                continue;
            };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let pair = Arc::new(Pair { client, server, broken: AtomicBool::new(false) });
            pairs.retain(|pair| pair.strong_count() > 0);
            pairs.push(Arc::downgrade(&pair));
            for up in [true, false] {
                let (shared, pair) = (self.clone(), pair.clone());
                threads.push(thread::spawn(move || shared.pump(&pair, up)));
            }
            threads.retain(|thread| !thread.is_finished());
        }
        pairs.iter().filter_map(Weak::upgrade).for_each(|pair| pair.wake());
        for thread in threads {
            let _ = thread.join();
        }
    }

    /// Passes on what goes in one direction, until there is no more.
    fn pump(&self, pair: &Pair, up: bool) {
        let (mut from, mut to) = if up { (&pair.client, &pair.server) } else { (&pair.server, &pair.client) };
        let mut piece = [0; PIECE];
        loop {
            let length = match from.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return pair.end(),
            };
            if !self.travel(pair, up, length) || to.write_all(&piece[..length]).is_err() {
                return pair.end();
            }
        }
        // The other direction may go on. After a reset nothing more is said, not even this.
        if !pair.is_broken() && to.shutdown(Shutdown::Write).is_err() {
            pair.end();
        }
    }

    /// Waits as long as a piece is under way. `false`: it does not arrive, as the connection is over.
    fn travel(&self, pair: &Pair, up: bool, length: usize) -> bool {
        let weather = self.weather().clone();
        let (delay, reset) = {
            let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
            let mut delay = chance.within(&weather.delay);
            if chance.happens(weather.loss) {
                delay += chance.within(&LOST);
            }
            (delay, chance.happens(weather.reset))
        };
        if reset {
            pair.reset();
            self.changed.notify_all();
            return false;
        }
        let at_rate = weather.rate.map_or(0.0, |rate| length as f64 / f64::from(rate.max(1)));
        let due = Instant::now() + delay + Duration::from_secs_f64(at_rate);
        let mut weather = self.weather();
        loop {
            if pair.is_broken() || self.over() {
                return false;
            }
            let open = if up { weather.up } else { weather.down };
            let left = due.saturating_duration_since(Instant::now());
            if open && left.is_zero() {
                return true;
            }
            // A direction that is stopped is waited for as long as it takes.
            let wait = if open { left } else { left.max(Duration::from_secs(1)) };
            weather = match self.changed.wait_timeout(weather, wait) {
                Ok((weather, _)) => weather,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn weather(&self) -> MutexGuard<'_, Weather> {
        // Nobody stops half way while he holds it.
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

impl Pair {
    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }

    /// No more in either direction; both ends are told in order. After a reset nothing more is said.
    fn end(&self) {
        if !self.broken.swap(true, Ordering::SeqCst) {
            // Either may have ended before.
            let _ = (self.client.shutdown(Shutdown::Both), self.server.shutdown(Shutdown::Both));
        }
    }

    /// No more in either direction; both ends hear of a reset. It is said when the last of the two threads lets go.
    fn reset(&self) {
        let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        for stream in [&self.client, &self.server] {
            // It may have ended before.
            let _ = setsockopt(stream, sockopt::Linger, &at_once);
        }
        self.wake();
    }

    /// Whoever waits for more to read does no longer. Says nothing to the other ends.
    fn wake(&self) {
        self.broken.store(true, Ordering::SeqCst);
        let _ = (self.client.shutdown(Shutdown::Read), self.server.shutdown(Shutdown::Read));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A connection through a proxy: the proxy, the client's end, the server's end.
    fn connection(seed: u64) -> (Proxy, TcpStream, TcpStream) {
        let server = TcpListener::bind(ANY).expect("loopback");
        let target = server.local_addr().expect("bound");
        let proxy = Proxy::start(ANY, target, seed).expect("loopback");
        let client = TcpStream::connect(proxy.address()).expect("it listens");
        let (server, _) = server.accept().expect("it is passed on");
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE)).expect("a time");
        }
        (proxy, client, server)
    }

    #[test]
    fn bytes_arrive_whole_and_in_order_however_late_they_are() {
        let (proxy, client, server) = connection(7);
        let (short, long) = (Duration::from_millis(1), Duration::from_millis(20));
        proxy.set(Weather { delay: short..long, loss: 0.05, rate: Some(4 << 20), ..Weather::FAIR });
        let sent: Vec<u8> = (0..500_000_u32).flat_map(|number| number.to_le_bytes()).take(700_000).collect();
        thread::scope(|scope| {
            for (mut from, mut to) in [(&client, &server), (&server, &client)] {
                let sent = &sent;
                scope.spawn(move || {
                    from.write_all(sent).expect("it takes them");
                    from.shutdown(Shutdown::Write).expect("open");
                });
                scope.spawn(move || {
                    let mut got = Vec::new();
                    to.read_to_end(&mut got).expect("all of them");
                    assert!(got == *sent, "{} of {} bytes, or others", got.len(), sent.len());
                });
            }
        });
    }

    #[test]
    fn a_direction_that_is_stopped_is_silent_and_the_other_one_goes_on() {
        let (proxy, mut client, mut server) = connection(1);
        proxy.set(Weather { up: false, ..Weather::FAIR });
        client.write_all(b"ask").expect("it takes them");
        server.write_all(b"tell").expect("it takes them");
        let mut told = [0; 4];
        client.read_exact(&mut told).expect("this direction is open");
        assert_eq!(&told, b"tell");
        // Long after the other direction was through.
        server.set_read_timeout(Some(Duration::from_millis(300))).expect("a time");
        let silence = server.read(&mut [0; 3]).expect_err("nothing comes").kind();
        assert!(matches!(silence, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{silence}");
        server.set_read_timeout(Some(PATIENCE)).expect("a time");
        proxy.set(Weather::FAIR);
        let mut asked = [0; 3];
        server.read_exact(&mut asked).expect("it is open again, and nothing was lost");
        assert_eq!(&asked, b"ask");
    }

    #[test]
    fn a_reset_is_a_reset_at_both_ends() {
        let (proxy, mut client, mut server) = connection(1);
        proxy.set(Weather { reset: 1.0, ..Weather::FAIR });
        client.write_all(b"x").expect("it takes them");
        for end in [&mut client, &mut server] {
            let error = end.read(&mut [0; 1]).expect_err("it is over").kind();
            assert_eq!(error, io::ErrorKind::ConnectionReset);
        }
    }

    #[test]
    fn connections_end_with_their_proxy() {
        let (proxy, mut client, mut server) = connection(1);
        proxy.set(Weather { up: false, down: false, ..Weather::FAIR });
        client.write_all(b"x").expect("it takes them");
        drop(proxy);
        for end in [&mut client, &mut server] {
            // In order or not.
            assert!(!matches!(end.read(&mut [0; 1]), Ok(1..)));
        }
    }
}
