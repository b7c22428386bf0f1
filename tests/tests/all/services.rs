//! Services: nginx, as Debian packs it, is kept running whatever dies.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bourse_proto::services::Service;
use bourse_tests::process::Process;
use bourse_tests::{Cluster, PATIENCE, Plan, wait_for};

/// An instance that was killed is back within this time.
const BACK: Duration = Duration::from_secs(5);

/// nginx as a service: one process that serves its instance's name on its port, with all its files in its sandbox.
const NGINX: &str = r#"
name = "web"
count = 4
ports = ["http"]
spread = "agents"
kill_grace = "1s"
replace_unreachable_after = "1s"
command = '''
mkdir -p temp
cat > nginx.conf << END
daemon off;
pid nginx.pid;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path temp;
    proxy_temp_path temp;
    fastcgi_temp_path temp;
    uwsgi_temp_path temp;
    scgi_temp_path temp;
    server {
        listen 127.0.0.1:$PORT_HTTP;
        location / { return 200 "$BOURSE_INSTANCE\n"; }
    }
}
END
exec /usr/sbin/nginx -e stderr -p "$PWD" -c "$PWD/nginx.conf"
'''

[resources]
cpus = 0.1
mem = "64MiB"

[health]
http = "/"
port = "http"
interval = "200ms"
timeout = "2s"
grace = "10s"

[restart]
start = "200ms"
"#;

/// Four instances on three agents, all of which answer.
fn web() -> Cluster {
    let cluster = Plan::agents(3).services().start();
    cluster.api.deploy(NGINX).expect("it is a good file");
    let service = wait_for("four instances of nginx", PATIENCE, || cluster.api.settled("web", 4));
    assert_all_answer(&service);
    cluster
}

#[test]
fn four_instances_of_nginx_are_spread_over_three_agents_and_all_answer() {
    let cluster = web();
    let service = cluster.api.service("web").expect("it is there");
    let mut on: Vec<usize> = ["agent-1", "agent-2", "agent-3"]
        .map(|agent| service.instances.iter().filter(|instance| instance.hostname == agent).count())
        .into();
    on.sort_unstable();
    assert_eq!(on, [1, 1, 2], "{service:?}");
    cluster.cli().ok(["service", "remove", "web"]);
    cluster.assert_no_container_is_left();
}

#[test]
fn an_instance_that_is_killed_is_back_within_five_seconds() {
    let cluster = web();
    let before = cluster.api.service("web").expect("it is there");
    let victim = &before.instances[1];
    let process = cluster.processes("")[&victim.task_id];
    let begun = Instant::now();
    process.kill9();
    let after = wait_for("the instance to be back", BACK, || {
        let service = cluster.api.settled("web", 4)?;
        let new = &service.instances[1];
        if new.task_id != victim.task_id { Ok(service) } else { Err(format!("{new:?}")) }
    });
    assert_all_answer(&after);
    println!("back after {:?}", begun.elapsed());
    assert!(begun.elapsed() <= BACK, "{:?}", begun.elapsed());
    let others = |service: &Service| -> BTreeSet<String> {
        let others = service.instances.iter().filter(|instance| instance.slot != victim.slot);
        others.map(|instance| instance.task_id.clone()).collect()
    };
    assert_eq!(others(&after), others(&before), "nothing else was touched");
    let attempt = &after.instances[1].attempts[0];
    assert_eq!((attempt.task_id.as_str(), attempt.state.as_str()), (victim.task_id.as_str(), "TASK_FAILED"));
}

#[test]
fn a_kill_9_of_the_service_framework_during_an_update_that_fails_leaves_the_old_instances_serving() {
    let file = |command: &str| {
        format!(
            "name = \"web\"\ncommand = \"{command}\"\ncount = 3\nkill_grace = \"1s\"\n\
             [resources]\ncpus = 0.05\nmem = \"32MiB\"\n[restart]\nstart = \"200ms\"\nmax = \"500ms\"\n"
        )
    };
    let mut cluster = Plan::agents(2).services().start();
    cluster.api.deploy(&file("sleep 1000")).expect("it is a good file");
    wait_for("three instances", PATIENCE, || cluster.api.settled("web", 3));
    let before = cluster.processes("web");
    cluster.api.deploy(&file("exit 3")).expect("it is a good file");
    for _ in 0..3 {
        // An attempt that is new was launched after the framework had looked at everything.
        let tried = attempts(&cluster, &BTreeSet::new());
        cluster.kill9_and_start("services");
        wait_for("two more attempts", PATIENCE, || match attempts(&cluster, &tried).len() {
            more if more >= 2 => Ok(()),
            more => Err(format!("{more} more attempts")),
        });
        let old = before.values().filter(|process| process.is_alive()).count();
        assert!(old >= 2, "only the instance that the update begins with was ended: {before:?}");
    }
}

#[test]
fn a_service_gets_other_amounts_and_limits_while_its_processes_run_on() {
    let file = |mem: &str, limits: &str| {
        format!(
            "name = \"web\"\ncommand = \"exec sleep 1000\"\ncount = 2\nkill_grace = \"1s\"\n\
             [resources]\ncpus = 0.1\nmem = \"{mem}\"\n{limits}"
        )
    };
    let cluster = Plan::agents(2).services().start();
    cluster.api.deploy(&file("32MiB", "")).expect("it is a good file");
    wait_for("two instances", PATIENCE, || cluster.api.settled("web", 2));
    let ids = |service: &Service| -> Vec<String> {
        service.instances.iter().map(|instance| instance.task_id.clone()).collect()
    };
    let before = cluster.api.service("web").expect("it is there");
    let processes: Vec<Process> = {
        let all = cluster.processes("web");
        ids(&before).iter().map(|task| all[task]).collect()
    };
    // First they gain from offers of their agents; then they give up, and may use more where others leave it.
    for (mem, limits, has) in [("96MiB", "", 96.0), ("48MiB", "[limits]\ncpus = 1\nmem = \"64MiB\"\n", 48.0)]
    {
        cluster.api.deploy(&file(mem, limits)).expect("it is a good file");
        wait_for("both instances to have it", PATIENCE, || {
            let service = cluster.api.settled("web", 2)?;
            let tasks = cluster.api.running().map_err(|status| status.to_string())?;
            let have = |task: &&bourse_proto::operator::Task| {
                task.allocated.as_ref().is_some_and(|amounts| amounts.mem_mib == has)
            };
            match tasks.iter().filter(have).count() {
                2 => Ok(service),
                _ => Err(format!("{tasks:?}")),
            }
        });
    }
    let after = cluster.api.service("web").expect("it is there");
    assert_eq!(ids(&after), ids(&before), "no instance was replaced");
    assert!(processes.iter().all(|process| process.is_alive()), "{processes:?}");
}

/// The tasks of `web` that ended, but for these.
fn attempts(cluster: &Cluster, known: &BTreeSet<String>) -> BTreeSet<String> {
    let Ok(service) = cluster.api.service("web") else { return BTreeSet::new() };
    let ended = service.instances.into_iter().flat_map(|instance| instance.attempts);
    ended.map(|attempt| attempt.task_id).filter(|task| !known.contains(task)).collect()
}

#[test]
fn when_an_agent_dies_its_instances_are_replaced_on_the_others_and_its_own_end_when_it_is_back() {
    let mut cluster = web();
    let before = cluster.api.service("web").expect("it is there");
    let dead = before.instances[0].hostname.clone();
    let old: Vec<(String, Process)> = {
        let processes = cluster.processes("");
        let there = before.instances.iter().filter(|instance| instance.hostname == dead);
        there.map(|instance| (instance.task_id.clone(), processes[&instance.task_id])).collect()
    };
    cluster.part(&dead).kill9();
    let service = wait_for("its instances to be replaced", PATIENCE, || {
        let service = cluster.api.settled("web", 4)?;
        let left = service.instances.iter().filter(|instance| instance.hostname == dead).count();
        if left == 0 { Ok(service) } else { Err(format!("{left} are still said to be on {dead}")) }
    });
    assert_all_answer(&service);
    assert!(
        old.iter().all(|(_, process)| process.is_alive()),
        "nobody could tell the dead agent's tasks to end"
    );

    cluster.part(&dead).start();
    wait_for("what is too many to end", PATIENCE, || {
        let left: Vec<&String> =
            old.iter().filter(|(_, process)| process.is_alive()).map(|(task, _)| task).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?} still run")) }
    });
    wait_for("four instances and no more", PATIENCE, || {
        let service = cluster.api.settled("web", 4)?;
        let running = cluster.api.running().map_err(|status| status.to_string())?.len();
        if running == 4 { Ok(service) } else { Err(format!("{running} tasks run")) }
    });
}

#[track_caller]
fn assert_all_answer(service: &Service) {
    assert_eq!(service.instances.len(), 4);
    for instance in &service.instances {
        let [port] = instance.ports[..] else { panic!("{instance:?} has not one port") };
        assert_eq!(get(port), format!("{}\n", instance.name), "{instance:?}");
    }
}

/// The body of what answers at `/`.
fn get(port: u32) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port as u16)).expect("the instance listens");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("it is HTTP");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}
