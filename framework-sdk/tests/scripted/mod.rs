//! A master that hands every call to the test and says only what the test says.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bourse_proto::v1;
use bourse_proto::v1::carrier;
use bourse_proto::v1::scheduler::call::Type;
use bourse_proto::v1::scheduler::scheduler_server::{Scheduler, SchedulerServer};
use bourse_proto::v1::scheduler::{CallAccepted, Event, event};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Longer than anything a test waits for, on any machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Master {
    pub port: u16,
    refusals: Refusals,
    answers: watch::Sender<bool>,
    given_up: Arc<AtomicU64>,
    streams: mpsc::UnboundedReceiver<Opened>,
    calls: mpsc::UnboundedReceiver<Called>,
}

type Refusals = Arc<Mutex<VecDeque<Status>>>;

/// A subscription. Dropped, the stream ends.
pub struct Opened {
    pub id: String,
    pub call: carrier::Call,
    events: mpsc::Sender<Event>,
}

/// Any other call, as it came.
pub struct Called {
    pub kind: Type,
    pub stream_id: String,
    pub call: carrier::Call,
    /// Whether the master answered calls when this one came.
    pub is_answered: bool,
}

/// A call that is not answered yet. Dropped before, its caller has given it up.
struct Unanswered {
    given_up: Arc<AtomicU64>,
    was_answered: bool,
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if !self.was_answered {
            self.given_up.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Door {
    next: AtomicU64,
    refusals: Refusals,
    answers: watch::Receiver<bool>,
    given_up: Arc<AtomicU64>,
    streams: mpsc::UnboundedSender<Opened>,
    calls: mpsc::UnboundedSender<Called>,
}

impl Door {
    fn refuse(&self) -> Result<(), Status> {
        self.refusals.lock().expect("no test panics with it").pop_front().map_or(Ok(()), Err)
    }
}

#[tonic::async_trait]
impl Scheduler for Door {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<carrier::Call>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        self.refuse()?;
        let id = format!("stream-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let (events, said) = mpsc::channel(16);
        let opened = Opened { id: id.clone(), call: request.into_inner(), events };
        self.streams.send(opened).map_err(|_| Status::unavailable("the test is over"))?;
        let stream: Self::SubscribeStream = Box::pin(ReceiverStream::new(said).map(Ok));
        let mut response = Response::new(stream);
        response.metadata_mut().insert("bourse-stream-id", id.parse().expect("ASCII"));
        Ok(response)
    }

    async fn call(&self, request: Request<carrier::Call>) -> Result<Response<CallAccepted>, Status> {
        self.refuse()?;
        let id = request.metadata().get("bourse-stream-id").and_then(|id| id.to_str().ok());
        let stream_id = id.ok_or_else(|| Status::failed_precondition("no stream id"))?.to_owned();
        let call = request.into_inner();
        let mut answers = self.answers.clone();
        let called = Called { kind: call.r#type(), stream_id, call, is_answered: *answers.borrow() };
        self.calls.send(called).map_err(|_| Status::unavailable("the test is over"))?;
        let mut unanswered = Unanswered { given_up: self.given_up.clone(), was_answered: false };
        let held = answers.wait_for(|answers| *answers).await;
        unanswered.was_answered = true;
        held.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(CallAccepted {}))
    }
}

impl Master {
    pub async fn start() -> Master {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (streams, opened) = mpsc::unbounded_channel();
        let (calls, called) = mpsc::unbounded_channel();
        let (refusals, given_up) = (Refusals::default(), Arc::new(AtomicU64::new(0)));
        let (answers, answered) = watch::channel(true);
        let next = AtomicU64::new(1);
        let (refused, counted) = (refusals.clone(), given_up.clone());
        let door = Door { next, refusals: refused, answers: answered, given_up: counted, streams, calls };
        let server = tonic::transport::Server::builder().add_service(SchedulerServer::new(door));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Master { port, refusals, answers, given_up, streams: opened, calls: called }
    }

    /// The next subscription.
    pub async fn subscribed(&mut self) -> Opened {
        timeout(PATIENCE, self.streams.recv())
            .await
            .expect("a subscription in time")
            .expect("the door is open")
    }

    /// The next call.
    pub async fn call(&mut self) -> Called {
        timeout(PATIENCE, self.calls.recv()).await.expect("a call in time").expect("the door is open")
    }

    /// From now on calls are answered, or wait until they are.
    pub fn answer(&self, answers: bool) {
        self.answers.send_replace(answers);
    }

    /// How many calls were given up before they were answered.
    pub fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }

    /// The next call or subscription is answered by this, and the test does not see it.
    pub fn refuse_next(&self, status: Status) {
        self.refusals.lock().expect("no test panics with it").push_back(status);
    }

    /// Until it holds.
    pub async fn wait_for(&self, condition: impl Fn() -> bool) {
        let poll = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, poll).await.expect("the condition in time");
    }
}

impl Opened {
    pub async fn say(&self, event: Event) {
        self.events.send(event).await.expect("the framework listens");
    }
}

impl Called {
    /// The task of an ACCEPT that launches one.
    pub fn only_task(&self) -> v1::TaskInfo {
        let accept = self.call.accept.as_ref().expect("an ACCEPT");
        let operation = carrier::Operation::decode(accept.operations[0].clone()).expect("an operation");
        let launch = operation.launch.expect("a LAUNCH");
        assert_eq!(launch.task_infos.len(), 1);
        v1::TaskInfo::decode(launch.task_infos[0].clone()).expect("a task")
    }
}

pub fn subscribed(framework: &str) -> Event {
    Event {
        r#type: Some(event::Type::Subscribed as i32),
        subscribed: Some(event::Subscribed {
            framework_id: Some(v1::FrameworkId { value: Some(framework.into()) }),
            heartbeat_interval_seconds: Some(15.0),
            master_info: None,
        }),
        ..Default::default()
    }
}

pub fn offer(id: &str) -> Event {
    let scalar = |name: &str, value| v1::Resource {
        name: Some(name.into()),
        r#type: Some(v1::value::Type::Scalar as i32),
        scalar: Some(v1::value::Scalar { value: Some(value) }),
        ..Default::default()
    };
    let offer = v1::Offer {
        id: Some(v1::OfferId { value: Some(id.into()) }),
        framework_id: Some(v1::FrameworkId { value: Some("f-1".into()) }),
        agent_id: Some(v1::AgentId { value: Some("a1".into()) }),
        hostname: Some("a1.example".into()),
        resources: vec![scalar("cpus", 2.0), scalar("mem", 256.0)],
        allocation_info: Some(v1::resource::AllocationInfo { role: Some("web".into()) }),
        ..Default::default()
    };
    let offers = Some(event::Offers { offers: vec![offer] });
    Event { r#type: Some(event::Type::Offers as i32), offers, ..Default::default() }
}

/// By the agent; the state by its number on the wire, the uuid all of one byte.
pub fn update(task: &str, state: i32, uuid: u8) -> Event {
    let status = v1::TaskStatus {
        task_id: Some(v1::TaskId { value: Some(task.into()) }),
        state: Some(state),
        source: Some(v1::task_status::Source::Agent as i32),
        agent_id: Some(v1::AgentId { value: Some("a1".into()) }),
        timestamp: Some(1.0),
        uuid: Some(vec![uuid; 16].into()),
        ..Default::default()
    };
    let update = Some(event::Update { status: Some(status) });
    Event { r#type: Some(event::Type::Update as i32), update, ..Default::default() }
}

pub fn draining(agent: &str, nanoseconds: i64) -> Event {
    let start = Some(v1::TimeInfo { nanoseconds: Some(nanoseconds) });
    let offer = v1::InverseOffer {
        id: Some(v1::OfferId { value: Some("drain".into()) }),
        framework_id: Some(v1::FrameworkId { value: Some("f-1".into()) }),
        agent_id: Some(v1::AgentId { value: Some(agent.into()) }),
        unavailability: Some(v1::Unavailability { start, duration: None }),
        ..Default::default()
    };
    let inverse_offers = Some(event::InverseOffers { inverse_offers: vec![offer] });
    Event { r#type: Some(event::Type::InverseOffers as i32), inverse_offers, ..Default::default() }
}

pub fn error(message: &str) -> Event {
    let error = Some(event::Error { message: Some(message.into()) });
    Event { r#type: Some(event::Type::Error as i32), error, ..Default::default() }
}
