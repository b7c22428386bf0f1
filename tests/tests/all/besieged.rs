//! Tasks that attack the API of their own agent, whose port they reach as they share its network: the agent goes on to
//! launch, kill and report, keeps its size, and tells them nothing.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use bourse_tests::cluster::token;
use bourse_tests::{Cluster, PATIENCE, Plan, process, wait_for, wait_until};

/// What every siege begins with. It lasts for so many seconds, says what it came to, and ends with 0 if it was told nothing.
const ARMS: &str = r#"
import os, socket, struct, sys, time
host, port, seconds, token = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
until = time.monotonic() + seconds
def connect():
    s = socket.create_connection((host, port), 20)
    s.settimeout(20)
    return s
def told(s):
    answer = b""
    try:
        while piece := s.recv(65536): answer += piece
    except OSError: pass
    return answer
def say(*pieces):
    try:
        s = connect()
        for piece in pieces: s.sendall(piece)
        return s
    except OSError: return None
def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
HEADERS = b"\x82\x86\x04\x07/health\x01\x04test"
count = 0
"#;

/// 2,000 connections on which nothing is said: each is ended by the agent.
const SILENT: &str = r#"
def ended(s):
    try: return s.recv(1) == b""
    except socket.timeout: return False
    except OSError: return True
children = []
for _ in range(4):
    if (child := os.fork()) == 0:
        silent = [connect() for _ in range(500)]
        os._exit(0 if all(ended(s) for s in silent) else 1)
    children.append(child)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
count = 2000
"#;

/// Bytes of no protocol, and the beginnings of some.
const GARBAGE: &str = r#"
endless = b"GET / HTTP/1.1\r\nHost: test\r\n" + b"X: " + b"y" * 100000
slow = b"POST /health HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000000\r\n\r\n"
hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"h" * 200
large = PREFACE + frame(1, 4, 1, HEADERS) + frame(0, 0, 1, b"d" * 16384) * 100
open = []
while time.monotonic() < until:
    for bytes_ in [os.urandom(1000), hello, endless, slow, large, PREFACE + os.urandom(1000), b"\n" * 10000]:
        if s := say(bytes_): open.append(s)
        count += 1
    # A few stay open with what they have begun.
    while len(open) > 200: open.pop(0).close()
"#;

/// Calls that are given up as soon as they are made, more of them than a connection may have, and pings that are not read.
const FLOODS: &str = r#"
resets = b"".join(frame(1, 5, n, HEADERS) + frame(3, 0, n, b"\0\0\0\x08") for n in range(1, 4001, 2))
streams = b"".join(frame(1, 4, n, HEADERS) for n in range(1, 4001, 2))
pings = frame(6, 0, 0, b"12345678") * 20000
settings = frame(4, 0, 0) * 20000
pieces = PREFACE + frame(1, 0, 1, HEADERS) + frame(9, 0, 1) * 10000
while time.monotonic() < until:
    for flood in [resets, streams, pings, settings]:
        if s := say(PREFACE, flood): s.close()
        count += 1
    if s := say(pieces): s.close()
"#;

/// What needs no token, as often as it can be asked.
const HEALTH: &str = r#"
ask = b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n" * 50
while time.monotonic() < until:
    # The agent ends each of these connections when it has lasted for some seconds.
    s, answers = say(ask), b""
    while s and answers.count(b"ok\n") < 50:
        try: piece = s.recv(65536)
        except OSError: break
        if not piece: break
        answers += piece
    count += answers.count(b"ok\n")
"#;

/// Logs of others, without a token and with guesses, by names that lead elsewhere.
const GUESSES: &str = r#"
def field(number, value):
    length, varint = len(value), b""
    while length >= 128: varint, length = varint + bytes([length % 128 + 128]), length // 128
    return bytes([number * 8 + 2]) + varint + bytes([length]) + value
ids = [b"x", b"..", b"../../..", b"/etc/shadow", b"a/../../b", b"\0", b"", b"i" * (1 << 20)]
guesses = [b"", b"Bearer", b"Bearer ", b"Bearer x", b"Basic " + token.encode(), token.encode(),
    b"Bearer " + token[:-1].encode(), b"Bearer " + token.encode() + b"x", b"Bearer " + token.upper().encode()]
first = True
while first or time.monotonic() < until:
    first = False
    for id in ids:
        for guess in guesses:
            body = field(1, id) + field(2, id) + b"\x18\x01"
            body = b"\0" + struct.pack(">I", len(body)) + body
            head = b"POST /bourse.agent.v1.AgentApi/ReadLog HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
            head += b"Content-Type: application/grpc\r\nTE: trailers\r\nAuthorization: " + guess + b"\r\n"
            s = say(head + b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n")
            if not s: continue
            try: s.sendall(body)
            except OSError: pass
            answer = told(s)
            # Or it was ended among all the others before it was read.
            assert not answer or b"grpc-status: 16" in answer, answer
            count += b"grpc-status: 16" in answer
"#;

/// A task that besieges its agent.
struct Siege {
    name: String,
    child: Child,
}

impl Siege {
    fn lay(cluster: &Cluster, name: &str, script: &str, seconds: u32) -> Siege {
        let name = format!("{name}-{seconds}");
        let script = format!("{ARMS}{script}print('count', count)\n");
        let output = fs::File::create(cluster.logs().join(&name)).expect("the folder of logs is there");
        let sized = ["run", "--name", &name, "--user", "root", "--cpus", "0.3", "--mem", "256MiB", "--"];
        let mut command = cluster.cli().command(sized);
        command.args(["/usr/bin/python3", "-c", &script, &cluster.ip.to_string(), "5051"]);
        command.args([&seconds.to_string(), &token("agent")]).stdin(Stdio::null());
        command.stdout(output.try_clone().expect("a file")).stderr(output);
        Siege { name, child: command.spawn().expect("it starts") }
    }

    fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// It was told nothing that it should not be, and has done what it came for.
    fn assert_repelled(mut self, cluster: &Cluster) {
        let status = self.child.wait().expect("a child of ours");
        let said = fs::read_to_string(cluster.logs().join(&self.name)).expect("it is there");
        assert!(status.success(), "{}: {status}: {said}", self.name);
        let count = said.lines().find_map(|line| line.strip_prefix("count ")?.parse::<u64>().ok());
        assert!(count.is_some_and(|count| count > 0), "{}: {said}", self.name);
    }
}

#[test]
fn tasks_that_attack_the_api_of_their_agent_get_nothing_and_it_does_its_work_and_keeps_its_size() {
    let mut cluster = Plan::agents(1).agent("--allow-root").start();
    let agent = cluster.part("agent-1").pid().expect("it runs");

    // A task whose output is followed all the while.
    let gate = cluster.shared().join("gate");
    let counter = format!(
        "i=0; until [ -e {} ]; do echo $i; i=$((i+1)); sleep 0.02; done; echo $i; exit 5",
        gate.display()
    );
    let output = cluster.logs().join("counter");
    let mut follower = cluster
        .cli()
        .command(["run", "--name", "counter", "--cpus", "0.2", "--", "sh", "-c", &counter])
        .stdout(fs::File::create(&output).expect("the folder of logs is there"))
        .spawn()
        .expect("it starts");
    let lines = || fs::read_to_string(&output).expect("it is there").lines().count();
    wait_until("some output", || lines() > 10);

    // Each by itself, and then all with one more.
    let arms = [("garbage", GARBAGE), ("floods", FLOODS), ("health", HEALTH), ("guesses", GUESSES)];
    let rounds = arms.iter().map(|arm| (std::slice::from_ref(arm), 2)).chain([(&arms[..], 8)]);
    for (arms, seconds) in rounds {
        let mut sieges: Vec<Siege> =
            arms.iter().map(|(name, script)| Siege::lay(&cluster, name, script, seconds)).collect();
        if sieges.len() > 1 {
            sieges.push(Siege::lay(&cluster, "silent", SILENT, seconds));
        }
        let mut seen = lines();
        while !sieges.iter_mut().all(Siege::is_over) {
            let begun = Instant::now();
            let ran = cluster.cli().ok(["run", "--cpus", "0.1", "--", "sh", "-c", "echo hello; exit 0"]);
            assert_eq!(ran.stdout, "hello\n", "{ran}");
            assert!(begun.elapsed() < Duration::from_secs(15), "a launch took {:?}", begun.elapsed());
            let before = std::mem::replace(&mut seen, lines());
            wait_until("more of the output that is followed", || lines() > before);
            let descriptors = process::descriptors(agent);
            assert!(descriptors < 600, "{descriptors} descriptors");
        }
        for siege in sieges {
            siege.assert_repelled(&cluster);
        }
    }

    // Nothing of the one that was followed is missing or came twice.
    fs::write(gate, "").expect("a test's own folder is writable");
    assert_eq!(follower.wait().expect("a child of ours").code(), Some(5));
    let text = fs::read_to_string(&output).expect("it is there");
    for (line, number) in text.lines().zip(0_u32..) {
        assert_eq!(line, number.to_string(), "in {}", output.display());
    }

    let peak = process::peak_memory(agent);
    assert!(peak < 160, "{peak} MiB");
    wait_for("the agent to be idle", PATIENCE, || {
        let (begun, before) = (Instant::now(), process::cpu_time(&[agent]));
        std::thread::sleep(Duration::from_secs(1)); // What is measured is a time.
        let share = (process::cpu_time(&[agent]) - before).as_secs_f64() / begun.elapsed().as_secs_f64();
        if share < 0.2 { Ok(()) } else { Err(format!("it uses {share:.2} cpus")) }
    });
    assert!(cluster.part("agent-1").ended().is_none() && cluster.part("agent-1").pid() == Some(agent));
    let events = cluster.cli().ok(["events", "-o", "json"]).stdout;
    assert!(!events.to_lowercase().contains("unreachable"), "{events}");
}

#[test]
fn what_a_task_puts_in_the_place_of_its_log_while_that_is_followed_is_neither_told_nor_waited_for() {
    let cluster = Plan::agents(1).agent("--allow-root").start();
    let things = [
        ("pipe", "mkfifo stdout"),
        ("link", "ln -s /etc/shadow stdout"),
        ("folder", "mkdir stdout"),
        ("second-name", ": > other && ln other stdout"),
    ];
    for (name, make) in things {
        let gate = cluster.shared().join(format!("{name}-gate"));
        let made = cluster.shared().join(format!("{name}-made"));
        let script = format!(
            "echo before; until [ -e {} ]; do sleep 0.02; done; rm stdout && {make} && : > {}; exec sleep 1000",
            gate.display(),
            made.display()
        );
        let mut run = cluster
            .cli()
            .command(["run", "--name", name, "--user", "root", "--", "sh", "-c", &script])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        wait_for("it to run", PATIENCE, || {
            let running = cluster.api.running().map_err(|status| status.to_string())?;
            running.iter().any(|task| task.name == name).then_some(()).ok_or("it does not yet".to_owned())
        });
        let output = cluster.logs().join(name);
        let file = fs::File::create(&output).expect("the folder of logs is there");
        let mut command = cluster.cli().command(["logs", name, "--stdout", "--follow"]);
        command.stdout(file.try_clone().expect("a file")).stderr(file);
        let mut follower = command.spawn().expect("it starts");
        let said = || fs::read_to_string(&output).expect("it is there");
        wait_until("its output", || said().contains("before"));
        fs::write(&gate, "").expect("a test's own folder is writable");
        wait_until("the log to be replaced", || made.exists());

        // Whoever follows it hears of it at once and is not kept waiting; so does whoever comes later.
        let status = wait_for("the follower to end", PATIENCE, || {
            follower.try_wait().expect("a child of ours").ok_or("it follows")
        });
        let later = cluster.cli().run(["logs", name, "--stdout"]);
        assert!(!status.success() && !later.status.success(), "{name}: {status}, {later}");
        for said in [said(), later.stderr] {
            assert!(said.contains("cannot be read"), "{name}: {said}");
            assert!(!said.contains("root:"), "{name}: {said}");
        }
        assert_eq!(later.stdout, "", "{name}");
        cluster.cli().ok(["kill", name, "--grace", "0s"]);
        run.wait().expect("a child of ours");
    }
    assert_eq!(cluster.cli().ok(["run", "--", "echo", "hello"]).stdout, "hello\n");
}
