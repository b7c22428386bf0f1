//! A network of a task's own, with nothing in it but loopback.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use bourse_containerizer::{Check, CheckEnd, ContainerSpec, Containerizer};
use bourse_types::{Exit, Namespaces, Network};

use super::lab::{DEADLINE, Lab, read, until};

fn in_own_network(lab: &Lab, name: &str, script: &str) -> ContainerSpec {
    let namespaces = Namespaces { network: Network::Loopback, ..Namespaces::default() };
    ContainerSpec { namespaces, ..lab.spec(name, &["python3", "-c", script]) }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_network_of_its_own_a_task_has_loopback_and_every_port_of_it() {
    let lab = Lab::new();
    // Kernels may put interfaces of tunnels into each network, which are down.
    let script = r#"
import errno, os, socket
there = [entry for entry in os.scandir('/sys/class/net') if entry.is_dir()]
print('up:', *[entry.name for entry in there if int(open(entry.path + '/flags').read(), 16) & 1])
server = socket.create_server(('127.0.0.1', 80))
client = socket.create_connection(('127.0.0.1', 80))
client.sendall(b'hello')
print(server.accept()[0].recv(5).decode())
try:
    socket.create_connection(('192.0.2.1', 9))
except OSError as error:
    print(errno.errorcode[error.errno])
try:
    open('/sys/class/net/lo/mtu', 'w')
except OSError as error:
    print(errno.errorcode[error.errno])
"#;
    for user in ["root", "nobody"] {
        let spec = ContainerSpec { user: Some(user.into()), ..in_own_network(&lab, user, script) };
        let output = lab.output(&spec).await;
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(lines[..3], ["up: lo", "hello", "ENETUNREACH"], "{user}");
        assert!(["EROFS", "EACCES"].contains(&lines[3]), "{user}: {output}");
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_network_of_its_own_a_task_reaches_nothing_of_the_machines() {
    let lab = Lab::new();
    let machines = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = machines.local_addr().expect("it is bound").port();
    let name = format!("bourse-{}", lab.instance);
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let _machines = UnixListener::bind_addr(&address).expect("nobody else has this name");
    let script = format!(
        r#"
import errno, socket
def answer(kind, address):
    try:
        socket.socket(kind).connect(address)
        return 'done'
    except OSError as error:
        return errno.errorcode[error.errno]
print(answer(socket.AF_INET, ('127.0.0.1', {port})))
print(answer(socket.AF_UNIX, '\0{name}'))
"#
    );
    let shared = lab.spec("shared", &["python3", "-c", &script]);
    assert_eq!(lab.output(&shared).await, "done\ndone\n");
    let own = in_own_network(&lab, "own", &script);
    assert_eq!(lab.output(&own).await, "ECONNREFUSED\nECONNREFUSED\n");
    // The other way round: both ports are there at once, and two tasks have the same.
    let script = format!(
        r#"
import socket, time
server = socket.create_server(('127.0.0.1', {port}))
print('up', flush=True)
time.sleep(1000)
"#
    );
    for name in ["first", "second"] {
        let spec = in_own_network(&lab, name, &script);
        lab.launch(&spec).await;
        until("it has the port of the machine's", || read(&spec, "stdout") == "up\n").await;
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_in_the_network_of_its_task_also_after_a_restart_of_the_agent() {
    let lab = Lab::new();
    let script = r#"
import socket
server = socket.create_server(('127.0.0.1', 80))
print('up', flush=True)
while True:
    server.accept()[0].close()
"#;
    let spec = in_own_network(&lab, "c1", script);
    lab.launch(&spec).await;
    until("it serves", || read(&spec, "stdout") == "up\n").await;
    let next = Lab::at(lab.root(), &lab.instance);
    next.containerizer.recover().await.expect("the runtime directory is readable");
    for containerizer in [&lab.containerizer, &next.containerizer] {
        for (port, code) in [(80, 0), (81, 1)] {
            let connect = format!("import socket; socket.create_connection(('127.0.0.1', {port}))");
            let argv = ["python3", "-c", &connect].map(str::to_owned).to_vec();
            let check = Check { argv, env: Vec::new(), timeout: DEADLINE };
            let end = containerizer.exec(&spec.container_id, &check).await.expect("it can be run");
            assert_eq!(end, CheckEnd::Exited(Exit::Code(code)), "port {port}");
        }
    }
    drop(next);
    lab.finish().await;
}
