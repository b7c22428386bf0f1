//! The whole process but for its `main`: files, port, framework, against a master of a few lines over real gRPC.

use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bourse_client::{ClientArgs, Connection, Settings, Target, Token, TokenSource};
use bourse_proto::services::{DeployRequest, ListServicesRequest, RemoveRequest, ScaleRequest};
use bourse_proto::v1;
use bourse_proto::v1::carrier;
use bourse_proto::v1::scheduler::call::Type;
use bourse_proto::v1::scheduler::scheduler_server::{Scheduler, SchedulerServer};
use bourse_proto::v1::scheduler::{CallAccepted, Event, event};
use bourse_service_framework::{RunError, ServicesArgs, run};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

/// Longer than anything a test waits for, on any machine.
const PATIENCE: Duration = Duration::from_secs(20);
const TOKEN: &str = "the-token-of-the-service-framework";
const WEB: &str = "name = \"web\"\ncommand = \"serve\"\n";

struct Door {
    streams: mpsc::UnboundedSender<(carrier::Call, mpsc::Sender<Event>)>,
    calls: mpsc::UnboundedSender<carrier::Call>,
}

#[tonic::async_trait]
impl Scheduler for Door {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<carrier::Call>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (events, said) = mpsc::channel(16);
        let subscribed = Event {
            r#type: Some(event::Type::Subscribed as i32),
            subscribed: Some(event::Subscribed {
                framework_id: Some(v1::FrameworkId { value: Some("f-1".into()) }),
                heartbeat_interval_seconds: Some(15.0),
                master_info: None,
            }),
            ..Default::default()
        };
        events.send(subscribed).await.map_err(|_| Status::unavailable("the test is over"))?;
        self.streams
            .send((request.into_inner(), events))
            .map_err(|_| Status::unavailable("the test is over"))?;
        let stream: Self::SubscribeStream = Box::pin(ReceiverStream::new(said).map(Ok));
        let mut response = Response::new(stream);
        response.metadata_mut().insert("bourse-stream-id", "s".parse().expect("ASCII"));
        Ok(response)
    }

    async fn call(&self, request: Request<carrier::Call>) -> Result<Response<CallAccepted>, Status> {
        self.calls.send(request.into_inner()).map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(CallAccepted {}))
    }
}

/// A master that knows one framework.
struct Master {
    port: u16,
    streams: mpsc::UnboundedReceiver<(carrier::Call, mpsc::Sender<Event>)>,
    calls: mpsc::UnboundedReceiver<carrier::Call>,
}

/// The framework while it is subscribed.
struct Subscribed {
    info: v1::FrameworkInfo,
    events: mpsc::Sender<Event>,
}

impl Master {
    async fn start() -> Master {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (streams, opened) = mpsc::unbounded_channel();
        let (calls, called) = mpsc::unbounded_channel();
        let server =
            tonic::transport::Server::builder().add_service(SchedulerServer::new(Door { streams, calls }));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Master { port, streams: opened, calls: called }
    }

    async fn subscribed(&mut self) -> Subscribed {
        let next = tokio::time::timeout(PATIENCE, self.streams.recv());
        let (call, events) = next.await.expect("a subscription in time").expect("the door is open");
        let info = call.subscribe.and_then(|subscribe| subscribe.framework_info).expect("a SUBSCRIBE");
        Subscribed { info, events }
    }

    /// The next call of this kind; others are passed over.
    async fn call(&mut self, kind: Type) -> carrier::Call {
        let next = async {
            loop {
                let call = self.calls.recv().await.expect("the door is open");
                if call.r#type() == kind {
                    break call;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("the call in time")
    }
}

impl Subscribed {
    /// Calls the API where the framework said it is, with this token.
    async fn api(&self, token: &str) -> Connection {
        let labels = self.info.labels.as_ref().map(|labels| labels.labels.as_slice()).unwrap_or_default();
        let label = labels.iter().find(|label| label.key() == "bourse-api").expect("the label");
        let target = Target::parse(label.value(), 0).expect("host:port");
        let token = TokenSource::Text(Token::new(token).expect("a token"));
        Connection::open(&Settings::agent(target).with_token(token)).await.expect("the API listens")
    }

    async fn offer(&self) {
        let scalar = |name: &str, value| v1::Resource {
            name: Some(name.into()),
            r#type: Some(v1::value::Type::Scalar as i32),
            scalar: Some(v1::value::Scalar { value: Some(value) }),
            ..Default::default()
        };
        let offer = v1::Offer {
            id: Some(v1::OfferId { value: Some("o1".into()) }),
            framework_id: Some(v1::FrameworkId { value: Some("f-1".into()) }),
            agent_id: Some(v1::AgentId { value: Some("a1".into()) }),
            hostname: Some("a1.example".into()),
            resources: vec![scalar("cpus", 2.0), scalar("mem", 1024.0)],
            allocation_info: Some(v1::resource::AllocationInfo { role: Some("*".into()) }),
            ..Default::default()
        };
        let offers = Some(event::Offers { offers: vec![offer] });
        let event = Event { r#type: Some(event::Type::Offers as i32), offers, ..Default::default() };
        self.events.send(event).await.expect("the framework listens");
    }
}

/// One life of the service framework.
struct Life {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), RunError>>,
}

impl Life {
    async fn begin(master: &Master, folder: &Path) -> Life {
        let token_file = folder.join("token");
        std::fs::write(&token_file, TOKEN).expect("written");
        let args = ServicesArgs {
            client: ClientArgs {
                master: Some(format!("127.0.0.1:{}", master.port)),
                token_file: Some(token_file),
                ca_file: None,
                insecure: false,
            },
            state_dir: Some(folder.join("state")),
            listen: "127.0.0.1:0".parse().expect("an address"),
            advertise: None,
            roles: vec!["*".into()],
            name: "services".into(),
        };
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        Life { stop, running: tokio::spawn(run(args, None, shutdown)) }
    }

    async fn stop(self) {
        self.stop.send(()).expect("it runs");
        let ended = tokio::time::timeout(PATIENCE, self.running).await.expect("in time");
        ended.expect("no panic").expect("a clean stop");
    }

    /// Ends it in the middle of whatever it does, and waits until its folder is free again.
    async fn cut_off(self, folder: &Path) {
        self.running.abort();
        let _ = self.running.await;
        let give_up = Instant::now() + PATIENCE;
        while bourse_sdk::StateDir::open(folder.join("state")).is_err() {
            assert!(Instant::now() < give_up, "the folder is never let go of");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn deploy(toml: &str) -> DeployRequest {
    DeployRequest { toml: toml.into(), file_name: "web.toml".into() }
}

#[tokio::test]
async fn a_service_is_deployed_listed_scaled_and_removed_over_the_api() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut master = Master::start().await;
    let life = Life::begin(&master, folder.path()).await;
    let subscribed = master.subscribed().await;
    assert_eq!(subscribed.info.user(), "", "nobody runs as whoever started this process");
    let mut api = subscribed.api(TOKEN).await.services();

    let deployed = api.deploy(deploy(WEB)).await.expect("deployed").into_inner();
    assert_eq!(deployed.outcome, "created");
    master.call(Type::Revive).await;
    subscribed.offer().await;
    let accept = master.call(Type::Accept).await.accept.expect("an ACCEPT");
    let operation = carrier::Operation::decode(accept.operations[0].clone()).expect("an operation");
    let launch = operation.launch.expect("a LAUNCH");
    let task = v1::TaskInfo::decode(launch.task_infos[0].clone()).expect("a task");
    let id = task.task_id.as_ref().map(|id| id.value());
    assert_eq!((task.name(), id), ("web.0", Some("web.0.0")));
    master.call(Type::Suppress).await;

    let scaled = api.scale(ScaleRequest { name: "web".into(), count: 0 }).await.expect("scaled").into_inner();
    assert_eq!(scaled.service.map(|service| service.state), Some("suspended".into()));
    master.call(Type::Kill).await;
    api.remove(RemoveRequest { name: "web".into() }).await.expect("removed");
    let unknown =
        api.scale(ScaleRequest { name: "wbe".into(), count: 1 }).await.expect_err("no such service");
    assert_eq!(unknown.code(), Code::NotFound);
    assert_eq!(unknown.message(), "there is no service \"wbe\"; the services are: web");
    life.stop().await;
}

#[tokio::test]
async fn a_wrong_file_is_refused_with_all_its_problems_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut master = Master::start().await;
    let life = Life::begin(&master, folder.path()).await;
    let mut api = master.subscribed().await.api(TOKEN).await.services();
    let refused = api.deploy(deploy("name = \"ä\"\ncomand = \"x\"\n")).await.expect_err("wrong");
    assert_eq!(refused.code(), Code::InvalidArgument);
    expect_test::expect![[r#"
        web.toml:1:8: name: "ä" cannot name a service; take 1 to 63 of a-z, 0-9 and '-', first a letter and last a letter or a digit
          |
        1 | name = "ä"
          |        ^^^

        web.toml:2:1: unknown key `comand`; did you mean `command`?
          |
        2 | comand = "x"
          | ^^^^^^"#]]
    .assert_eq(refused.message());

    // As long as a refusal can get: it must still fit the header that carries it.
    let many: String =
        (0..60).map(|n| format!("\"{}{n}\" = \"{}\"\n", "ä".repeat(40), "ö".repeat(200))).collect();
    let refused = api.deploy(deploy(&many)).await.expect_err("wrong");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert!(refused.message().ends_with("and 54 more problems"), "{}", refused.message());
    life.stop().await;
}

#[tokio::test]
async fn only_the_master_may_call_the_port() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut master = Master::start().await;
    let life = Life::begin(&master, folder.path()).await;
    let mut api = master.subscribed().await.api("another-token-of-some-task").await.services();
    let refused = api.list(ListServicesRequest::default()).await.expect_err("a wrong token");
    assert_eq!(refused.code(), Code::Unauthenticated);
    life.stop().await;
}

#[tokio::test]
async fn after_it_was_cut_off_it_is_the_same_framework_with_the_same_services_and_tasks() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut master = Master::start().await;
    let life = Life::begin(&master, folder.path()).await;
    let subscribed = master.subscribed().await;
    let mut api = subscribed.api(TOKEN).await.services();
    api.deploy(deploy(WEB)).await.expect("deployed");
    subscribed.offer().await;
    master.call(Type::Accept).await;
    life.cut_off(folder.path()).await;

    let life = Life::begin(&master, folder.path()).await;
    let subscribed = master.subscribed().await;
    assert_eq!(subscribed.info.id.as_ref().map(|id| id.value().to_owned()), Some("f-1".into()));
    let reconcile = master.call(Type::Reconcile).await.reconcile.expect("a RECONCILE");
    let asked: Vec<_> =
        reconcile.tasks.iter().filter_map(|task| task.task_id.as_ref()).map(|id| id.value()).collect();
    assert_eq!(asked, ["web.0.0"]);
    let mut api = subscribed.api(TOKEN).await.services();
    let listed = api.list(ListServicesRequest::default()).await.expect("listed").into_inner();
    assert_eq!(listed.framework_id, "f-1");
    let service = &listed.services[0];
    assert_eq!((service.name.as_str(), service.toml.as_str(), service.version), ("web", WEB, 1));
    assert_eq!(service.instances[0].task_id, "web.0.0");
    life.stop().await;
}
