//! The running parts: started, watched, started again, and stopped so that nothing is left.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::bail;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::dev::children::{Ended, Part, STOP};
use crate::dev::parts::Agent;
use crate::dev::restarts::Restarts;
use crate::print::say;

/// How long an agent that is started only to end its tasks may take until it can be asked to.
const SETTLE: Duration = Duration::from_secs(10);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// All parts. Not all need run.
pub struct Cluster {
    pub master: Part,
    pub agents: Vec<Agent>,
    pub services: Part,
}

impl Cluster {
    /// Starts every part.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.parts().try_for_each(|part| part.start().map(drop))
    }

    /// Resolves with the first part that ends by itself, as an error: before the cluster is ready that is nothing that
    /// another try would mend.
    pub async fn first_failure(&mut self) -> anyhow::Error {
        match self.next_end().await {
            Ok((index, ended)) => {
                let part = self.part(index);
                anyhow::anyhow!("{} {ended}; its log is {}", part.name, part.log.display())
            }
            Err(error) => error,
        }
    }

    /// Starts again what ends by itself, for ever.
    ///
    /// # Errors
    /// A child cannot be waited for.
    pub async fn supervise(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut restarts = Restarts::new(self.parts().count());
        loop {
            let next = restarts.next();
            let due = sleep_until(begun + next.map_or(Duration::ZERO, |(at, _)| at));
            tokio::select! {
                ended = self.next_end() => {
                    let (index, ended) = ended?;
                    let wait = restarts.ended(index, begun.elapsed());
                    let Part { name, log, .. } = self.part(index);
                    say(format_args!(
                        "{name} (pid {}) {ended}; starting it again in {} s; its log is {}",
                        ended.pid, wait.as_secs(), log.display()
                    ));
                }
                () = due, if next.is_some() => {
                    let Some((_, index)) = next else { continue };
                    let part = self.part(index);
                    match part.start() {
                        Ok(pid) => {
                            say(format_args!("{} is started again (pid {pid})", part.name));
                            restarts.started(index, begun.elapsed());
                        }
                        Err(error) => {
                            let wait = restarts.ended(index, begun.elapsed());
                            say(format_args!("{error:#}; trying again in {} s", wait.as_secs()));
                        }
                    }
                }
            }
        }
    }

    /// Stops every part, in the order that lets each finish what it does: services, then agents with their tasks, then
    /// the master that hears of it. What cannot be stopped well is said, and the others are stopped all the same.
    pub async fn stop(&mut self) {
        stop_all(&mut [&mut self.services]).await;
        stop_all(&mut self.agents.iter_mut().map(|agent| &mut agent.part).collect::<Vec<_>>()).await;
        for agent in &mut self.agents {
            settle(agent).await;
        }
        stop_all(&mut [&mut self.master]).await;
    }

    fn parts(&mut self) -> impl Iterator<Item = &mut Part> {
        let agents = self.agents.iter_mut().map(|agent| &mut agent.part);
        std::iter::once(&mut self.master).chain(agents).chain(std::iter::once(&mut self.services))
    }

    fn part(&mut self, index: usize) -> &mut Part {
        self.parts().nth(index).expect("the index came from counting them")
    }

    /// The next part that ends, and its index among `parts`.
    async fn next_end(&mut self) -> anyhow::Result<(usize, Ended)> {
        let mut ends: Vec<_> = self.parts().map(|part| Box::pin(part.ended())).collect();
        std::future::poll_fn(|context| {
            for (index, end) in ends.iter_mut().enumerate() {
                if let std::task::Poll::Ready(ended) = end.as_mut().poll(context) {
                    return std::task::Poll::Ready(ended.map(|ended| (index, ended)));
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// Ends what tasks an agent has left that does not run: one that was killed, now or with an earlier dev cluster. Only an
/// agent knows how to, so it is started for that. An agent without containers is left alone.
pub async fn settle(agent: &mut Agent) {
    if !agent.has_containers() {
        return;
    }
    if let Err(error) = try_settle(agent).await {
        say(format_args!(
            "tasks of {} are left running: {error:#}; the next start takes them over",
            agent.part.name
        ));
    }
}

async fn try_settle(agent: &mut Agent) -> anyhow::Result<()> {
    let by = Instant::now() + SETTLE;
    agent.part.start()?;
    // It answers only when it heeds signals.
    let answers = async {
        while ask_health(agent.address).await.is_err() {
            sleep(LOOK).await;
        }
    };
    let log = agent.part.log.display().to_string();
    tokio::select! {
        ended = agent.part.ended() => bail!("the agent that should end them {}; its log is {log}", ended?),
        // One that does not answer in time is stopped all the same.
        _ = timeout_at(by, answers) => {}
    }
    stop_all(&mut [&mut agent.part]).await;
    if agent.has_containers() {
        bail!("the agent did not end them; its log is {log}");
    }
    Ok(())
}

/// Waits for any answer. That the port takes connections means nothing: they wait there for whoever serves it next.
async fn ask_health(address: SocketAddr) -> std::io::Result<u8> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").await?;
    stream.read_u8().await
}

/// Asks all of these to stop at once, and waits for each.
async fn stop_all(parts: &mut [&mut Part]) {
    for part in parts.iter() {
        part.request_stop();
    }
    let by = Instant::now() + STOP;
    for part in parts {
        match part.stopped(by).await {
            Ok(true) => {}
            Ok(false) => {
                let (name, log) = (&part.name, part.log.display());
                say(format_args!("{name} did not stop in time and was killed; its log is {log}"));
            }
            Err(error) => say(format_args!("{error:#}")),
        }
    }
}
