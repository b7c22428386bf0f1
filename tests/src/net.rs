//! Hosts that are network namespaces, each on its link to a switch of the test's own: links that can be cut, also in one
//! direction only, and made slow.
//!
//! A test's thread gets a network namespace of its own, and whatever it starts from then on, threads too, is in it. It is
//! gone with the last of them, so nothing of the machine's own network is touched, and nothing is left.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use crate::wait::wait_until;

/// The switch itself.
const BRIDGE: &str = "br0";

/// An address that nobody has: what is sent there is lost.
const NOBODY: &str = "02:00:00:00:00:99";

/// Runs a test in a network of its own: nobody is in it yet but a switch, at which the test itself is.
///
/// # Panics
/// When the test does, and when this process is not root.
pub fn in_a_network<T: Send>(act: impl FnOnce(&Switch) -> T + Send) -> T {
    // Logs are named after the thread's test, and what it prints goes where that of the test does.
    let name = thread::current().name().unwrap_or("main").to_owned();
    thread::scope(|scope| {
        let inside = thread::Builder::new().name(name).spawn_scoped(scope, || {
            unshare(CloneFlags::CLONE_NEWNET).expect("these tests run as root");
            act(&Switch::new())
        });
        let ended = inside.expect("a thread can be started").join();
        ended.unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// What all links of a test's network lead to. The test is at it, too, at its [`address`](Switch::address).
#[derive(Debug)]
pub struct Switch {
    _private: (),
}

impl Switch {
    fn new() -> Switch {
        ip("link set lo up");
        ip(&format!("link add {BRIDGE} type bridge"));
        let switch = Switch { _private: () };
        ip(&format!("address add {}/24 dev {BRIDGE}", switch.address()));
        ip(&format!("link set {BRIDGE} up"));
        switch
    }

    /// Where the test itself is.
    pub fn address(&self) -> Ipv4Addr {
        address(1)
    }

    /// A host at 10.77.0.NUMBER, from 2 on.
    ///
    /// # Panics
    /// When there is one of that number.
    pub fn host(&self, number: u8) -> Host {
        assert!(number > 1, "this number is the switch's own");
        let holder = Command::new("unshare")
            .args(["--net", "cat"])
            // It ends with its standard input, so with the test, however that ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("util-linux is installed");
        let host = Host { number, holder };
        let own = fs::read_link("/proc/thread-self/ns/net").expect("/proc is mounted");
        wait_until("a network namespace", || {
            fs::read_link(host.namespace()).is_ok_and(|namespace| namespace != own)
        });
        ip(&format!("link add {} type veth peer name eth0 netns {}", host.port(), host.holder.id()));
        host.ip(&format!("address add {}/24 dev eth0", host.address()));
        host.ip("link set eth0 up");
        host.ip("link set lo up");
        ip(&format!("link set {} master {BRIDGE} up", host.port()));
        host
    }
}

/// A host, as long as this value lives. What runs on it has to have ended before.
#[derive(Debug)]
pub struct Host {
    number: u8,
    /// Does nothing, in the host's network.
    holder: Child,
}

impl Host {
    /// Where it is.
    pub fn address(&self) -> Ipv4Addr {
        address(self.number)
    }

    /// What in front of a command runs it on this host; it becomes the command, with the same process id.
    pub fn prefix(&self) -> Vec<OsString> {
        let mut namespace = OsString::from("--net=");
        namespace.push(self.namespace());
        vec!["nsenter".into(), namespace, "--".into()]
    }

    /// Does something on this host; sockets that it makes stay there.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let namespace = File::open(self.namespace()).expect("the holder lives");
                setns(namespace, CloneFlags::CLONE_NEWNET).expect("these tests run as root");
                act()
            });
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Pulls its cable at the switch's end: silence in both directions, which nobody is told of.
    pub fn cut(&self) {
        ip(&format!("link set {} nomaster", self.port()));
    }

    /// What it says to this address is lost; what comes from there is heard.
    pub fn cut_towards(&self, other: Ipv4Addr) {
        self.ip(&format!("neighbour replace {other} lladdr {NOBODY} nud permanent dev eth0"));
    }

    /// All is well again, but for [`slow`](Host::slow). A repeat does nothing.
    pub fn mend(&self) {
        ip(&format!("link set {} master {BRIDGE}", self.port()));
        self.ip("neighbour flush dev eth0 nud permanent");
    }

    /// No more than so many kbit in a second reach it; `None`: as many as come.
    pub fn slow(&self, kbit: Option<u32>) {
        let port = self.port();
        // There is none to delete at first.
        let _ = run("tc", &[], &format!("qdisc delete dev {port} root"));
        if let Some(kbit) = kbit {
            let shape = format!("qdisc add dev {port} root tbf rate {kbit}kbit burst 16kb latency 200ms");
            run("tc", &[], &shape).unwrap_or_else(|why| panic!("{why}"));
        }
    }

    /// Its link at the switch's end.
    fn port(&self) -> String {
        format!("v{}", self.number)
    }

    fn namespace(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.holder.id()))
    }

    fn ip(&self, arguments: &str) {
        run("ip", &self.prefix(), arguments).unwrap_or_else(|why| panic!("{why}"));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It cannot have ended by itself: its standard input is open.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, number)
}

fn ip(arguments: &str) {
    run("ip", &[], arguments).unwrap_or_else(|why| panic!("{why}"));
}

/// Runs a program of iproute2.
fn run(program: &str, prefix: &[OsString], arguments: &str) -> Result<(), String> {
    let words = prefix.iter().cloned().chain([program.into()]);
    let mut words = words.chain(arguments.split(' ').map(OsString::from));
    let mut command = Command::new(words.next().expect("the program at least"));
    let output = command.args(words).output().expect("iproute2 and util-linux are installed");
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program} {arguments}: {said}")) }
}
