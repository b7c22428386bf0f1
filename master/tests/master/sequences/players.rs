//! Schedulers and agents that send whatever bytes they are given, in any order, and keep what they hear.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bourse_client::Connection;
use bourse_hostile::Damages;
use bourse_proto::agent_link as link;
use bourse_proto::agent_link::from_agent::Message as Said;
use bourse_proto::agent_link::to_agent::Message as Told;
use bourse_proto::v1::scheduler::Event;
use bourse_proto::v1::scheduler::call::Type;
use bourse_proto::v1::{self, carrier};
use bourse_types::{TaskState, Wall};
use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use super::answered;
use crate::harness::*;
use crate::hostile::Raw;

const SUBSCRIBE: &str = "/bourse.v1.scheduler.Scheduler/Subscribe";
const CALL: &str = "/bourse.v1.scheduler.Scheduler/Call";
const LINK: &str = "/bourse.agent.v1.AgentLink/Link";

/// How long a scheduler waits for an offer before it calls without one: some pauses between two passes. Whether one comes
/// is not what is tested, but the more there are, the more is launched.
const A_WHILE: Duration = Duration::from_millis(60);

/// The message, with what is wrong with it.
fn bytes(message: &impl Message, harm: Option<&Damages>) -> Bytes {
    let whole = message.encode_to_vec();
    match harm {
        Some(harm) => harm.apply(whole),
        None => whole,
    }
    .into()
}

/// Reads on until it is dropped; the other end sees that it is gone.
struct Reading(JoinHandle<()>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn read<H: Send + 'static>(
    mut stream: Streaming<Bytes>,
    heard: &Arc<Mutex<H>>,
    take: impl Fn(&mut H, Option<Bytes>) + Send + 'static,
) -> Reading {
    let heard = heard.clone();
    Reading(tokio::spawn(async move {
        loop {
            let next = stream.message().await.ok().flatten();
            let ended = next.is_none();
            take(&mut heard.lock().expect("no panic"), next);
            if ended {
                return;
            }
        }
    }))
}

/// What a scheduler heard by one subscription.
#[derive(Default)]
struct Heard {
    /// Its id, once it is admitted.
    framework: Option<String>,
    offers: Vec<v1::Offer>,
    statuses: Vec<v1::TaskStatus>,
    ended: bool,
}

impl Heard {
    fn take(&mut self, event: Option<Bytes>) {
        let Some(event) = event else {
            self.ended = true;
            return;
        };
        let event = Event::decode(event).expect("the master says what can be read");
        if let Some(subscribed) = event.subscribed {
            self.framework = subscribed.framework_id.and_then(|id| id.value);
        }
        self.offers.extend(event.offers.into_iter().flat_map(|offers| offers.offers));
        self.statuses.extend(event.update.and_then(|update| update.status));
    }
}

/// One principal with one framework at a time.
pub struct Scheduler {
    name: String,
    token: &'static str,
    pub connection: Connection,
    framework: String,
    pub stream_id: String,
    /// Offers that it has answered.
    taken: usize,
    heard: Arc<Mutex<Heard>>,
    reading: Option<Reading>,
}

impl Scheduler {
    pub async fn new(cluster: &Cluster, name: String, token: &'static str) -> Scheduler {
        Scheduler {
            name,
            token,
            connection: cluster.connect(token).await,
            framework: String::new(),
            stream_id: "none".to_owned(),
            taken: 0,
            heard: Arc::default(),
            reading: None,
        }
    }

    /// Its connection is gone with the master. It still knows the subscription that it had.
    pub async fn reconnect(&mut self, cluster: &Cluster) {
        self.framework();
        self.hang_up();
        self.connection = cluster.connect(self.token).await;
    }

    pub fn hang_up(&mut self) {
        self.reading = None;
    }

    /// The id of its framework; empty before it has one.
    pub fn framework(&mut self) -> String {
        if let Some(framework) = &self.heard.lock().expect("no panic").framework {
            self.framework.clone_from(framework);
        }
        self.framework.clone()
    }

    /// With its id where it has one, or as a new framework.
    pub async fn subscribe(&mut self, again: bool, harm: Option<&Damages>) {
        let framework = self.framework();
        let id = Some(framework_id(&framework)).filter(|_| again && !framework.is_empty());
        let info = v1::FrameworkInfo { id: id.clone(), ..framework_info(&self.name) };
        let subscribe = carrier::Subscribe { framework_info: Some(info), ..Default::default() };
        let call = carrier::Call {
            framework_id: id,
            r#type: Some(Type::Subscribe as i32),
            subscribe: Some(subscribe),
            ..Default::default()
        };
        let mut client = tonic::client::Grpc::new(self.connection.service());
        within(client.ready()).await.expect("the connection holds");
        let path = SUBSCRIBE.parse().expect("a path");
        let answer = within(client.server_streaming(Request::new(bytes(&call, harm)), path, Raw)).await;
        let Some(answer) = answered(answer) else { return };
        let id = answer.metadata().get("bourse-stream-id").expect("a stream id");
        self.stream_id = id.to_str().expect("ASCII").to_owned();
        (self.heard, self.taken) = (Arc::default(), 0);
        self.reading = Some(read(answer.into_inner(), &self.heard, Heard::take));
        if harm.is_none() {
            let heard = self.heard.clone();
            let admitted = eventually(|| async {
                let heard = heard.lock().expect("no panic");
                (heard.framework.is_some() || heard.ended).then_some(heard.framework.is_some())
            });
            // One that was torn down begins anew the next time.
            if !admitted.await {
                self.framework.clear();
            }
        }
    }

    pub async fn call(&self, stream_id: &str, call: &carrier::Call, harm: Option<&Damages>) {
        let mut client = tonic::client::Grpc::new(self.connection.service());
        within(client.ready()).await.expect("the connection holds");
        let mut request = Request::new(bytes(call, harm));
        request.metadata_mut().insert("bourse-stream-id", stream_id.parse().expect("ASCII"));
        let path = CALL.parse().expect("a path");
        let answer: Result<_, Status> = within(client.unary(request, path, Raw)).await;
        answered(answer);
    }

    /// The first offer that it has not answered.
    pub async fn next_offer(&mut self) -> Option<v1::Offer> {
        let (heard, taken) = (self.heard.clone(), self.taken);
        let coming = async {
            loop {
                if let Some(offer) = heard.lock().expect("no panic").offers.get(taken).cloned() {
                    return offer;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let offer = tokio::time::timeout(A_WHILE, coming).await.ok()?;
        self.taken += 1;
        Some(offer)
    }

    /// Every offer of its subscription, answered or not.
    pub fn offers(&self) -> Vec<v1::Offer> {
        self.heard.lock().expect("no panic").offers.clone()
    }

    pub fn statuses(&self) -> Vec<v1::TaskStatus> {
        self.heard.lock().expect("no panic").statuses.clone()
    }
}

/// What an agent heard by one link.
#[derive(Default)]
struct Orders {
    /// Its id and the epoch, once it is admitted.
    registered: Option<(String, u64)>,
    runs: Vec<link::RunTask>,
    ended: bool,
}

impl Orders {
    fn take(&mut self, order: Option<Bytes>) {
        let Some(order) = order else {
            self.ended = true;
            return;
        };
        let link::ToAgent { epoch, message } =
            link::ToAgent::decode(order).expect("the master says what can be read");
        match message {
            Some(Told::Registered(registered)) => self.registered = Some((registered.agent_id, epoch)),
            Some(Told::RunTask(run)) => self.runs.push(run),
            _ => {}
        }
    }
}

/// A task as its agent has it.
struct Known {
    run: link::RunTask,
    latest: v1::TaskStatus,
}

/// One machine. It remembers its tasks from one link to the next.
pub struct Agent {
    host: &'static str,
    id: Option<String>,
    epoch: u64,
    /// By framework and task.
    tasks: BTreeMap<(String, String), Known>,
    say: Option<mpsc::Sender<Bytes>>,
    heard: Arc<Mutex<Orders>>,
    reading: Option<Reading>,
}

impl Agent {
    pub fn new(host: &'static str) -> Agent {
        Agent {
            host,
            id: None,
            epoch: 0,
            tasks: BTreeMap::new(),
            say: None,
            heard: Arc::default(),
            reading: None,
        }
    }

    /// Takes over what was heard.
    fn listen(&mut self) {
        let orders = std::mem::take(&mut self.heard.lock().expect("no panic").runs);
        if let Some((id, epoch)) = &self.heard.lock().expect("no panic").registered {
            (self.id, self.epoch) = (Some(id.clone()), *epoch);
        }
        for run in orders {
            let info = v1::TaskInfo::decode(run.task_info.clone()).expect("the master has read it");
            let task = info.task_id.and_then(|id| id.value).unwrap_or_default();
            let framework = run.framework.as_ref().and_then(|info| info.id.as_ref()?.value.clone());
            let latest = self.status(&task, TaskState::Staging);
            let key = (framework.unwrap_or_default(), task);
            // A repeat is of a task that is known.
            self.tasks.entry(key).or_insert(Known { run, latest });
        }
    }

    fn status(&self, task: &str, state: TaskState) -> v1::TaskStatus {
        v1::TaskStatus {
            task_id: Some(task_id(task)),
            state: Some(bourse_wire::status::write_state(state) as i32),
            source: Some(v1::task_status::Source::Executor as i32),
            agent_id: self.id.clone().map(|id| v1::AgentId { value: Some(id) }),
            timestamp: Some(Wall(1_700_000_000_000).as_secs_f64()),
            uuid: Some(uuid::Uuid::new_v4().as_bytes().to_vec().into()),
            ..v1::TaskStatus::default()
        }
    }

    /// The link is gone.
    pub fn hang_up(&mut self) {
        self.listen();
        (self.say, self.reading) = (None, None);
    }

    /// Opens a link and registers: as who it was with all that it knows, or as if its work directory were lost. `more`:
    /// it promises another page.
    pub async fn register(&mut self, cluster: &Cluster, as_before: bool, more: bool, harm: Option<&Damages>) {
        self.hang_up();
        if !as_before {
            (self.id, self.epoch) = (None, 0);
            self.tasks.clear();
        }
        let report = |((framework, _), known): (&(String, String), &Known)| link::TaskReport {
            framework_id: framework.clone(),
            task_info: known.run.task_info.clone(),
            role: known.run.role.clone(),
            resources: known.run.resources.clone(),
            latest: Some(known.latest.clone()),
            ..Default::default()
        };
        let mut frameworks = BTreeMap::new();
        for ((framework, _), known) in &self.tasks {
            frameworks.extend(known.run.framework.clone().map(|info| (framework.clone(), info)));
        }
        let register = link::Register {
            agent_id: self.id.clone(),
            tasks: self.tasks.iter().map(report).collect(),
            frameworks: frameworks.into_values().collect(),
            epoch: self.epoch,
            more,
            ..registration(self.host, "cpus:4; mem:1024")
        };
        let (say, said) = mpsc::channel(64);
        let connection = cluster.connect(AGENT).await;
        let mut client = tonic::client::Grpc::new(connection.service());
        within(client.ready()).await.expect("the connection holds");
        let path = LINK.parse().expect("a path");
        let opened = client.streaming(Request::new(ReceiverStream::new(said)), path, Raw);
        let stream: Streaming<Bytes> = within(opened).await.expect("opened").into_inner();
        self.heard = Arc::default();
        self.reading = Some(read(stream, &self.heard, Orders::take));
        self.say = Some(say);
        self.say(Said::Register(register), harm).await;
        if harm.is_none() && !more {
            let heard = self.heard.clone();
            eventually(|| async {
                let heard = heard.lock().expect("no panic");
                (heard.registered.is_some() || heard.ended).then_some(())
            })
            .await;
            // One that was marked gone joins as another.
            if self.heard.lock().expect("no panic").registered.is_none() {
                (self.id, self.epoch) = (None, 0);
                self.tasks.clear();
            }
        }
        self.listen();
    }

    async fn say(&self, message: Said, harm: Option<&Damages>) {
        let message = link::FromAgent { message: Some(message) };
        if let Some(say) = &self.say {
            // The master may have ended the link.
            let _ = within(say.send(bytes(&message, harm))).await;
        }
    }

    /// The tasks that it has: framework and id.
    pub fn tasks(&mut self) -> Vec<(String, String)> {
        self.listen();
        self.tasks.keys().cloned().collect()
    }

    /// Says so often what became of a task, which may be one that it does not have.
    pub async fn update(
        &mut self,
        (framework, task): &(String, String),
        state: TaskState,
        times: usize,
        harm: Option<&Damages>,
    ) {
        let status = self.status(task, state);
        if harm.is_none()
            && let Some(known) = self.tasks.get_mut(&(framework.clone(), task.clone()))
        {
            known.latest = status.clone();
        }
        let update = link::StatusUpdate {
            framework_id: framework.clone(),
            latest: Some(status.clone()),
            status: Some(status),
        };
        for _ in 0..times {
            self.say(Said::Update(update.clone()), harm).await;
        }
    }
}
