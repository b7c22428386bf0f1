//! The laboratory of the tests that break things, itself checked: a cut that is none would prove nothing.

use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bourse_hostile::FragileDisk;
use bourse_tests::cluster::token;
use bourse_tests::disks::SmallDisk;
use bourse_tests::net::{Host, in_a_network};
use bourse_tests::proxy::{Proxy, Weather};
use bourse_tests::{Cluster, PATIENCE, Plan, Reader, wait_for, wait_until};

/// Long after a datagram between two namespaces of one machine has arrived.
const SILENCE: Duration = Duration::from_millis(300);

/// A socket of a host.
fn socket(host: &Host) -> UdpSocket {
    let socket = host.inside(|| UdpSocket::bind((host.address(), 0)).expect("its own address"));
    socket.set_read_timeout(Some(SILENCE)).expect("a time");
    socket
}

/// Whether what the one says is heard by the other.
fn hears(from: &UdpSocket, to: &UdpSocket, word: u32) -> bool {
    let there = to.local_addr().expect("it is bound");
    from.send_to(&word.to_ne_bytes(), there).expect("it is sent, wherever it goes");
    let mut heard = [0; 4];
    // What was on its way from before is passed over.
    while to.recv(&mut heard).is_ok() {
        if heard == word.to_ne_bytes() {
            return true;
        }
    }
    false
}

#[test]
fn links_that_are_cut_one_way_let_the_other_through() {
    in_a_network(|switch| {
        let (a, b) = (switch.host(2), switch.host(3));
        let (at_a, at_b) = (socket(&a), socket(&b));
        let mut words = 0..;
        let mut hear = || {
            let mut word = || words.next().expect("there is no end of them");
            (hears(&at_a, &at_b, word()), hears(&at_b, &at_a, word()))
        };
        wait_until("both to hear each other", || hear() == (true, true));
        a.cut_towards(b.address());
        assert_eq!(hear(), (false, true));
        a.mend();
        wait_until("both to hear each other", || hear() == (true, true));
        b.cut();
        assert_eq!(hear(), (false, false));
        b.mend();
        wait_until("both to hear each other", || hear() == (true, true));
        b.slow(Some(64));
        b.slow(None);
        assert_eq!(hear(), (true, true));
    });
}

fn wait_agent(cluster: &Cluster, hostname: &str, state: &str) {
    wait_for(&format!("{hostname} to be {state}"), PATIENCE, || {
        let agents = cluster.api.agents().map_err(|status| status.message().to_owned())?;
        let found = agents.into_iter().find(|agent| agent.hostname == hostname);
        let seen = found.map_or("unknown".to_owned(), |agent| agent.state);
        if seen == state { Ok(()) } else { Err(seen) }
    });
}

#[test]
fn a_cluster_on_hosts_loses_who_is_cut_off_and_has_him_back() {
    in_a_network(|switch| {
        let mut cluster = Plan::agents(2).services().start_on(switch);
        assert_eq!(cluster.cli().ok(["run", "--", "echo", "hello"]).stdout, "hello\n");
        cluster.hosts().agent(1).cut();
        wait_agent(&cluster, "agent-1", "unreachable");
        cluster.hosts().agent(1).mend();
        cluster.wait_ready(2, true);
        // The other one reaches its master through a proxy.
        let proxy = cluster.hosts().proxy("agent-2").expect("it has one");
        proxy.set(Weather { up: false, ..Weather::FAIR });
        wait_agent(&cluster, "agent-2", "unreachable");
        proxy.set(Weather::FAIR);
        cluster.wait_ready(2, true);
    });
}

#[test]
fn a_reader_whose_connection_breaks_goes_on_where_it_was_and_begins_anew_with_a_new_master() {
    let mut cluster = Plan::agents(1).start();
    let at = |port| SocketAddr::new(cluster.ip.into(), port);
    let proxy = Proxy::start(at(0), at(5050), 1).expect("the address is the test's own");
    let reader = Reader::start(&proxy.address().to_string(), &token("operator"));
    wait_until("a first snapshot", || reader.counts().snapshots == 1);
    proxy.set(Weather { reset: 1.0, ..Weather::FAIR });
    assert_eq!(cluster.cli().ok(["run", "--", "echo", "hello"]).stdout, "hello\n");
    wait_until("the connection to break", || reader.counts().lost > 0);
    proxy.set(Weather::FAIR);
    assert_eq!(cluster.cli().ok(["run", "--", "echo", "hello"]).stdout, "hello\n");
    wait_until("it to go on", || reader.counts().resumed > 0);
    assert_eq!((reader.counts().snapshots, reader.counts().epochs), (1, 0));
    reader.assert_honest(&cluster.api, true);

    cluster.kill9_and_start("master");
    cluster.wait_ready(1, false);
    wait_until("it to begin anew", || reader.counts().epochs == 1);
    reader.assert_honest(&cluster.api, true);
    // Both are at the cluster's address.
    drop((reader, proxy));
}

fn write_one(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(b"x")?;
    file.sync_all()
}

#[test]
fn a_disk_that_breaks_takes_nothing_until_it_is_renewed_and_a_full_one_until_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (fragile, small) = (folder.path().join("fragile"), folder.path().join("small"));
    let disk = FragileDisk::new(&fragile, 16);
    write_one(&fragile.join("before")).expect("it is new");
    disk.break_it();
    let refused = write_one(&fragile.join("after")).expect_err("it is broken");
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(fs::read(fragile.join("before")).expect("it can be read"), b"x");
    disk.renew();
    write_one(&fragile.join("after")).expect("it was mended");
    assert_eq!(fs::read(fragile.join("before")).expect("nothing was lost"), b"x");

    let disk = SmallDisk::new(&small, 1);
    write_one(&small.join("before")).expect("it is new");
    disk.fill();
    let refused = write_one(&small.join("after")).expect_err("it is full");
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    disk.make_room();
    write_one(&small.join("after")).expect("there is room");
}

#[test]
fn the_clock_of_a_part_can_be_set_and_its_tasks_do_not_see_it() {
    const HOUR: i64 = 3600;
    let cluster = Plan::agents(1).clocks().start();
    let machines = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
        i64::try_from(now.as_secs()).expect("and not so late")
    };
    let masters = || {
        let told = cluster.api.cluster().expect("it answers").now_ms / 1000;
        i64::try_from(told).expect("it is not so late")
    };
    let near = |a: i64, b: i64| (a - b).abs() < HOUR / 4;
    assert!(near(masters(), machines()));
    cluster.clock("master").jump(-HOUR);
    assert!(near(masters(), machines() - HOUR), "{} {}", masters(), machines());
    cluster.clock("master").set_right();
    assert!(near(masters(), machines()));

    cluster.clock("agent-1").jump(HOUR);
    let ran =
        cluster.cli().ok(["run", "--", "sh", "-c", "date +%s; echo ${LD_PRELOAD:-none} ${TEST_CLOCK:-none}"]);
    let (date, preloaded) = ran.stdout.split_once('\n').expect("two lines");
    assert!(near(date.parse().expect("a number"), machines()), "{ran}");
    assert_eq!(preloaded, "none none\n");
}

#[test]
fn a_part_has_the_limits_that_its_test_gives_it() {
    let plan = Plan::agents(1).limited("master", "--nofile=300").limited("agent-1", "--nofile=256");
    let mut cluster = plan.master_memory(400).start();
    for (part, most) in [("master", "300"), ("agent-1", "256")] {
        let pid = cluster.part(part).pid().expect("it runs");
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
        let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("it has one");
        assert_eq!(files.split_whitespace().take(2).collect::<Vec<_>>(), [most, most], "{part}");
    }
    let pid = cluster.part("master").pid().expect("it runs");
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    assert!(groups.contains("bourse-test-"), "{groups}");
}
