//! One health check of one task: does it answer?
//!
//! Tasks share the machine's network, so HTTP and TCP checks go to the loopback address, as in Mesos; a task with a network
//! of its own and such a check is refused where its message is read. The HTTP client is a request and the first line of the
//! answer, since a status is all that is wanted: a whole client would bring redirects, pools and a hundred thousand lines. A
//! redirect counts by its own status, which Mesos' 200 to 399 includes.
//!
//! A check that could not be made, as the agent had no descriptor left for it, say, tells nothing of the task.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use bourse_agent_core::Checked;
use bourse_containerizer::{Check, CheckEnd, ContainerError, Containerizer};
use bourse_types::{ContainerId, HealthCheck, HealthKind};
use nix::libc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::launcher::flat;

/// A check without a timeout ends after a day all the same.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// No status line is longer than this; a server that sends more is not speaking HTTP.
const STATUS_LINE_MAX: u64 = 1024;

/// Makes one check.
pub async fn probe<C: Containerizer>(
    containers: &C,
    container: &ContainerId,
    check: &HealthCheck,
) -> Checked {
    let limit = if check.timeout.is_zero() { LONGEST } else { check.timeout };
    let asked = async {
        match &check.kind {
            HealthKind::Tcp { port } => connect(*port).await.map(drop),
            HealthKind::Http { port, path, .. } => {
                let status = http_status(*port, path).await?;
                match check.kind.accepts_status(status) {
                    true => Ok(()),
                    false => unhealthy(format!("GET {path} on port {port} answered {status}")),
                }
            }
            HealthKind::Command(command) => {
                let argv = flat(command.argv().map_err(|bad| Checked::Unhealthy(bad.to_string()))?);
                let check = Check { argv, env: command.environment.clone(), timeout: limit };
                match containers.exec(container, &check).await {
                    Ok(CheckEnd::Exited(exit)) if exit.is_success() => Ok(()),
                    Ok(CheckEnd::Exited(exit)) => unhealthy(format!("the command {exit}")),
                    Ok(CheckEnd::TimedOut) => unhealthy(format!("the command did not end within {limit:?}")),
                    Err(error) => Err(not_run(&error)),
                }
            }
        }
    };
    match timeout(limit, asked).await {
        Ok(Ok(())) => Checked::Healthy,
        Ok(Err(found)) => found,
        Err(_) => Checked::Unhealthy(format!("no answer within {limit:?}")),
    }
}

fn unhealthy<T>(why: String) -> Result<T, Checked> {
    Err(Checked::Unhealthy(why))
}

/// What it means that a command did not run.
fn not_run(error: &ContainerError) -> Checked {
    let why = error.to_string();
    match error {
        // The agent's own files, sockets and processes.
        ContainerError::Io { .. } => Checked::Unknown(why),
        // The whole machine has no descriptor left. Other trouble inside, as with its limit of processes, is the task's.
        ContainerError::Check { failure, .. } if matches!(failure.errno, libc::EMFILE | libc::ENFILE) => {
            Checked::Unknown(why)
        }
        ContainerError::Check { .. }
        | ContainerError::Unknown(_)
        | ContainerError::Ended(_)
        | ContainerError::Spec { .. }
        | ContainerError::Stuck(_)
        | ContainerError::Limits { .. }
        | ContainerError::Cgroup { .. } => Checked::Unhealthy(why),
    }
}

/// What it means that there is no connection to this port.
fn not_connected(port: u16, error: &io::Error) -> Checked {
    let why = format!("could not connect to port {port}: {error}");
    match error.raw_os_error() {
        // No descriptor, no memory, or no port of our own to ask from (connect(2)).
        Some(
            libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN | libc::EADDRNOTAVAIL,
        ) => Checked::Unknown(why),
        _ => Checked::Unhealthy(why),
    }
}

async fn connect(port: u16) -> Result<TcpStream, Checked> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| not_connected(port, &error))
}

async fn http_status(port: u16, path: &str) -> Result<u16, Checked> {
    let path = if path.is_empty() { "/" } else { path };
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return unhealthy(format!("the path {path:?} holds a space or a control character; escape it"));
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    let request = format!(
        "GET {slash}{path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: bourse-agent\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    let mut stream = connect(port).await?;
    let failed =
        |error: io::Error| Checked::Unhealthy(format!("the connection to port {port} broke: {error}"));
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut line = Vec::new();
    let mut stream = stream.take(STATUS_LINE_MAX);
    while !line.contains(&b'\n') {
        if stream.read_buf(&mut line).await.map_err(failed)? == 0 {
            break;
        }
    }
    status_of(&line).ok_or_else(|| Checked::Unhealthy(format!("port {port} does not answer in HTTP")))
}

/// The status of an answer's first line: `HTTP/1.1 200 OK`.
fn status_of(line: &[u8]) -> Option<u16> {
    let line = line.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    words.next()?.parse().ok().filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_the_agent_has_no_means_for_tells_nothing_of_the_task() {
        let found = |errno| not_connected(80, &io::Error::from_raw_os_error(errno));
        for errno in [libc::EMFILE, libc::ENFILE, libc::EAGAIN] {
            assert!(matches!(found(errno), Checked::Unknown(_)), "{:?}", found(errno));
        }
        for errno in [libc::ECONNREFUSED, libc::ECONNRESET] {
            assert!(matches!(found(errno), Checked::Unhealthy(_)), "{:?}", found(errno));
        }
    }

    #[test]
    fn the_status_of_an_answer_is_in_its_first_line() {
        assert_eq!(status_of(b"HTTP/1.1 200 OK\r\nA: 404\r\n"), Some(200));
        assert_eq!(status_of(b"HTTP/1.0 503\r\n"), Some(503));
        for bad in [&b""[..], b"SSH-2.0 200\r\n", b"HTTP/1.1\r\n", b"HTTP/1.1 9000 X\r\n", b"\xff\xfe 200"] {
            assert_eq!(status_of(bad), None, "{bad:?}");
        }
    }
}
