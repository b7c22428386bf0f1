//! The network between the master and everybody else.
//!
//! A connection is what HTTP/2 over TCP gives: letters of one direction arrive in order, and when one is lost so is
//! everything after it on that connection, until somebody notices and opens another. So:
//!
//! - **delay**: each letter takes its time, now and then seconds;
//! - **loss**: from some letter on nothing arrives any more, in one direction or both; each side notices sooner, later,
//!   or by the silence alone;
//! - **repeats**: a letter arrives twice in a row, as of a caller who did not see the answer and asked again;
//! - **reordering**: what is still on its way by an old connection arrives between the letters of its successor;
//! - **breaks, refusals, cuts**: of one direction or both, for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use bourse_types::Mono;

use crate::clock::Agenda;
use crate::coverage::Coverage;
use crate::letter::Letter;
use crate::random::Random;
use crate::world::{Happening, Node, Process};

/// A connection; numbered through the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who opened it: an agent or a scheduler.
    Client,
    /// The master.
    Master,
}

/// How the network is at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// The chance that a letter takes up to three seconds.
    pub slow: f64,
    /// The chance that nothing arrives any more from this letter on.
    pub loss: f64,
    /// The chance that a letter arrives twice.
    pub repeat: f64,
    /// The chance that a connection is refused.
    pub refuse: f64,
}

impl Weather {
    /// Nothing goes wrong.
    pub const CALM: Weather = Weather { slow: 0.0, loss: 0.0, repeat: 0.0, refuse: 0.0 };
}

#[derive(Debug)]
struct Conn {
    client: Process,
    master: Process,
    up: Way,
    down: Way,
}

/// One direction of a connection.
#[derive(Debug)]
struct Way {
    /// When the last letter arrives: no other arrives before it.
    last: Mono,
    /// Nothing arrives any more.
    lost: bool,
    /// The sending end is open.
    open: bool,
}

/// All connections, and the weather they are in.
#[derive(Debug)]
pub struct Net {
    conns: BTreeMap<ConnId, Conn>,
    opened: u64,
    random: Random,
    /// How the network is at the moment.
    pub weather: Weather,
    /// Whose letters to the master do not arrive, and until when.
    cut_up: BTreeMap<Node, Mono>,
    /// Whom the master's letters do not reach, and until when.
    cut_down: BTreeMap<Node, Mono>,
}

impl Net {
    /// Without connections.
    pub fn new(random: Random, weather: Weather) -> Net {
        Net {
            conns: BTreeMap::new(),
            opened: 0,
            random,
            weather,
            cut_up: BTreeMap::new(),
            cut_down: BTreeMap::new(),
        }
    }

    /// The client dials; it hears whether the connection is open, or not, or nothing. `master`: who answers, if anybody.
    pub fn dial(
        &mut self,
        now: Mono,
        client: Process,
        master: Option<Process>,
        agenda: &mut Agenda<Happening>,
        coverage: &mut Coverage,
    ) -> ConnId {
        self.opened += 1;
        let conn = ConnId(self.opened);
        let refused = self.random.chance(self.weather.refuse);
        let Some(master) = master.filter(|_| !refused) else {
            coverage.note("net.refused");
            let at = now + self.random.millis(0, 20);
            agenda.enter(at, Happening::Breaks { conn, to: client });
            return conn;
        };
        let way = || Way { last: now, lost: false, open: true };
        let (mut up, mut down) = (way(), way());
        up.lost = self.cut_up.contains_key(&client.node);
        down.lost = self.cut_down.contains_key(&client.node);
        let dead = up.lost || down.lost;
        self.conns.insert(conn, Conn { client, master, up, down });
        match dead {
            true => coverage.note("net.dialled into a cut"),
            false => {
                let at = now + self.random.millis(0, 5);
                agenda.enter(at, Happening::Opens { conn, to: client });
            }
        }
        conn
    }

    /// Whether nobody listened when this was dialled.
    pub fn was_refused(&self, conn: ConnId) -> bool {
        !self.conns.contains_key(&conn)
    }

    /// Sends a letter from this end.
    pub fn send(
        &mut self,
        now: Mono,
        conn: ConnId,
        from: Side,
        letter: Letter,
        agenda: &mut Agenda<Happening>,
        coverage: &mut Coverage,
    ) {
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        let (way, to) = match from {
            Side::Client => (&mut entry.up, entry.master),
            Side::Master => (&mut entry.down, entry.client),
        };
        if !way.open || way.lost {
            return coverage.note("net.letter lost");
        }
        if self.random.chance(self.weather.loss) {
            coverage.note("net.loss");
            way.lost = true;
            return self.notice(now, conn, agenda);
        }
        let mut delay = Duration::from_micros(self.random.between(50, 3_000));
        if self.random.chance(self.weather.slow) {
            coverage.note("net.delay");
            delay += self.random.millis(10, 3_000);
        }
        way.last = (now + delay).max(way.last + Duration::from_nanos(1));
        let arrives = |letter| Happening::Arrives { conn, to, letter: Box::new(letter) };
        if letter.may_repeat() && self.random.chance(self.weather.repeat) {
            coverage.note("net.repeat");
            agenda.enter(way.last, arrives(letter.clone()));
            way.last = way.last + Duration::from_nanos(1);
        }
        agenda.enter(way.last, arrives(letter));
    }

    /// This end closes the connection: what it sent still arrives, and then the other end notices.
    pub fn close(&mut self, now: Mono, conn: ConnId, by: Side, agenda: &mut Agenda<Happening>) {
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        let (way, to) = match by {
            Side::Client => (&mut entry.up, entry.master),
            Side::Master => (&mut entry.down, entry.client),
        };
        if !std::mem::replace(&mut way.open, false) {
            return;
        }
        // A goodbye that does not arrive is noticed by keep-alive.
        let at = match way.lost {
            true => now + self.random.millis(1_000, 60_000),
            false => (now + self.random.millis(0, 3)).max(way.last + Duration::from_nanos(1)),
        };
        agenda.enter(at, Happening::Breaks { conn, to });
    }

    /// A process is no more. The other ends notice at once, as the kernel says goodbye; or, with the machine, later.
    pub fn died(&mut self, now: Mono, process: Process, machine: bool, agenda: &mut Agenda<Happening>) {
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            let entry = &mut self.conns.get_mut(&conn).expect("it was just listed");
            let by = match () {
                () if entry.client == process => Side::Client,
                () if entry.master == process => Side::Master,
                () => continue,
            };
            if machine {
                (entry.up.lost, entry.down.lost) = (true, true);
            }
            self.close(now, conn, by, agenda);
        }
    }

    /// Something between the two breaks the connection.
    pub fn cut_connection(&mut self, now: Mono, node: Node, agenda: &mut Agenda<Happening>) {
        let conns: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| conn.client.node == node).map(|(id, _)| *id).collect();
        for conn in conns {
            self.lose(conn, true, true);
            self.notice(now, conn, agenda);
        }
    }

    /// Nothing gets through between the master and this node any more, in one direction or both, before `until`: then it
    /// has to be [mended](Net::mend). Of two cuts the longer one counts.
    pub fn cut(
        &mut self,
        now: Mono,
        node: Node,
        (up, down): (bool, bool),
        until: Mono,
        agenda: &mut Agenda<Happening>,
    ) {
        let cuts = [(up, &mut self.cut_up), (down, &mut self.cut_down)];
        for (_, cut) in cuts.into_iter().filter(|(is_cut, _)| *is_cut) {
            let end = cut.entry(node).or_insert(until);
            *end = until.max(*end);
        }
        let conns: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| conn.client.node == node).map(|(id, _)| *id).collect();
        for conn in conns {
            self.lose(conn, up, down);
            self.notice(now, conn, agenda);
        }
    }

    /// New connections of this node get through again, where no longer cut is left.
    pub fn mend(&mut self, now: Mono, node: Node) {
        for cut in [&mut self.cut_up, &mut self.cut_down] {
            cut.retain(|of, until| *of != node || *until > now);
        }
    }

    /// All is well with the network from now on.
    pub fn heal(&mut self) {
        self.weather = Weather::CALM;
        self.cut_up.clear();
        self.cut_down.clear();
    }

    fn lose(&mut self, conn: ConnId, up: bool, down: bool) {
        if let Some(entry) = self.conns.get_mut(&conn) {
            entry.up.lost |= up;
            entry.down.lost |= down;
        }
    }

    /// Both ends notice in their time that nothing gets through; the client perhaps only by the silence.
    fn notice(&mut self, now: Mono, conn: ConnId, agenda: &mut Agenda<Happening>) {
        let Some(entry) = self.conns.get(&conn) else { return };
        let (client, master) = (entry.client, entry.master);
        let soon = |random: &mut Random| if random.chance(0.5) { 500 } else { 90_000 };
        let longest = soon(&mut self.random);
        if self.random.chance(0.7) {
            let at = now + self.random.millis(0, longest);
            agenda.enter(at, Happening::Breaks { conn, to: client });
        }
        // An agent's silence the core of the master watches itself.
        let is_agent = matches!(client.node, Node::Agent(_));
        if !is_agent || self.random.chance(0.7) {
            let longest = soon(&mut self.random);
            let at = now + self.random.millis(0, longest);
            agenda.enter(at, Happening::Breaks { conn, to: master });
        }
    }
}
