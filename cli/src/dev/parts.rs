//! Which parts a dev cluster has, and how each is called.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::Context;
use bourse_types::Resources;

use crate::dev::children::Part;
use crate::dev::state::State;

/// The agents' flags that are the same for all.
pub struct Agents {
    /// Address of their master.
    pub master: SocketAddr,
    /// How they isolate tasks.
    pub isolation: String,
}

/// An agent and where it is.
pub struct Agent {
    pub part: Part,
    pub address: SocketAddr,
    /// Its folder of what runs now: one entry a container.
    containers: PathBuf,
}

impl Agent {
    /// Whether containers of it are left, be it running or not.
    pub fn has_containers(&self) -> bool {
        // A folder that was never made holds none.
        self.containers.read_dir().is_ok_and(|mut entries| entries.next().is_some())
    }
}

pub fn master(state: &State, listener: TcpListener) -> anyhow::Result<Part> {
    let (work, tokens) = (path(state.master()), path(state.tokens()));
    let listen = listener.local_addr()?.to_string();
    let mut arguments = words(&["master", "--listen", &listen, "--work-dir", &work, "--tokens", &tokens]);
    // Who kills an agent to see what happens does not want to wait for the minutes that suit a data centre.
    arguments.extend(words(&["--heartbeat-interval", "2s", "--agent-timeout", "10s"]));
    Ok(part(state, "master", arguments, listener))
}

impl Agents {
    /// The agent of this number, counted from 0, with these resources.
    pub fn agent(
        &self,
        state: &State,
        number: u16,
        listener: TcpListener,
        resources: &Resources,
    ) -> anyhow::Result<Agent> {
        let name = &agent_name(number);
        let address = listener.local_addr()?;
        let master = self.master.to_string();
        let (hide, work, token) =
            (path(state.folder().into()), state.agent(name), path(state.token("agent")));
        let (listen, resources) = (address.to_string(), resources.to_string());
        let users = bourse_agent::config::user_range_start(number);
        let users = users.context("a machine has no users for the tasks of so many agents")?.to_string();
        let mut arguments = words(&["agent", "--master", &master, "--listen", &listen]);
        arguments.extend(words(&["--hostname", name, "--work-dir", &path(work.clone())]));
        arguments.extend(words(&["--token-file", &token, "--resources", &resources]));
        arguments.extend(words(&["--isolation", &self.isolation, "--allow-root", "--kill-tasks-on-exit"]));
        arguments.extend(words(&["--hide", &hide, "--usage-interval", "1s", "--reconnect-wait", "50ms"]));
        // No task of one agent has users of another's.
        arguments.extend(words(&["--user-range-start", &users]));
        // What its user works on can be mounted by tasks, and be their root.
        let here = std::env::current_dir().context("looking for the working directory")?;
        arguments.extend(words(&["--volumes", &path(here.clone()), "--rootfs", &path(here)]));
        Ok(Agent { part: part(state, name, arguments, listener), address, containers: work.join("run") })
    }
}

pub fn services(state: &State, master: SocketAddr, listener: TcpListener) -> anyhow::Result<Part> {
    let (token, folder) = (path(state.token("framework")), path(state.services()));
    let (master, listen) = (master.to_string(), listener.local_addr()?.to_string());
    let mut arguments = words(&["services", "--master", &master, "--listen", &listen]);
    arguments.extend(words(&["--token-file", &token, "--state-dir", &folder]));
    Ok(part(state, "services", arguments, listener))
}

fn agent_name(number: u16) -> String {
    format!("agent-{}", number + 1)
}

fn part(state: &State, name: &str, arguments: Vec<String>, listener: TcpListener) -> Part {
    Part::new(name, arguments, listener, state.logs().join(format!("{name}.log")))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

fn path(path: PathBuf) -> String {
    path.display().to_string()
}
