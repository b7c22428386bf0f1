//! People who go on steering while all this happens: weights, drains, deployments; and strangers who connect and say
//! nothing.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bourse_proto::operator::{DrainAgentRequest, ReactivateAgentRequest};
use bourse_tests::Api;
use bourse_tests::chance::Chance;
use bourse_tests::cluster::token;

/// Roles that are given weights.
const ROLES: usize = 5;

/// A service is deployed again so often.
const DEPLOY: Duration = Duration::from_secs(20);

/// A call that was given up may still be carried out for so long.
const LATE: Duration = Duration::from_secs(60);

/// Silent connections to each port at a time.
const SILENT: usize = 100;

/// What an operator was told of his writes.
#[derive(Debug, Default)]
pub struct Written {
    roles: BTreeMap<String, Writes>,
}

#[derive(Debug, Default)]
struct Writes {
    /// The last that was acknowledged.
    last: Option<(f64, Instant)>,
    /// Those that were not: they may have been carried out, or not.
    open: Vec<(f64, Instant)>,
}

impl Written {
    fn acknowledged(&mut self, role: &str, weight: f64) {
        self.writes(role).last = Some((weight, Instant::now()));
    }

    fn failed(&mut self, role: &str, weight: f64) {
        self.writes(role).open.push((weight, Instant::now()));
    }

    fn writes(&mut self, role: &str) -> &mut Writes {
        self.roles.entry(role.to_owned()).or_default()
    }

    /// What is there must be what was acknowledged last, or something later.
    pub fn assert_kept(&self, api: &Api) {
        let known: BTreeMap<String, f64> =
            api.roles().expect("it answers").into_iter().map(|role| (role.name, role.weight)).collect();
        let mut acknowledged = 0;
        for (role, writes) in &self.roles {
            let Some((last, at)) = writes.last else { continue };
            acknowledged += 1;
            let now = known.get(role).copied().unwrap_or(1.0);
            let late = writes.open.iter().any(|(weight, given_up)| *weight == now && *given_up + LATE > at);
            assert!(now == last || late, "{role} has the weight {now}: {writes:?}");
        }
        assert!(acknowledged > 0, "no write was acknowledged in the whole storm: {self:?}");
    }
}

/// Something that goes on in a thread until it is asked to stop.
pub struct Going<T> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Going<T> {
    fn start(act: impl FnOnce(&AtomicBool) -> T + Send + 'static) -> Going<T> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        Going { stop, thread: thread::spawn(move || act(&stopped)) }
    }

    /// Asks it to stop, and waits.
    pub fn stop(self) -> T {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// An operator who calls this master until he is stopped. `service` makes a version of the service file.
pub fn operate(
    master: String,
    seed: u64,
    service: impl Fn(u32) -> String + Send + 'static,
) -> Going<Written> {
    Going::start(move |stop| {
        let api = Api::new(&master, &token("operator"));
        let mut chance = Chance::new(seed ^ 0x0b5e);
        let mut written = Written::default();
        let (mut version, mut deploy_at) = (1, Instant::now() + DEPLOY);
        let mut weight = 1.0;
        while !stop.load(Ordering::SeqCst) {
            let role = format!("storm-{}", chance.below(ROLES));
            weight += 1.0;
            match api.set_weight(&role, weight) {
                Ok(()) => written.acknowledged(&role, weight),
                Err(_) => written.failed(&role, weight),
            }
            // What becomes of these is seen in what the tasks did: the deadline of a drain is long after the storm.
            let agent = format!("agent-{}", 1 + chance.below(super::nemesis::AGENTS));
            if chance.happens(0.1) {
                let drain = DrainAgentRequest { agent, deadline_seconds: 86_400.0, mark_gone: false };
                let _ = api.wait(api.operator().drain_agent(drain));
            } else if chance.happens(0.3) {
                let _ = api.wait(api.operator().reactivate_agent(ReactivateAgentRequest { agent }));
            }
            if Instant::now() >= deploy_at {
                version += 1;
                deploy_at = Instant::now() + DEPLOY;
                let _ = api.deploy(&service(version));
            }
            thread::sleep(chance.within(&(Duration::from_millis(50)..Duration::from_millis(500))));
        }
        written
    })
}

/// Strangers who hold as many silent connections as they can to each of these ports.
pub fn crowd(ports: Vec<SocketAddr>) -> Going<()> {
    Going::start(move |stop| {
        let mut held: BTreeMap<SocketAddr, Vec<TcpStream>> = BTreeMap::new();
        while !stop.load(Ordering::SeqCst) {
            for port in &ports {
                let crowd = held.entry(*port).or_default();
                // Who was thrown out comes back.
                if crowd.len() >= SILENT {
                    crowd.drain(..SILENT / 10);
                }
                while crowd.len() < SILENT && !stop.load(Ordering::SeqCst) {
                    match TcpStream::connect_timeout(port, Duration::from_millis(100)) {
                        Ok(stream) => crowd.push(stream),
                        Err(_) => break,
                    }
                }
            }
            thread::sleep(Duration::from_millis(500));
        }
    })
}
