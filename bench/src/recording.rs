//! What it costs a master to record what it is told: the same load in turns on a master that records, as all do by default,
//! and on one that does not.
//!
//! The tasks' agent is played here and their processes are none, so that the masters are what there is to wait for. Each is
//! a process of its own with all that belongs to it: sockets, registry, history. What the load itself takes is in the times
//! and not in the masters' cpu.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bourse_proto::agent_link as link;
use bourse_proto::agent_link::from_agent::Message as Said;
use bourse_proto::agent_link::to_agent::Message as Told;
use bourse_proto::v1;
use bourse_types::{AgentCapability, Resources};
use bourse_wire::Form;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::cluster::{Cluster, PATIENCE, RESOURCES};
use crate::crowd::Crowd;
use crate::figures::{Figures, tell};
use crate::memory;

/// Of each side. Machines are noisy: what is told is the middle one.
const ROUNDS: usize = 21;

/// Much more often than an agent has to be heard.
const BEAT: Duration = Duration::from_secs(5);

/// What an agent has to say and the connection did not take yet.
const QUEUE: usize = 1_024;

/// The last byte of the uuid of an update that says that a task runs, and of one that says that it ended.
const RUNS: u8 = 1;
const ENDED: u8 = 2;

/// One master.
struct Side {
    took: Figures,
    /// Of its process, in all rounds.
    cpu: Duration,
}

/// Measures and prints, with so many tasks a round.
pub fn measure(binary: &Path, tasks: usize) -> anyhow::Result<()> {
    let recorded = Cluster::master_alone(binary, &[])?;
    let bare = Cluster::master_alone(binary, &["--recording-max-bytes", "0"])?;
    let clusters = [&recorded, &bare];
    let [on, off] = recorded.wait(compare(clusters, tasks))?;
    let more = |on: Duration, off: Duration| {
        format!("{:>+7.2} %, aim: under 5 %", (on.as_secs_f64() / off.as_secs_f64() - 1.0) * 100.0)
    };
    let a_second = |side: &Side| format!("{:>7.1} a second", tasks as f64 / side.took.median().as_secs_f64());
    let a_task = |side: &Side| {
        let done = (side.took.count() * tasks) as f64;
        format!("{:>7.1} us", side.cpu.as_secs_f64() * 1e6 / done)
    };
    tell(&format!("{tasks} tasks without processes, accepted to ended, by the median"), a_second(&on));
    tell("  the same, not recorded", a_second(&off));
    tell("  longer by recording", more(on.took.median(), off.took.median()));
    tell("the master's cpu a task", a_task(&on));
    tell("  the same, not recorded", a_task(&off));
    tell("  more by recording", more(on.cpu, off.cpu));
    on.took.print();
    off.took.print();
    Ok(())
}

async fn compare(clusters: [&Cluster; 2], tasks: usize) -> anyhow::Result<[Side; 2]> {
    tokio::select! {
        sides = rounds(clusters, tasks) => sides,
        error = agent(clusters[0]) => Err(error),
        error = agent(clusters[1]) => Err(error),
    }
}

async fn rounds(clusters: [&Cluster; 2], tasks: usize) -> anyhow::Result<[Side; 2]> {
    let mut sides = ["recorded", "not recorded"].map(|what| {
        let took = Figures::new(format!("{tasks} tasks without processes, {what}"));
        Side { took, cpu: Duration::ZERO }
    });
    for round in 0..=ROUNDS {
        // Neither is always the one that comes after the other.
        for which in [round % 2, 1 - round % 2] {
            let (cluster, side) = (clusters[which], &mut sides[which]);
            let before = memory::cpu_time(cluster.master())?;
            let (crowd, _) = Crowd::new(tasks, &["true"]);
            let ended = timeout(PATIENCE, cluster.framework("crowd")?.run(crowd)).await;
            let took =
                ended.with_context(|| format!("{tasks} tasks took longer than {PATIENCE:?}"))??.took()?;
            let cpu = memory::cpu_time(cluster.master())?.saturating_sub(before);
            // The first is for getting warm.
            if round > 0 {
                side.took.add(took.to_end);
                side.cpu += cpu;
            }
        }
    }
    Ok(sides)
}

/// An agent whose tasks run and end as soon as they are told to. Why it cannot go on.
async fn agent(cluster: &Cluster) -> anyhow::Error {
    match serve(cluster).await {
        Ok(()) => anyhow!("the master ended the link of the agent that is played"),
        Err(error) => error,
    }
}

async fn serve(cluster: &Cluster) -> anyhow::Result<()> {
    let connection = cluster.agent_connection().await?;
    let (say, said) = mpsc::channel(QUEUE);
    let opened = connection.agent_link().link(ReceiverStream::new(said)).await;
    let mut hear = opened.context("opening the link of an agent")?.into_inner();
    let mut messages = vec![Said::Register(registration()?)];
    let mut beat = interval(BEAT);
    let (mut id, mut updates) = (String::new(), 0);
    loop {
        for message in messages.drain(..) {
            let message = link::FromAgent { message: Some(message) };
            say.send(message).await.context("the master ended the link of the agent that is played")?;
        }
        let heard = tokio::select! {
            heard = hear.message() => heard.context("listening to the master")?,
            // Before it is registered there is nothing else to say.
            _ = beat.tick(), if !id.is_empty() => {
                messages.push(Said::Heartbeat(link::Heartbeat {}));
                continue;
            }
        };
        let Some(heard) = heard else { return Ok(()) };
        let mut update = |framework_id: String, task_id: Option<v1::TaskId>, what: u8| {
            updates += 1u64;
            Said::Update(update_of(&id, framework_id, task_id, updates, what))
        };
        match heard.message {
            Some(Told::Registered(registered)) => id = registered.agent_id,
            Some(Told::RunTask(run)) => {
                let info = v1::TaskInfo::decode(run.task_info).context("reading a task")?;
                let framework = run.framework.and_then(|info| info.id?.value).unwrap_or_default();
                messages.push(update(framework, info.task_id, RUNS));
            }
            Some(Told::AcknowledgeUpdate(known)) if known.uuid.last() == Some(&RUNS) => {
                let task_id = Some(v1::TaskId { value: Some(known.task_id) });
                messages.push(update(known.framework_id, task_id, ENDED));
            }
            Some(Told::Refused(refused)) => {
                return Err(anyhow!("the agent was refused: {}", refused.message));
            }
            _ => {}
        }
    }
}

fn registration() -> anyhow::Result<link::Register> {
    let resources: Resources = RESOURCES.parse().context("reading the resources of the agent")?;
    let info = v1::AgentInfo {
        hostname: Some("bench".to_owned()),
        port: Some(1),
        resources: bourse_wire::resources::write(&resources, Form::Refined),
        ..v1::AgentInfo::default()
    };
    Ok(link::Register {
        info: Some(info),
        // Nobody calls it there.
        address: "127.0.0.1:1".to_owned(),
        version: "0.0.0".to_owned(),
        capabilities: bourse_wire::agent::write_capabilities(&AgentCapability::all()),
        ..link::Register::default()
    })
}

fn update_of(
    agent: &str,
    framework_id: String,
    task_id: Option<v1::TaskId>,
    number: u64,
    what: u8,
) -> link::StatusUpdate {
    let state = if what == RUNS { v1::TaskState::TaskRunning } else { v1::TaskState::TaskFinished };
    let mut uuid = [0; 16];
    uuid[..8].copy_from_slice(&number.to_be_bytes());
    uuid[15] = what;
    let status = v1::TaskStatus {
        task_id,
        state: Some(state as i32),
        source: Some(v1::task_status::Source::Executor as i32),
        agent_id: Some(v1::AgentId { value: Some(agent.to_owned()) }),
        timestamp: Some(1_700_000_000.0),
        uuid: Some(uuid.to_vec().into()),
        ..v1::TaskStatus::default()
    };
    link::StatusUpdate { framework_id, status: Some(status.clone()), latest: Some(status) }
}
