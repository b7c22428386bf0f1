//! A master that does what the test says: it admits agents, remembers all it hears, and acknowledges if asked to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bourse_client::MESSAGE_BYTES_MAX;
use bourse_proto::agent_link as link;
use bourse_proto::agent_link::agent_link_server::{AgentLink, AgentLinkServer};
use bourse_proto::agent_link::{from_agent, to_agent};
use bourse_proto::v1;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// Clones share everything.
#[derive(Clone)]
pub struct Master {
    pub address: SocketAddr,
    script: Arc<Mutex<Script>>,
    /// Counts what was heard, so that waiting needs no polling.
    heard: watch::Sender<usize>,
}

struct Script {
    token: String,
    acknowledges: bool,
    known: Vec<link::KnownTask>,
    to_agent: Option<mpsc::UnboundedSender<Result<link::ToAgent, Status>>>,
    heard: Vec<from_agent::Message>,
    /// A registration whose last page has not come yet.
    partial: Option<link::Register>,
    epoch: u64,
    /// Said to an agent that registers, in place of admitting it.
    refusal: Option<to_agent::Message>,
    /// Links that are open.
    links: usize,
}

impl Master {
    pub async fn start(token: &str) -> Master {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let script = Script {
            token: token.to_owned(),
            acknowledges: true,
            known: vec![],
            to_agent: None,
            heard: vec![],
            partial: None,
            epoch: 1,
            refusal: None,
            links: 0,
        };
        let master = Master {
            address: listener.local_addr().expect("bound"),
            script: Arc::new(Mutex::new(script)),
            heard: watch::Sender::new(0),
        };
        let service = AgentLinkServer::new(master.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        tokio::spawn(
            Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)),
        );
        master
    }

    /// Whether updates are acknowledged as they come.
    pub fn acknowledges(&self, does: bool) {
        self.script().acknowledges = does;
    }

    /// The next registration is told that this runs here, and nothing else.
    pub fn believes_only_in(&self, framework: &str, tasks: &[&str]) {
        self.script().known.clear();
        tasks.iter().for_each(|task| self.believes_in(framework, task));
    }

    /// How many links are open: of one that is closed all was heard.
    pub fn links(&self) -> usize {
        self.script().links
    }

    /// What the next registration is told to run here.
    pub fn believes_in(&self, framework: &str, task: &str) {
        let known = link::KnownTask { framework_id: framework.into(), task_id: task.into() };
        self.script().known.push(known);
    }

    pub fn say(&self, message: to_agent::Message) {
        let script = self.script();
        let to_agent = script.to_agent.as_ref().expect("an agent has registered");
        let message = link::ToAgent { epoch: script.epoch, message: Some(message) };
        // An agent that is being killed by the test may be gone.
        let _ = to_agent.send(Ok(message));
    }

    /// Registrations are answered with this.
    pub fn refuses_from_now_on(&self, refusal: to_agent::Message) {
        self.script().refusal = Some(refusal);
    }

    /// Breaks the link.
    pub fn hang_up(&self) {
        self.script().to_agent = None;
    }

    pub fn heard(&self) -> Vec<from_agent::Message> {
        self.script().heard.clone()
    }

    /// How many messages were heard.
    pub fn heard_count(&self) -> usize {
        self.script().heard.len()
    }

    /// Whole ones: of several pages, what they add up to.
    pub fn registrations(&self) -> Vec<link::Register> {
        let registration = |message| match message {
            from_agent::Message::Register(register) => Some(register),
            _ => None,
        };
        self.heard().into_iter().filter_map(registration).collect()
    }

    /// The statuses of a task in the order in which they were first heard.
    pub fn statuses(&self, task: &str) -> Vec<v1::TaskStatus> {
        let mut found: Vec<v1::TaskStatus> = Vec::new();
        for message in self.heard() {
            let from_agent::Message::Update(update) = message else { continue };
            let status = update.status.expect("an update has a status");
            let ours = status.task_id.as_ref().and_then(|id| id.value.as_deref()) == Some(task);
            if ours && found.iter().all(|known| known.uuid != status.uuid) {
                found.push(status);
            }
        }
        found
    }

    pub fn states(&self, task: &str) -> Vec<v1::TaskState> {
        self.statuses(task).iter().map(v1::TaskStatus::state).collect()
    }

    /// A signal that goes off with each message.
    pub fn changes(&self) -> watch::Receiver<usize> {
        self.heard.subscribe()
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().expect("no test panics while it holds this")
    }

    fn hear(&self, message: from_agent::Message) -> Option<to_agent::Message> {
        let mut script = self.script();
        let message = match (message, script.partial.take()) {
            (from_agent::Message::RegisterPage(page), Some(mut whole)) => {
                whole.tasks.extend(page.tasks);
                whole.frameworks.extend(page.frameworks);
                whole.more = page.more;
                from_agent::Message::Register(whole)
            }
            (message, _) => message,
        };
        let message = match message {
            from_agent::Message::Register(register) if register.more => {
                script.partial = Some(register);
                return None;
            }
            message => message,
        };
        script.heard.push(message.clone());
        let count = script.heard.len();
        let answer = match message {
            from_agent::Message::Register(_) if script.refusal.is_some() => script.refusal.clone(),
            from_agent::Message::Register(register) => {
                Some(to_agent::Message::Registered(link::Registered {
                    agent_id: register.agent_id.unwrap_or_else(|| "m-S0".into()),
                    master_id: "m".into(),
                    heartbeat_interval: 1.0,
                    known_tasks: script.known.clone(),
                    reconnect_seconds: None,
                }))
            }
            from_agent::Message::Heartbeat(_) => Some(to_agent::Message::HeartbeatAck(link::HeartbeatAck {})),
            from_agent::Message::Update(update) if script.acknowledges => {
                let status = update.status.expect("an update has a status");
                Some(to_agent::Message::AcknowledgeUpdate(link::AcknowledgeUpdate {
                    framework_id: update.framework_id,
                    task_id: status.task_id.and_then(|id| id.value).expect("a status has a task"),
                    uuid: status.uuid.expect("an agent's update has a uuid"),
                }))
            }
            from_agent::Message::Update(_)
            | from_agent::Message::Usage(_)
            | from_agent::Message::TaskResized(_)
            | from_agent::Message::RegisterPage(_) => None,
        };
        drop(script);
        self.heard.send_replace(count);
        answer
    }
}

/// Counts a link as long as it is read.
struct Open(Master);

impl Open {
    fn of(master: &Master) -> Open {
        master.script().links += 1;
        Open(master.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.script().links -= 1;
        self.0.heard.send_modify(|_| {});
    }
}

#[tonic::async_trait]
impl AgentLink for Master {
    type LinkStream = UnboundedReceiverStream<Result<link::ToAgent, Status>>;

    async fn link(
        &self,
        request: Request<Streaming<link::FromAgent>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let shown =
            request.metadata().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("");
        if shown != format!("Bearer {}", self.script().token) {
            return Err(Status::unauthenticated("no such token"));
        }
        let mut inbound = request.into_inner();
        let (outbound, stream) = mpsc::unbounded_channel();
        self.script().to_agent = Some(outbound.clone());
        let (master, outbound) = (self.clone(), outbound.downgrade());
        let open = Open::of(self);
        tokio::spawn(async move {
            let _open = open;
            while let Ok(Some(message)) = inbound.message().await {
                let answer = master.hear(message.message.expect("an agent says something"));
                // Hung up: the only strong sender is the script's.
                let Some(outbound) = outbound.upgrade() else { return };
                if let Some(answer) = answer {
                    let epoch = master.script().epoch;
                    let _ = outbound.send(Ok(link::ToAgent { epoch, message: Some(answer) }));
                }
            }
        });
        Ok(Response::new(UnboundedReceiverStream::new(stream)))
    }
}
