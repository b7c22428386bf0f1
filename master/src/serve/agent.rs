//! The door for agents: one bidirectional stream each.
//!
//! **What is this room for?** Reading what agents say into events, and saying to them what the core decides.
//!
//! **What does it promise?** A heartbeat costs the driver nothing by itself: it is noted here, and once a second the
//! driver is told who was heard. What is no message at all, or too large, ends its link with a reason, and nobody
//! else's; the agent comes back and tells everything again. An update that makes no sense is passed over. A
//! registration of several pages is one event, once the last page is there. Links are read before that in [`turns`], so
//! that those who never register cost little, and nobody else's agent its place.
//!
//! **What does it leave to others?** Whether an agent may register, and what its updates mean: the core.

mod turns;

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bourse_master_core::{Event, LinkId, Registration, ToAgent};
use bourse_proto::agent_link as wire;
use bourse_proto::agent_link::agent_link_server::AgentLink;
use bourse_proto::agent_link::from_agent::Message as Said;
use bourse_types::{AgentId, Epoch};
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument as _, debug, info_span, warn};

use super::auth::{Caller, Kind};
use super::callback::Callbacks;
use super::limits;
use crate::driver::{Handle, Stopped};
use crate::metrics::Metrics;
use crate::sessions::LinkMessage;
use crate::usage::Usages;
use crate::wire::agent as read;

use turns::{Admission, Turn};

pub(super) use turns::Turns;

/// Messages that wait for the connection itself. What does not fit stays in the queue of the driver's sessions, which
/// has its own bound.
const OUTBOUND: usize = 16;

/// An agent that opens a link and does not say who it is within this time is cut off; so is one whose next page of the
/// registration does not come within it.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);

/// A whole registration comes within this time of its turn; an agent gives up by then, too.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// The driver is told of so many agents at a time, so that other events come in between.
const HEARD_AT_ONCE: usize = 4_096;

/// Who was heard since the driver was told last. Each link notes itself once a round, and all else that its agent says in
/// that costs a comparison of numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Rounds>);

#[derive(Debug, Default)]
struct Rounds {
    /// Rounds that are over.
    over: AtomicU64,
    /// A leaf lock, held for an insertion.
    agents: Mutex<Vec<AgentId>>,
}

impl Heard {
    /// `noted`: how many rounds were over when this link noted itself last. What is noted while a round ends counts for
    /// the next one.
    fn note(&self, agent: &AgentId, noted: &mut Option<u64>) {
        let round = self.0.over.load(Ordering::Relaxed);
        if noted.replace(round) != Some(round) {
            self.0.agents.lock().unwrap_or_else(PoisonError::into_inner).push(agent.clone());
        }
    }

    /// Ends the round. Each agent once, by id: it may have had two links.
    fn take(&self) -> Vec<AgentId> {
        let mut agents = {
            let mut noted = self.0.agents.lock().unwrap_or_else(PoisonError::into_inner);
            self.0.over.fetch_add(1, Ordering::Relaxed);
            std::mem::take(&mut *noted)
        };
        agents.sort_unstable();
        agents.dedup();
        agents
    }

    /// Tells the driver once a second who was heard, until it stops. Never waits for a full inbox longer than for the
    /// next second: what is noted meanwhile goes along.
    pub(super) async fn report(self, driver: Handle) {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            for agents in self.take().chunks(HEARD_AT_ONCE) {
                let agents = agents.to_vec();
                if driver.tell(Event::AgentsHeard { agents }).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The service.
#[derive(Clone)]
pub(super) struct AgentDoor {
    pub(super) driver: Handle,
    pub(super) epoch: Epoch,
    pub(super) heard: Heard,
    pub(super) turns: Turns,
    pub(super) usages: Usages,
    pub(super) callbacks: Callbacks,
    pub(super) metrics: Metrics,
}

#[tonic::async_trait]
impl AgentLink for AgentDoor {
    type LinkStream = Pin<Box<dyn Stream<Item = Result<wire::ToAgent, Status>> + Send>>;

    async fn link(
        &self,
        request: Request<Streaming<wire::FromAgent>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let caller = Caller::of(&request)?.must_be(&[Kind::Agent])?;
        let (outbound, stream) = mpsc::channel(OUTBOUND);
        let span = info_span!("serve", call = "link", principal = %caller.principal);
        let admission = self.turns.admit(&caller.principal)?;
        let link = Link { door: self.clone(), caller, admission, outbound };
        tokio::spawn(link.run(request.into_inner()).instrument(span));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// One link of one agent.
struct Link {
    door: AgentDoor,
    caller: Caller,
    /// Its place among its principal's links.
    admission: Admission,
    outbound: mpsc::Sender<Result<wire::ToAgent, Status>>,
}

impl Link {
    async fn run(self, mut inbound: Streaming<wire::FromAgent>) {
        let _open = self.door.metrics.linked();
        if let Err(status) = self.serve(&mut inbound).await {
            debug!(code = ?status.code(), message = status.message(), "a link ends");
            // The agent may be gone, or may not read: then there is nobody to tell.
            let _ = self.outbound.try_send(Err(status));
        }
    }

    async fn serve(&self, inbound: &mut Streaming<wire::FromAgent>) -> Result<(), Status> {
        let (link, commands) = self.register(inbound).await?;
        // The id is known when the core has answered; until then nothing else that the agent says has a meaning.
        let (registered, agent) = watch::channel(None);
        let result = tokio::select! {
            result = self.speak(commands, registered) => result,
            result = self.listen(inbound, link, agent) => result,
        };
        // Every opened link is closed once, whatever ended it.
        let _ = self.door.driver.close_link(link).await;
        result
    }

    /// Reads the registration in its turn, and hands it over. The turn lasts until the driver has it: what waits for a
    /// driver that has much to do is held as well.
    async fn register(
        &self,
        inbound: &mut Streaming<wire::FromAgent>,
    ) -> Result<(LinkId, mpsc::Receiver<LinkMessage>), Status> {
        let mut turn = tokio::select! {
            turn = self.admission.turn() => turn?,
            () = self.outbound.closed() => return Err(Status::cancelled("the agent has left")),
        };
        let whole = self.registration(inbound, &mut turn);
        let whole = tokio::time::timeout(REGISTRATION_TIMEOUT, whole).await.map_err(|_| {
            let seconds = REGISTRATION_TIMEOUT.as_secs();
            Status::deadline_exceeded(format!("the registration was not complete within {seconds} s"))
        })??;
        let said = read::read_register(whole).map_err(|why| Status::invalid_argument(why.to_string()))?;
        let registration = Registration { principal: Some(self.caller.principal.clone()), ..said };
        self.door.driver.open_link(registration).await.map_err(super::stopping)
    }

    /// The whole registration, however many messages it takes. What comes of a part of it alone would be wrong: tasks
    /// that are on a later page would look lost.
    async fn registration(
        &self,
        inbound: &mut Streaming<wire::FromAgent>,
        turn: &mut Turn<'_>,
    ) -> Result<wire::Register, Status> {
        let Some(Said::Register(mut whole)) = soon(inbound, "the first message, Register,").await? else {
            return Err(Status::invalid_argument("the first message of a link must be Register"));
        };
        turn.holds(turns::weight_of_register(&whole)).await?;
        while whole.more {
            let Some(Said::RegisterPage(page)) = soon(inbound, "the next page of the registration").await?
            else {
                return Err(Status::invalid_argument(
                    "a Register or RegisterPage that says `more` must be followed by a RegisterPage",
                ));
            };
            turn.holds(turns::weight_of_page(&page)).await?;
            whole.tasks.extend(page.tasks);
            whole.frameworks.extend(page.frameworks);
            whole.more = page.more;
        }
        Ok(whole)
    }

    /// Says what the core decides, until the core or the connection ends the link.
    async fn speak(
        &self,
        mut commands: mpsc::Receiver<LinkMessage>,
        registered: watch::Sender<Option<AgentId>>,
    ) -> Result<(), Status> {
        while let Some(message) = commands.recv().await {
            let message = match message {
                LinkMessage::Say(message) => {
                    if let ToAgent::Registered { agent, .. } = &message {
                        self.door.callbacks.agent(agent, &self.caller);
                        registered.send_replace(Some(agent.clone()));
                    }
                    read::write(self.door.epoch, message)
                }
                LinkMessage::Refuse(refused) => wire::ToAgent {
                    epoch: self.door.epoch.0,
                    message: Some(wire::to_agent::Message::Refused(wire::Refused {
                        reason: refused.reason.to_owned(),
                        message: refused.message,
                        shut_down: refused.shut_down,
                    })),
                },
            };
            if self.outbound.send(Ok(message)).await.is_err() {
                return Ok(());
            }
        }
        if self.door.driver.is_stopped() {
            return Err(super::stopping(Stopped));
        }
        Err(Status::aborted(
            "the master ended this link: a newer one replaced it, it was refused, or it was not read",
        ))
    }

    /// Tells the driver what the agent says, until the agent ends the link.
    async fn listen(
        &self,
        inbound: &mut Streaming<wire::FromAgent>,
        link: LinkId,
        agent: watch::Receiver<Option<AgentId>>,
    ) -> Result<(), Status> {
        let mut noted = None;
        while let Some(message) = inbound.message().await.map_err(limits::plainer)? {
            let Some(agent) = agent.borrow().clone() else {
                return Err(Status::failed_precondition("the answer to Register has to be awaited"));
            };
            self.door.heard.note(&agent, &mut noted);
            match message.message {
                Some(Said::Heartbeat(wire::Heartbeat {})) => {
                    let answer = wire::to_agent::Message::HeartbeatAck(wire::HeartbeatAck {});
                    let answer = wire::ToAgent { epoch: self.door.epoch.0, message: Some(answer) };
                    if self.outbound.send(Ok(answer)).await.is_err() {
                        return Ok(());
                    }
                }
                Some(Said::Update(update)) => match read::read_update(&update) {
                    Ok(update) => {
                        let update = Box::new(update);
                        let event = Event::StatusUpdate { agent, link, update };
                        self.door.driver.tell(event).await.map_err(super::stopping)?;
                    }
                    // Ending the link would not help: the agent would come back and send it again, before the updates
                    // of its other tasks. Unacknowledged, it is sent again ever more rarely.
                    Err(why) => {
                        warn!(agent_id = %agent, %why, "an update that cannot be read is passed over")
                    }
                },
                Some(Said::TaskResized(resized)) => match read::read_resized(&resized) {
                    Ok(resized) => {
                        let event = Event::TaskResized { agent, link, resized: Box::new(resized) };
                        self.door.driver.tell(event).await.map_err(super::stopping)?;
                    }
                    // It counts for both sizes until the agent registers again, and tells what it has.
                    Err(why) => {
                        warn!(agent_id = %agent, %why, "an answer to a resize that cannot be read is passed over")
                    }
                },
                Some(Said::Usage(usage)) => self.door.usages.note(&agent, &usage),
                Some(Said::Register(_) | Said::RegisterPage(_)) => {
                    return Err(Status::failed_precondition(
                        "this link is registered; open a new one to register again",
                    ));
                }
                // A newer agent's: the stream goes on.
                None => debug!(agent_id = %agent, "an agent said what this build does not know"),
            }
        }
        Ok(())
    }
}

/// The next part of a registration; a link whose agent dawdles is cut off.
async fn soon(inbound: &mut Streaming<wire::FromAgent>, what: &str) -> Result<Option<Said>, Status> {
    let next = tokio::time::timeout(REGISTER_TIMEOUT, inbound.message()).await.map_err(|_| {
        Status::deadline_exceeded(format!("{what} did not come within {} s", REGISTER_TIMEOUT.as_secs()))
    })?;
    Ok(next.map_err(limits::plainer)?.and_then(|message| message.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_agent_is_told_once_a_round_however_often_and_by_however_many_links_it_was_heard() {
        let id = |text: &str| AgentId::new(text).expect("an id");
        let heard = Heard::default();
        let (mut first, mut newer, mut other) = (None, None, None);
        for _ in 0..3 {
            for _ in 0..10 {
                heard.note(&id("m-S1"), &mut first);
                heard.note(&id("m-S0"), &mut other);
                heard.note(&id("m-S1"), &mut newer);
            }
            assert_eq!(heard.take(), [id("m-S0"), id("m-S1")]);
        }
        assert!(heard.take().is_empty());
        heard.note(&id("m-S1"), &mut first);
        assert_eq!(heard.take(), [id("m-S1")]);
    }
}
