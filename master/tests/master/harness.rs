//! A real master on a free port, and agents and schedulers that the test plays itself over real connections.

use std::path::PathBuf;
use std::time::Duration;

use bourse_client::token::{Token, TokenSource};
use bourse_client::{Connection, Settings, Target};
use bourse_master::history::MemoryHistory;
use bourse_master::registry::MemoryRegistry;
use bourse_master::{Config, Master, MasterArgs, MasterError, Stores};
use bourse_proto::agent_link as link;
use bourse_proto::agent_link::agent_link_client::AgentLinkClient;
use bourse_proto::agent_link::from_agent::Message as Said;
use bourse_proto::agent_link::to_agent::Message as Told;
use bourse_proto::v1::scheduler::call::Type;
use bourse_proto::v1::scheduler::{self, Event, event};
use bourse_proto::v1::{self, carrier};
use bourse_types::{AgentCapability, Resources, Role, TaskState, Wall};
use bourse_wire::Form;
use bytes::Bytes;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

pub const OPERATOR: &str = "operator-token-0000";
pub const AGENT: &str = "agent-token-00000000";
pub const OTHER_AGENT: &str = "other-agent-token-00";
pub const FRAMEWORK: &str = "framework-token-0000";
pub const OTHER_FRAMEWORK: &str = "other-framework-token";

/// Everything that a test waits for comes within this time, or never.
pub const SOON: Duration = Duration::from_secs(20);

/// A master with the stores that outlive it.
pub struct Cluster {
    pub registry: MemoryRegistry,
    pub history: MemoryHistory,
    pub config: Config,
    _dir: tempfile::TempDir,
    running: Option<Running>,
}

struct Running {
    target: Target,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), MasterError>>,
}

impl Cluster {
    pub async fn start() -> Cluster {
        Cluster::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Cluster {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tokens = dir.path().join("tokens.toml");
        let entry = |principal, token, kind| {
            format!("[[token]]\nprincipal = \"{principal}\"\ntoken = \"{token}\"\nkind = \"{kind}\"\n")
        };
        let text = entry("ops", OPERATOR, "operator")
            + &entry("agents", AGENT, "agent")
            + &entry("others", OTHER_AGENT, "agent")
            + &entry("batch", FRAMEWORK, "framework")
            + &entry("rival", OTHER_FRAMEWORK, "framework");
        std::fs::write(&tokens, text).expect("writing the tokens");
        let args = MasterArgs {
            listen: Some("127.0.0.1:0".to_owned()),
            work_dir: Some(dir.path().display().to_string()),
            ..MasterArgs::default()
        };
        let mut config = args.resolve_with(&|_| None).config.expect("valid settings");
        change(&mut config);
        let mut cluster = Cluster {
            registry: MemoryRegistry::new(),
            history: MemoryHistory::new(),
            config,
            _dir: dir,
            running: None,
        };
        cluster.up().await;
        cluster
    }

    async fn up(&mut self) {
        let stores =
            Stores { registry: Box::new(self.registry.clone()), history: Box::new(self.history.clone()) };
        let master = Master::start(self.config.clone(), stores, None).await.expect("the master starts");
        let target = Target::loopback(master.address().port());
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(master.run(async { drop(stopped.await) }));
        self.running = Some(Running { target, stop, ended });
    }

    /// The master is gone in the middle of whatever it does, and another one starts from what was kept.
    pub async fn kill_and_restart(&mut self) {
        let running = self.running.take().expect("it runs");
        running.ended.abort();
        let _ = running.ended.await;
        self.up().await;
    }

    pub async fn stop(&mut self) -> Result<(), MasterError> {
        let running = self.running.take().expect("it runs");
        drop(running.stop);
        within(running.ended).await.expect("no panic")
    }

    /// Waits until the master ends by itself.
    pub async fn ended(&mut self) -> Result<(), MasterError> {
        let running = self.running.take().expect("it runs");
        within(running.ended).await.expect("no panic")
    }

    pub fn target(&self) -> Target {
        self.running.as_ref().expect("it runs").target.clone()
    }

    pub fn work_dir(&self) -> PathBuf {
        self.config.work_dir.clone()
    }

    pub async fn connect(&self, token: &str) -> Connection {
        let token = TokenSource::Text(Token::new(token).expect("a token"));
        Connection::open(&Settings::master(self.target()).with_token(token))
            .await
            .expect("the master answers")
    }

    /// An agent that registers for the first time with these resources.
    pub async fn agent(&self, hostname: &str, resources: &str) -> FakeAgent {
        FakeAgent::register(self, registration(hostname, resources)).await.expect("the agent is admitted")
    }

    /// A scheduler with safe defaults that takes offers for role `*`.
    pub async fn scheduler(&self, name: &str) -> FakeScheduler {
        FakeScheduler::subscribe(self, FRAMEWORK, framework_info(name))
            .await
            .expect("the framework is admitted")
    }
}

/// The answer, or a failed test.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("this takes too long")
}

/// Asks until the answer is what is waited for.
pub async fn eventually<T, F: Future<Output = Option<T>>>(mut ask: impl FnMut() -> F) -> T {
    within(async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

pub fn resources(text: &str) -> Resources {
    text.parse().expect("resources")
}

pub fn registration(hostname: &str, text: &str) -> link::Register {
    link::Register {
        info: Some(v1::AgentInfo {
            hostname: Some(hostname.to_owned()),
            port: Some(i32::from(port_of(hostname))),
            resources: bourse_wire::resources::write(&resources(text), Form::Refined),
            ..v1::AgentInfo::default()
        }),
        address: format!("127.0.0.1:{}", port_of(hostname)),
        version: "0.0.0".to_owned(),
        capabilities: bourse_wire::agent::write_capabilities(&AgentCapability::all()),
        ..link::Register::default()
    }
}

/// Where the agent of that host says its API is. Each has its own: two agents at one address would be one that lost its
/// work directory, and the older one would be removed.
pub fn port_of(hostname: &str) -> u16 {
    hostname.bytes().fold(10_000u32, |port, byte| (port * 31 + u32::from(byte)) % 50_000 + 10_000) as u16
}

pub fn framework_info(name: &str) -> v1::FrameworkInfo {
    use v1::framework_info::Capability;
    use v1::framework_info::capability::Type;
    let capabilities =
        [Type::PartitionAware, Type::TaskKillingState, Type::MultiRole, Type::ReservationRefinement];
    v1::FrameworkInfo {
        user: Some("nobody".to_owned()),
        name: Some(name.to_owned()),
        roles: vec!["*".to_owned()],
        checkpoint: Some(true),
        failover_timeout: Some(3600.0),
        capabilities: capabilities.map(|kind| Capability { r#type: Some(kind as i32) }).to_vec(),
        ..v1::FrameworkInfo::default()
    }
}

/// An agent that the test plays.
pub struct FakeAgent {
    pub id: String,
    pub epoch: u64,
    pub registered: link::Registered,
    say: mpsc::Sender<link::FromAgent>,
    hear: Streaming<link::ToAgent>,
}

impl FakeAgent {
    pub async fn register(cluster: &Cluster, register: link::Register) -> Result<FakeAgent, Status> {
        FakeAgent::register_by(cluster, AGENT, register).await
    }

    /// Registers with this token. What the core has against it is an error with the words of the refusal.
    pub async fn register_by(
        cluster: &Cluster,
        token: &str,
        register: link::Register,
    ) -> Result<FakeAgent, Status> {
        let (say, mut hear) = open_link(cluster, token).await?;
        say.send(link::FromAgent { message: Some(Said::Register(register)) })
            .await
            .expect("the link is open");
        let link::ToAgent { epoch, message } = within(hear.message()).await?.expect("an answer");
        match message {
            Some(Told::Registered(registered)) => {
                Ok(FakeAgent { id: registered.agent_id.clone(), epoch, registered, say, hear })
            }
            Some(Told::Refused(refused)) => Err(Status::failed_precondition(refused.message)),
            other => panic!("the first answer is {other:?}"),
        }
    }

    /// The next message that is not the answer to a heartbeat.
    pub async fn hear(&mut self) -> Option<Told> {
        within(async {
            loop {
                match self.hear.message().await.ok().flatten()?.message {
                    Some(Told::HeartbeatAck(_)) => {}
                    message => return message,
                }
            }
        })
        .await
    }

    /// The next answer to a heartbeat; what else comes before it is dropped.
    pub async fn heartbeat_ack(&mut self) {
        within(async {
            loop {
                let heard = self.hear.message().await.expect("the link holds").expect("an answer");
                if let Some(Told::HeartbeatAck(_)) = heard.message {
                    return;
                }
            }
        })
        .await
    }

    /// How the link ends.
    pub async fn end(&mut self) -> Option<Status> {
        within(async {
            loop {
                match self.hear.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(status) => return Some(status),
                }
            }
        })
        .await
    }

    pub async fn run_task(&mut self) -> link::RunTask {
        match self.hear().await {
            Some(Told::RunTask(run)) => run,
            other => panic!("instead of a task came {other:?}"),
        }
    }

    pub async fn say(&self, message: Said) {
        self.say.send(link::FromAgent { message: Some(message) }).await.expect("the link is open");
    }

    /// Says what became of a task, and gives the update's uuid.
    pub async fn update(&self, framework: &str, task: &str, state: TaskState) -> Bytes {
        let status = self.status(task, state);
        let uuid = status.uuid.clone().expect("it was set");
        let latest = Some(status.clone());
        let update = link::StatusUpdate { framework_id: framework.to_owned(), status: Some(status), latest };
        self.say(Said::Update(update)).await;
        uuid
    }

    pub fn status(&self, task: &str, state: TaskState) -> v1::TaskStatus {
        let uuid = uuid::Uuid::new_v4().as_bytes().to_vec().into();
        v1::TaskStatus {
            task_id: Some(task_id(task)),
            state: Some(bourse_wire::status::write_state(state) as i32),
            source: Some(v1::task_status::Source::Executor as i32),
            agent_id: Some(v1::AgentId { value: Some(self.id.clone()) }),
            timestamp: Some(Wall(1_700_000_000_000).as_secs_f64()),
            uuid: Some(uuid),
            ..v1::TaskStatus::default()
        }
    }
}

pub async fn open_link(
    cluster: &Cluster,
    token: &str,
) -> Result<(mpsc::Sender<link::FromAgent>, Streaming<link::ToAgent>), Status> {
    let (say, said) = mpsc::channel(64);
    let connection = cluster.connect(token).await;
    // Without our own client's limits: it is the master's that are tried.
    let mut client = AgentLinkClient::new(connection.service());
    let answer = within(client.link(ReceiverStream::new(said))).await?;
    Ok((say, answer.into_inner()))
}

/// A scheduler that the test plays.
pub struct FakeScheduler {
    pub framework: String,
    pub stream_id: String,
    pub connection: Connection,
    events: Streaming<Event>,
}

impl FakeScheduler {
    /// Subscribes and waits for SUBSCRIBED. What the core has against it is an error with the text of the ERROR event.
    pub async fn subscribe(
        cluster: &Cluster,
        token: &str,
        info: v1::FrameworkInfo,
    ) -> Result<FakeScheduler, Status> {
        FakeScheduler::subscribe_by(cluster.connect(token).await, info).await
    }

    /// As [`FakeScheduler::subscribe`], by a connection that others may use too.
    pub async fn subscribe_by(
        connection: Connection,
        info: v1::FrameworkInfo,
    ) -> Result<FakeScheduler, Status> {
        let framework_id = info.id.clone();
        let subscribe = carrier::Subscribe { framework_info: Some(info), ..Default::default() };
        let call = carrier::Call {
            framework_id,
            r#type: Some(Type::Subscribe as i32),
            subscribe: Some(subscribe),
            ..Default::default()
        };
        let answer = within(connection.scheduler().subscribe(call)).await?;
        let stream_id =
            answer.metadata().get("bourse-stream-id").expect("a stream id").to_str().expect("ASCII");
        let stream_id = stream_id.to_owned();
        let mut scheduler =
            FakeScheduler { framework: String::new(), stream_id, connection, events: answer.into_inner() };
        let first = scheduler.hear().await.expect("an event");
        if let Some(event::Error { message }) = first.error {
            return Err(Status::failed_precondition(message.unwrap_or_default()));
        }
        let subscribed = first.subscribed.expect("SUBSCRIBED comes first");
        scheduler.framework = subscribed.framework_id.and_then(|id| id.value).expect("an id");
        Ok(scheduler)
    }

    /// The next event that is not a heartbeat. `None`: the subscription has ended.
    pub async fn hear(&mut self) -> Option<Event> {
        within(async {
            loop {
                let event = self.events.message().await.ok().flatten()?;
                if event.r#type != Some(event::Type::Heartbeat as i32) {
                    return Some(event);
                }
            }
        })
        .await
    }

    /// How the subscription ends.
    pub async fn end(&mut self) -> Option<Status> {
        within(async {
            loop {
                match self.events.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(status) => return Some(status),
                }
            }
        })
        .await
    }

    /// The next offers; what else comes before them is dropped.
    pub async fn offers(&mut self) -> Vec<v1::Offer> {
        loop {
            if let Some(offers) = self.hear().await.expect("the subscription holds").offers {
                return offers.offers;
            }
        }
    }

    pub async fn offer(&mut self) -> v1::Offer {
        self.offers().await.remove(0)
    }

    /// The next update; what else comes before it is dropped.
    pub async fn update(&mut self) -> v1::TaskStatus {
        loop {
            if let Some(update) = self.hear().await.expect("the subscription holds").update {
                return update.status.expect("a status");
            }
        }
    }

    /// The next update of this task; what else comes before it is dropped.
    pub async fn update_of(&mut self, task: &str) -> v1::TaskStatus {
        loop {
            let status = self.update().await;
            if status.task_id == Some(task_id(task)) {
                return status;
            }
        }
    }

    pub async fn call(&self, call: carrier::Call) -> Result<(), Status> {
        self.call_as(&self.connection, call).await
    }

    pub async fn call_as(&self, connection: &Connection, call: carrier::Call) -> Result<(), Status> {
        let mut request = Request::new(call);
        request.metadata_mut().insert("bourse-stream-id", self.stream_id.parse().expect("ASCII"));
        within(connection.scheduler().call(request)).await.map(|_| ())
    }

    pub fn blank(&self, kind: Type) -> carrier::Call {
        carrier::Call {
            framework_id: Some(framework_id(&self.framework)),
            r#type: Some(kind as i32),
            ..carrier::Call::default()
        }
    }

    pub fn accept(&self, offers: &[&v1::Offer], tasks: Vec<Bytes>) -> carrier::Call {
        let operation = carrier::Operation {
            r#type: Some(v1::offer::operation::Type::Launch as i32),
            launch: Some(carrier::Launch { task_infos: tasks }),
            ..carrier::Operation::default()
        };
        let accept = carrier::Accept {
            offer_ids: offers.iter().filter_map(|offer| offer.id.clone()).collect(),
            operations: vec![operation.encode_to_vec().into()],
            // No filter to wait for.
            filters: Some(v1::Filters { refuse_seconds: Some(0.0) }),
        };
        carrier::Call { accept: Some(accept), ..self.blank(Type::Accept) }
    }

    pub async fn launch(&self, offer: &v1::Offer, task: &v1::TaskInfo) -> Result<(), Status> {
        self.call(self.accept(&[offer], vec![task.encode_to_vec().into()])).await
    }

    pub async fn acknowledge(&self, status: &v1::TaskStatus) -> Result<(), Status> {
        let acknowledge = scheduler::call::Acknowledge {
            agent_id: status.agent_id.clone(),
            task_id: status.task_id.clone(),
            uuid: status.uuid.clone(),
        };
        self.call(carrier::Call { acknowledge: Some(acknowledge), ..self.blank(Type::Acknowledge) }).await
    }
}

pub fn framework_id(id: &str) -> v1::FrameworkId {
    v1::FrameworkId { value: Some(id.to_owned()) }
}

pub fn task_id(id: &str) -> v1::TaskId {
    v1::TaskId { value: Some(id.to_owned()) }
}

/// A task that fits the offer.
pub fn task(offer: &v1::Offer, id: &str, amounts: &str) -> v1::TaskInfo {
    let mut amounts = bourse_wire::resources::write(&resources(amounts), Form::Refined);
    bourse_wire::resources::allocate(&mut amounts, &Role::any());
    v1::TaskInfo {
        name: Some(id.to_owned()),
        task_id: Some(task_id(id)),
        agent_id: offer.agent_id.clone(),
        resources: amounts,
        command: Some(v1::CommandInfo { value: Some("true".to_owned()), ..v1::CommandInfo::default() }),
        ..v1::TaskInfo::default()
    }
}

pub fn state(status: &v1::TaskStatus) -> &'static str {
    bourse_wire::status::read_state(status.state.expect("a state")).expect("a known state").as_str()
}
