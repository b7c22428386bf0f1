//! Frameworks that lie, stumble or attack: each gets a clear error, nothing is lost, and nobody else notices.
//!
//! The attacker speaks the wire itself, without the SDK, which would not let it. Beside it another framework has a task
//! that runs and an offer in its hand; whatever the attacker does, the one runs on and the other holds.

use std::collections::VecDeque;
use std::time::Duration;

use bourse_client::{Connection, Settings, Target, Token, TokenSource};
use bourse_proto::v1::scheduler::call::{self, Type};
use bourse_proto::v1::scheduler::{Event, event};
use bourse_proto::v1::{self, carrier, offer, value};
use bourse_tests::cluster::token;
use bourse_tests::process::Process;
use bourse_tests::{Cluster, PATIENCE, Plan};
use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tokio::time::timeout;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request, Status, Streaming};

const STREAM_ID: &str = "bourse-stream-id";

/// A scheduler of bare messages.
pub struct Bare {
    pub connection: Connection,
    stream_id: MetadataValue<Ascii>,
    id: v1::FrameworkId,
    events: Streaming<Event>,
    /// Read, and not asked for yet.
    seen: VecDeque<Event>,
}

impl Bare {
    pub async fn subscribe(cluster: &Cluster, principal: &str) -> Bare {
        let target: Target = cluster.master().parse().expect("an address");
        let source = TokenSource::Text(Token::new(token(principal)).expect("a token"));
        let connection =
            Connection::open(&Settings::master(target).with_token(source)).await.expect("the master listens");
        let info = v1::FrameworkInfo {
            user: Some("nobody".into()),
            name: Some(principal.into()),
            roles: vec!["*".into()],
            capabilities: [
                v1::framework_info::capability::Type::MultiRole,
                v1::framework_info::capability::Type::PartitionAware,
            ]
            .map(|kind| v1::framework_info::Capability { r#type: Some(kind as i32) })
            .into(),
            checkpoint: Some(true),
            failover_timeout: Some(0.0),
            ..Default::default()
        };
        let subscribe = carrier::Call {
            r#type: Some(Type::Subscribe as i32),
            subscribe: Some(carrier::Subscribe { framework_info: Some(info), ..Default::default() }),
            ..Default::default()
        };
        let answer = connection.scheduler().subscribe(subscribe).await.expect("it may subscribe");
        let stream_id = answer.metadata().get(STREAM_ID).expect("a subscription has an id").clone();
        let (id, seen) = (v1::FrameworkId::default(), VecDeque::new());
        let mut bare = Bare { connection, stream_id, id, events: answer.into_inner(), seen };
        let subscribed = bare.next("SUBSCRIBED", |event| event.subscribed.clone()).await;
        bare.id = subscribed.framework_id.expect("it is required");
        bare
    }

    /// The first event that was not asked for before in which `pick` finds something.
    pub async fn next<T>(&mut self, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
        if let Some(at) = self.seen.iter().position(|event| pick(event).is_some()) {
            return self.seen.remove(at).as_ref().and_then(&pick).expect("it was just found");
        }
        let reading = async {
            loop {
                let event =
                    self.events.message().await.expect("the subscription goes on").expect("it has no end");
                match pick(&event) {
                    Some(found) => return found,
                    None => self.seen.push_back(event),
                }
            }
        };
        let found = timeout(PATIENCE, reading).await;
        self.seen.retain(|event| event.r#type() != event::Type::Heartbeat);
        found.unwrap_or_else(|_| panic!("no {what} came; but {:?}", self.seen))
    }

    async fn offer(&mut self) -> v1::Offer {
        let offers = self.next("offer", |event| event.offers.clone()).await.offers;
        let [offer] = &offers[..] else { panic!("{} offers at once", offers.len()) };
        offer.clone()
    }

    /// The next update of a task, acknowledged, as the agent sends the one after it only then.
    async fn update(&mut self, task: &str) -> v1::TaskStatus {
        let of_task = |event: &Event| {
            let status = event.update.as_ref()?.status.clone()?;
            (status.task_id.as_ref()?.value() == task && event.r#type() == event::Type::Update)
                .then_some(status)
        };
        let status = self.next(&format!("update of {task}"), of_task).await;
        if status.uuid.is_some() {
            let (agent_id, task_id, uuid) =
                (status.agent_id.clone(), status.task_id.clone(), status.uuid.clone());
            let acknowledge = Some(call::Acknowledge { agent_id, task_id, uuid });
            let call = carrier::Call { acknowledge, ..self.call(Type::Acknowledge) };
            self.send(call).await.expect("an acknowledgement of one's own update");
        }
        status
    }

    pub fn call(&self, kind: Type) -> carrier::Call {
        carrier::Call { framework_id: Some(self.id.clone()), r#type: Some(kind as i32), ..Default::default() }
    }

    pub async fn send(&self, call: carrier::Call) -> Result<(), Status> {
        let mut request = Request::new(call);
        request.metadata_mut().insert(STREAM_ID, self.stream_id.clone());
        self.connection.scheduler().call(request).await.map(drop)
    }

    /// Accepts offers for one task.
    async fn accept(&self, offers: &[&v1::Offer], task: &v1::TaskInfo) -> Result<(), Status> {
        self.accept_all(offers, std::slice::from_ref(task)).await
    }

    async fn accept_all(&self, offers: &[&v1::Offer], tasks: &[v1::TaskInfo]) -> Result<(), Status> {
        let task_infos = tasks.iter().map(|task| task.encode_to_vec().into()).collect();
        let launch = carrier::Launch { task_infos };
        let operation = carrier::Operation {
            r#type: Some(offer::operation::Type::Launch as i32),
            launch: Some(launch),
            ..Default::default()
        };
        let offer_ids = offers.iter().filter_map(|offer| offer.id.clone()).collect();
        let operations = vec![operation.encode_to_vec().into()];
        let accept = carrier::Accept { offer_ids, operations, filters: filters(600.0) };
        self.send(carrier::Call { accept: Some(accept), ..self.call(Type::Accept) }).await
    }

    async fn decline(&self, offer: &v1::Offer, seconds: f64) {
        let decline =
            call::Decline { offer_ids: offer.id.clone().into_iter().collect(), filters: filters(seconds) };
        let call = carrier::Call { decline: Some(decline), ..self.call(Type::Decline) };
        self.send(call).await.expect("a decline of one's own offer");
    }

    /// Any bytes where a call should be.
    async fn send_bytes(&self, bytes: Bytes) -> Result<(), Status> {
        let mut raw = tonic::client::Grpc::new(self.connection.service());
        raw.ready().await.expect("the connection is open");
        let mut request = Request::new(bytes);
        request.metadata_mut().insert(STREAM_ID, self.stream_id.clone());
        let path = "/bourse.v1.scheduler.Scheduler/Call".parse().expect("a path");
        raw.unary(request, path, Raw).await.map(drop)
    }
}

fn filters(seconds: f64) -> Option<v1::Filters> {
    Some(v1::Filters { refuse_seconds: Some(seconds) })
}

fn task(id: &str, offer: &v1::Offer, cpus: f64, command: &str) -> v1::TaskInfo {
    let scalar = |name: &str, amount: f64| v1::Resource {
        name: Some(name.into()),
        r#type: Some(value::Type::Scalar as i32),
        scalar: Some(value::Scalar { value: Some(amount) }),
        allocation_info: offer.allocation_info.clone(),
        ..Default::default()
    };
    v1::TaskInfo {
        name: Some(id.into()),
        task_id: Some(v1::TaskId { value: Some(id.into()) }),
        agent_id: offer.agent_id.clone(),
        resources: vec![scalar("cpus", cpus), scalar("mem", 32.0)],
        command: Some(v1::CommandInfo { value: Some(command.into()), ..Default::default() }),
        ..Default::default()
    }
}

/// Messages as bytes, so that what is sent need not be one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// An attacker with an offer of one agent, and a bystander with a task and an offer of the other.
struct Scene<'a> {
    cluster: &'a Cluster,
    attacker: Bare,
    /// The attacker's own offer.
    offer: v1::Offer,
    bystander: Bare,
    held: v1::Offer,
    process: Process,
    epoch: u64,
}

impl<'a> Scene<'a> {
    async fn set(cluster: &'a Cluster) -> Scene<'a> {
        let mut bystander = Bare::subscribe(cluster, "bystander").await;
        let (mut first, mut second) = (None, None);
        // Both agents are offered to the only framework there is, together or one after the other.
        while first.is_none() || second.is_none() {
            for offer in bystander.next("offers", |event| event.offers.clone()).await.offers {
                match offer.hostname() {
                    "agent-1" => first = Some(offer),
                    _ => second = Some(offer),
                }
            }
        }
        let (first, second) = (first.expect("it came"), second.expect("it came"));
        bystander.decline(&second, 600.0).await;
        bystander
            .accept(&[&first], &task("steady", &first, 1.0, "exec sleep 1000"))
            .await
            .expect("its own offer");
        while bystander.update("steady").await.state() != v1::TaskState::TaskRunning {}
        // What the task left of its agent was declined with a filter, which this forgets; the other agent is the
        // attacker's by then.
        let mut attacker = Bare::subscribe(cluster, "stranger").await;
        let mut offers = attacker.next("offers", |event| event.offers.clone()).await.offers;
        while !offers.iter().any(|offer| offer.hostname() == "agent-2") {
            offers.extend(attacker.next("offers", |event| event.offers.clone()).await.offers);
        }
        for other in offers.iter().filter(|offer| offer.hostname() != "agent-2") {
            attacker.decline(other, 600.0).await;
        }
        let offer = offers.into_iter().find(|offer| offer.hostname() == "agent-2").expect("it was just seen");
        bystander.send(bystander.call(Type::Revive)).await.expect("it may");
        let held = loop {
            let offer = bystander.offer().await;
            if offer.hostname() == "agent-1" {
                break offer;
            }
        };
        // What the attacker lets go is not for it: it has what it wants, and keeps it.
        bystander.send(bystander.call(Type::Suppress)).await.expect("it may");
        let listed = bourse_proto::operator::ListTasksRequest { task: "steady".into(), ..Default::default() };
        let tasks = cluster.api.operator().list_tasks(listed).await.expect("it answers").into_inner().tasks;
        let process = Process::of(tasks[0].pid).expect("it runs");
        let request = bourse_proto::operator::GetClusterRequest {};
        let epoch = cluster.api.operator().get_cluster(request).await.expect("it answers").into_inner().epoch;
        Scene { cluster, attacker, offer, bystander, held, process, epoch }
    }

    /// The master is the same, the bystander's task runs on, and its offer is as good as it was.
    async fn assert_nobody_noticed(mut self) {
        let request = bourse_proto::operator::GetClusterRequest {};
        let now = self.cluster.api.operator().get_cluster(request).await.expect("it answers").into_inner();
        assert_eq!(now.epoch, self.epoch, "the master was not restarted");
        assert!(self.process.is_alive());
        let gone = self.bystander.seen.iter().find(|event| {
            matches!(event.r#type(), event::Type::Rescind | event::Type::Error | event::Type::Failure)
        });
        assert!(gone.is_none(), "{gone:?}");
        let after = task("after", &self.held, 0.5, "exit 0");
        self.bystander.accept(&[&self.held], &after).await.expect("its own offer");
        loop {
            match self.bystander.update("after").await.state() {
                v1::TaskState::TaskStarting | v1::TaskState::TaskRunning => {}
                state => break assert_eq!(state, v1::TaskState::TaskFinished),
            }
        }
        // And the attacker's subscription goes on: it was told what is wrong, not thrown out.
        self.attacker.send(self.attacker.call(Type::Revive)).await.expect("it may still call");
    }
}

/// Runs a scene. The cluster is started and stopped outside the runtime, as it waits.
fn scene(act: impl AsyncFnOnce(Scene<'_>)) {
    let cluster = Plan::agents(2).master("--offer-timeout 10m").start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("threads").block_on(async { act(Scene::set(&cluster).await).await });
}

/// A refusal of the call itself, whose words hold all of these.
#[track_caller]
fn assert_refused(answer: Result<(), Status>, code: Code, words: &[&str]) {
    let status = answer.expect_err("it is refused");
    assert_eq!(status.code(), code, "{status:?}");
    for word in words {
        assert!(status.message().contains(word), "{word:?} is not in {:?}", status.message());
    }
}

#[track_caller]
fn assert_status(
    status: &v1::TaskStatus,
    state: v1::TaskState,
    reason: v1::task_status::Reason,
    words: &[&str],
) {
    assert_eq!((status.state(), status.reason()), (state, reason), "{status:?}");
    for word in words {
        assert!(status.message().contains(word), "{word:?} is not in {:?}", status.message());
    }
}

#[test]
fn malformed_protobuf_is_refused_with_what_is_wrong() {
    scene(async |scene| {
        let attacker = &scene.attacker;
        // A field that says to be longer than all there is; a tag of no wire type; text.
        for bytes in [
            &b"\x0a\xff\xff\x7fxx"[..],
            b"\x07\x07\x07",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"hello",
        ] {
            let answer = attacker.send_bytes(Bytes::copy_from_slice(bytes)).await;
            assert_refused(answer, Code::InvalidArgument, &["protobuf"]);
        }
        // Whole on the outside, broken within: the task is bytes to the call that carries it.
        let launch = carrier::Launch { task_infos: vec![Bytes::from_static(b"\x0a\xff\xff\x7fxx")] };
        let kind = Some(offer::operation::Type::Launch as i32);
        let operation = carrier::Operation { r#type: kind, launch: Some(launch), ..Default::default() };
        let offer_ids = vec![scene.offer.id.clone().expect("an offer has an id")];
        let operations = vec![operation.encode_to_vec().into()];
        let accept = carrier::Accept { offer_ids, operations, filters: None };
        let answer =
            attacker.send(carrier::Call { accept: Some(accept), ..attacker.call(Type::Accept) }).await;
        assert_refused(answer, Code::InvalidArgument, &["accept.operations[0]"]);
        // Whole, and without what is required.
        assert_refused(attacker.send(attacker.call(Type::Kill)).await, Code::InvalidArgument, &["kill"]);
        assert_refused(attacker.send(carrier::Call::default()).await, Code::InvalidArgument, &["type"]);
        scene.assert_nobody_noticed().await;
    });
}

#[test]
fn somebody_elses_offer_is_refused_and_stays_theirs() {
    scene(async |mut scene| {
        let theft = task("theft", &scene.held, 0.1, "exit 0");
        scene.attacker.accept(&[&scene.held], &theft).await.expect("the call itself is well formed");
        let status = scene.attacker.update("theft").await;
        let reason = v1::task_status::Reason::InvalidOffers;
        assert_status(&status, v1::TaskState::TaskDropped, reason, &["no longer valid"]);
        scene.attacker.decline(&scene.held, 600.0).await;
        // In another's name it gets no further than the door.
        let call = carrier::Call {
            framework_id: Some(scene.bystander.id.clone()),
            ..scene.attacker.call(Type::Teardown)
        };
        assert_refused(scene.attacker.send(call).await, Code::FailedPrecondition, &["subscribe again"]);
        scene.assert_nobody_noticed().await;
    });
}

#[test]
fn an_offer_that_is_accepted_twice_launches_once() {
    scene(async |mut scene| {
        let attacker = &mut scene.attacker;
        attacker
            .accept(&[&scene.offer], &task("one", &scene.offer, 0.1, "exec sleep 1000"))
            .await
            .expect("its own");
        attacker
            .accept(&[&scene.offer], &task("two", &scene.offer, 0.1, "exec sleep 1000"))
            .await
            .expect("well formed");
        let status = attacker.update("two").await;
        let reason = v1::task_status::Reason::InvalidOffers;
        assert_status(&status, v1::TaskState::TaskDropped, reason, &["answered before"]);
        while attacker.update("one").await.state() != v1::TaskState::TaskRunning {}
        scene.assert_nobody_noticed().await;
    });
}

#[test]
fn a_task_that_takes_more_than_was_offered_is_refused_with_the_figures() {
    scene(async |mut scene| {
        let attacker = &mut scene.attacker;
        attacker
            .accept(&[&scene.offer], &task("large", &scene.offer, 8.001, "exit 0"))
            .await
            .expect("well formed");
        let status = attacker.update("large").await;
        let reason = v1::task_status::Reason::TaskInvalid;
        assert_status(
            &status,
            v1::TaskState::TaskError,
            reason,
            &["more than is offered", "cpus:8.001", "cpus:8;"],
        );
        scene.assert_nobody_noticed().await;
    });
}

#[test]
fn amounts_that_are_no_amounts_are_refused() {
    scene(async |mut scene| {
        let bad = [("negative", -1.0), ("nan", f64::NAN), ("endless", f64::INFINITY), ("huge", 1e300)];
        let tasks = bad.map(|(id, cpus)| task(id, &scene.offer, cpus, "exit 0"));
        scene.attacker.accept_all(&[&scene.offer], &tasks).await.expect("the call is well formed");
        // Told by updates, as each is wrong by itself.
        for (id, _) in bad {
            let status = scene.attacker.update(id).await;
            let reason = v1::task_status::Reason::TaskInvalid;
            let words = ["cpus is ", "it must be a number from 0 to 1e12"];
            assert_status(&status, v1::TaskState::TaskError, reason, &words);
        }
        scene.assert_nobody_noticed().await;
    });
}

#[test]
fn the_id_of_a_live_task_is_refused_and_that_task_runs_on() {
    scene(async |mut scene| {
        let attacker = &mut scene.attacker;
        attacker
            .accept(&[&scene.offer], &task("same", &scene.offer, 0.1, "exec sleep 1000"))
            .await
            .expect("its own");
        while attacker.update("same").await.state() != v1::TaskState::TaskRunning {}
        attacker.send(attacker.call(Type::Revive)).await.expect("it may");
        let offer = attacker.offer().await;
        attacker
            .accept(&[&offer], &task("same", &offer, 0.1, "exit 0"))
            .await
            .expect("the call is well formed");
        let status = attacker.update("same").await;
        assert!(status.message().contains("is in use"), "{status:?}");
        // Asked for, the master tells the one that runs.
        attacker
            .send(carrier::Call {
                reconcile: Some(call::Reconcile::default()),
                ..attacker.call(Type::Reconcile)
            })
            .await
            .expect("it may");
        assert_eq!(attacker.update("same").await.state(), v1::TaskState::TaskRunning);
        scene.assert_nobody_noticed().await;
    });
}

#[test]
fn a_hundred_megabytes_in_one_call_are_refused_unread() {
    scene(async |scene| {
        let begun = std::time::Instant::now();
        let answer = scene.attacker.send_bytes(Bytes::from(vec![0x0a; 100 << 20])).await;
        assert_refused(answer, Code::ResourceExhausted, &["too large", "16 MiB"]);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        scene.assert_nobody_noticed().await;
    });
}

#[test]
fn a_call_without_a_token_or_with_anothers_gets_nowhere() {
    scene(async |scene| {
        let target: Target = scene.cluster.master().parse().expect("an address");
        let nameless = Connection::open(&Settings::master(target.clone())).await.expect("the master listens");
        let call = scene.attacker.call(Type::Revive);
        let answer = nameless.scheduler().call(call.clone()).await.map(drop);
        assert_refused(answer, Code::Unauthenticated, &["no token"]);
        // An agent's token opens the agents' door only.
        let source = TokenSource::Text(Token::new(token("agent")).expect("a token"));
        let agent =
            Connection::open(&Settings::master(target).with_token(source)).await.expect("the master listens");
        let answer = agent.scheduler().call(call).await.map(drop);
        assert_refused(answer, Code::PermissionDenied, &["kind agent"]);
        let request = bourse_proto::operator::GetClusterRequest {};
        let answer = scene.attacker.connection.operator().get_cluster(request).await.map(drop);
        assert_refused(answer, Code::PermissionDenied, &["kind framework"]);
        scene.assert_nobody_noticed().await;
    });
}
