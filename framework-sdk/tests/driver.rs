//! The driver against a master that does exactly what the test says, over real gRPC on a port of its own.

mod scripted;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bourse_client::{Settings, Target};
use bourse_proto::v1::scheduler::call::Type;
use bourse_sdk::{Calls, Event, Framework, RunError, Scheduler, StateDir, Task};
use bourse_types::{Milli, Now, TaskState};
use scripted::{Master, offer, subscribed, update};
use tonic::Status;

/// Launches one task on each offer, tells what it hears, and does what it is told.
struct Author {
    log: Log,
}

type Log = Arc<Mutex<Vec<String>>>;

enum Say {
    Stop,
    Teardown,
    Kill(&'static str),
    KillMany(usize),
}

impl Scheduler for Author {
    type Message = Say;

    fn on(&mut self, _now: Now, event: Event<Say>, calls: &mut Calls) {
        let told = match &event {
            Event::Subscribed { framework, again } => format!("subscribed {framework} again={again}"),
            Event::Update(status) => format!("update {}", status.state),
            Event::Error(why) => format!("error {why}"),
            Event::Offer(offer) => format!("offer {}", offer.id()),
            Event::AgentDraining { agent, deadline } => {
                format!("draining {agent} until {}", deadline.as_millis())
            }
            Event::Disconnected => "disconnected".to_owned(),
            _ => String::new(),
        };
        match event {
            Event::Offer(mut offer) => {
                let id = calls.task_id("t");
                offer
                    .launch(Task::new(id).command("true").cpus(Milli::new(500)).mem_mib(32))
                    .expect("there is room");
                calls.accept(offer);
            }
            Event::Update(status) => calls.save("last", status.state.as_str().to_owned()),
            Event::Message(Say::Stop) => calls.stop(),
            Event::Message(Say::Teardown) => calls.teardown(),
            Event::Message(Say::KillMany(count)) => {
                (0..count).for_each(|n| calls.kill(&format!("t{n}").parse().expect("valid")));
            }
            Event::Message(Say::Kill(task)) => calls.kill(&task.parse().expect("valid")),
            _ => {}
        }
        self.log.lock().expect("no test panics with it").push(told);
    }
}

fn author() -> (Author, Log) {
    let log = Log::default();
    (Author { log: log.clone() }, log)
}

fn framework(master: &Master) -> Framework {
    Framework::new("hello").settings(Settings::master(Target::loopback(master.port)))
}

#[tokio::test]
async fn a_task_is_launched_as_bytes_and_its_update_acknowledged_after_the_handler_and_its_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = StateDir::open(folder.path()).expect("opened");
    let mut master = Master::start().await;
    let (author, log) = author();
    let (handle, running) = framework(&master).role("web").state(state.clone()).start(author);
    let running = tokio::spawn(running);

    let stream = master.subscribed().await;
    let subscribe = stream.call.subscribe.clone().expect("a SUBSCRIBE");
    let info = subscribe.framework_info.expect("with what it is");
    assert_eq!(
        (info.name(), info.roles.as_slice(), info.checkpoint()),
        ("hello", &["web".to_owned()][..], true)
    );
    assert_eq!((stream.call.framework_id.as_ref(), info.id.as_ref()), (None, None));
    stream.say(subscribed("f-1")).await;
    let reconcile = master.call().await;
    assert_eq!((reconcile.kind, reconcile.stream_id.as_str()), (Type::Reconcile, stream.id.as_str()));
    assert_eq!(state.framework_id().expect("read").expect("durable before any call").as_str(), "f-1");

    stream.say(offer("o1")).await;
    let accept = master.call().await;
    assert_eq!(accept.kind, Type::Accept);
    let task = accept.only_task();
    assert_eq!(task.agent_id.expect("an agent").value(), "a1");
    assert_eq!(task.command.expect("a command").value(), "true");
    let amounts: Vec<_> = task.resources.iter().map(|r| (r.name(), r.scalar.map(|s| s.value()))).collect();
    assert_eq!(amounts, [("cpus", Some(0.5)), ("mem", Some(32.0))]);

    stream.say(update(task.task_id.expect("an id").value(), 1, 7)).await;
    let acknowledge = master.call().await;
    assert_eq!(acknowledge.kind, Type::Acknowledge);
    assert_eq!(acknowledge.call.acknowledge.expect("an ACKNOWLEDGE").uuid(), [7; 16]);
    let saved = state.values().expect("read");
    assert_eq!(
        saved.get("last").map(|value| value.to_vec()),
        Some(TaskState::Running.as_str().as_bytes().to_vec())
    );

    assert!(handle.send(Say::Stop).await);
    running.await.expect("no panic").expect("stopped");
    assert_eq!(
        *log.lock().expect("done"),
        ["subscribed f-1 again=false", "", "offer o1", "update TASK_RUNNING", ""]
    );
    assert!(!handle.send(Say::Stop).await);
}

#[tokio::test]
async fn a_lost_stream_is_opened_again_with_the_same_id_and_calls_name_the_new_one() {
    let mut master = Master::start().await;
    let (author, log) = author();
    let (handle, running) = framework(&master).start(author);
    let running = tokio::spawn(running);

    let first = master.subscribed().await;
    first.say(subscribed("f-1")).await;
    assert_eq!(master.call().await.kind, Type::Reconcile);
    drop(first);

    let second = master.subscribed().await;
    assert_eq!(second.call.framework_id.as_ref().expect("its id").value(), "f-1");
    second.say(subscribed("f-1")).await;
    let reconcile = master.call().await;
    assert_eq!((reconcile.kind, reconcile.stream_id), (Type::Reconcile, second.id.clone()));

    handle.stop().await;
    running.await.expect("no panic").expect("stopped");
    let told: Vec<_> = log.lock().expect("done").iter().filter(|line| !line.is_empty()).cloned().collect();
    assert_eq!(told, ["subscribed f-1 again=false", "disconnected", "subscribed f-1 again=true"]);
}

#[tokio::test]
async fn a_stale_stream_id_is_a_gap_and_a_kill_is_said_again_by_the_next_stream() {
    let mut master = Master::start().await;
    let (author, _) = author();
    let (handle, running) = framework(&master).start(author);
    let running = tokio::spawn(running);

    let first = master.subscribed().await;
    first.say(subscribed("f-1")).await;
    assert_eq!(master.call().await.kind, Type::Reconcile);
    master.refuse_next(Status::failed_precondition(
        "this stream is not the framework's any more; subscribe again",
    ));
    assert!(handle.send(Say::Kill("t1")).await);

    let second = master.subscribed().await;
    assert_ne!(second.id, first.id);
    second.say(subscribed("f-1")).await;
    let kill = master.call().await;
    assert_eq!((kill.kind, kill.stream_id), (Type::Kill, second.id.clone()));
    assert_eq!(kill.call.kill.expect("a KILL").task_id.expect("a task").value(), "t1");

    handle.stop().await;
    running.await.expect("no panic").expect("stopped");
}

#[tokio::test]
async fn a_call_that_the_master_refuses_costs_its_tasks_and_not_the_subscription() {
    let mut master = Master::start().await;
    let (author, log) = author();
    let (handle, running) = framework(&master).start(author);
    let running = tokio::spawn(running);

    let stream = master.subscribed().await;
    stream.say(subscribed("f-1")).await;
    assert_eq!(master.call().await.kind, Type::Reconcile);
    master.refuse_next(Status::invalid_argument("accept.operations[0]: too odd"));
    stream.say(offer("o1")).await;
    stream.say(offer("o2")).await;
    let accept = master.call().await;
    assert_eq!(accept.call.accept.expect("an ACCEPT").offer_ids[0].value(), "o2");

    master.wait_for(|| log.lock().expect("fine").iter().any(|line| line == "update TASK_ERROR")).await;
    handle.stop().await;
    running.await.expect("no panic").expect("stopped");
    assert!(log.lock().expect("done").contains(&"error accept.operations[0]: too odd".to_owned()));
}

#[tokio::test]
async fn acknowledgements_are_on_their_way_together_and_a_launch_comes_after_those_before_it() {
    let mut master = Master::start().await;
    let (author, log) = author();
    let (handle, running) = framework(&master).start(author);
    let running = tokio::spawn(running);
    let stream = master.subscribed().await;
    stream.say(subscribed("f-1")).await;
    assert_eq!(master.call().await.kind, Type::Reconcile);

    master.answer(false);
    for n in 0..10 {
        stream.say(update(&format!("t{n}"), 1, n)).await;
    }
    stream.say(offer("o1")).await;
    let mut acknowledged = Vec::new();
    for _ in 0..10 {
        let called = master.call().await;
        assert_eq!(called.kind, Type::Acknowledge);
        acknowledged.push(called.call.acknowledge.expect("an ACKNOWLEDGE").uuid()[0]);
    }
    acknowledged.sort_unstable();
    assert_eq!(acknowledged, (0..10).collect::<Vec<u8>>());
    // The launch waits behind them.
    master.wait_for(|| log.lock().expect("fine").iter().any(|line| line == "offer o1")).await;
    master.answer(true);
    let accept = master.call().await;
    assert_eq!((accept.kind, accept.is_answered), (Type::Accept, true));

    handle.stop().await;
    running.await.expect("no panic").expect("stopped");
    assert_eq!(master.given_up(), 0);
}

#[tokio::test]
async fn a_refused_acknowledgement_is_told_and_those_beside_it_are_taken() {
    let mut master = Master::start().await;
    let (author, log) = author();
    let (handle, running) = framework(&master).start(author);
    let running = tokio::spawn(running);
    let stream = master.subscribed().await;
    stream.say(subscribed("f-1")).await;
    assert_eq!(master.call().await.kind, Type::Reconcile);
    master.refuse_next(Status::invalid_argument("no such agent"));
    for n in 0..3 {
        stream.say(update(&format!("t{n}"), 1, n)).await;
    }
    for _ in 0..2 {
        assert_eq!(master.call().await.kind, Type::Acknowledge);
    }
    master.wait_for(|| log.lock().expect("fine").iter().any(|line| line == "error no such agent")).await;
    handle.stop().await;
    running.await.expect("no panic").expect("stopped");
}

#[tokio::test]
async fn a_subscription_that_ends_gives_up_all_that_are_on_their_way() {
    let mut master = Master::start().await;
    let (author, _) = author();
    let (handle, running) = framework(&master).start(author);
    let running = tokio::spawn(running);
    let first = master.subscribed().await;
    first.say(subscribed("f-1")).await;
    assert_eq!(master.call().await.kind, Type::Reconcile);
    master.answer(false);
    for n in 0..5 {
        first.say(update(&format!("t{n}"), 1, n)).await;
    }
    for _ in 0..5 {
        assert_eq!(master.call().await.kind, Type::Acknowledge);
    }
    drop(first);
    master.wait_for(|| master.given_up() == 5).await;

    // The agent says it again, and the next subscription acknowledges it.
    master.answer(true);
    let second = master.subscribed().await;
    second.say(subscribed("f-1")).await;
    assert_eq!(master.call().await.kind, Type::Reconcile);
    second.say(update("t0", 1, 0)).await;
    // It may have more to ask of the master before.
    let again = loop {
        let called = master.call().await;
        if called.kind == Type::Acknowledge {
            break called;
        }
    };
    assert_eq!(again.stream_id, second.id);
    handle.stop().await;
    running.await.expect("no panic").expect("stopped");
}

#[tokio::test]
async fn more_refused_calls_of_one_moment_than_any_queue_holds_are_all_told() {
    const CALLS: usize = 2_000;
    let mut master = Master::start().await;
    let (author, log) = author();
    let (handle, running) = framework(&master).start(author);
    let running = tokio::spawn(running);
    let stream = master.subscribed().await;
    stream.say(subscribed("f-1")).await;
    assert_eq!(master.call().await.kind, Type::Reconcile);
    (0..CALLS).for_each(|_| master.refuse_next(Status::invalid_argument("not today")));
    assert!(handle.send(Say::KillMany(CALLS)).await);
    let told = || log.lock().expect("fine").iter().filter(|line| *line == "error not today").count();
    master.wait_for(|| told() == CALLS).await;
    handle.stop().await;
    running.await.expect("no panic").expect("stopped");
}

#[tokio::test]
async fn the_next_life_comes_with_the_id_of_the_last_and_a_teardown_forgets_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut master = Master::start().await;
    for life in 1..=2 {
        let state = StateDir::open(folder.path()).expect("opened");
        let (author, _) = author();
        let (handle, running) = framework(&master).state(state).start(author);
        let running = tokio::spawn(running);
        let stream = master.subscribed().await;
        let id = stream.call.framework_id.as_ref().map(|id| id.value().to_owned());
        assert_eq!(id.as_deref(), if life == 1 { None } else { Some("f-1") });
        stream.say(subscribed("f-1")).await;
        assert_eq!(master.call().await.kind, Type::Reconcile);
        if life == 1 {
            handle.stop().await;
        } else {
            assert!(handle.send(Say::Teardown).await);
            assert_eq!(master.call().await.kind, Type::Teardown);
        }
        running.await.expect("no panic").expect("stopped");
    }
    assert_eq!(StateDir::open(folder.path()).expect("opened").framework_id().expect("read"), None);
}

#[tokio::test]
async fn where_no_master_is_the_run_ends_with_what_to_do() {
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let framework = Framework::new("hello").settings(Settings::master(Target::loopback(port)));
    let Err(error) = framework.patience(Some(Duration::from_millis(300))).run(author().0).await else {
        panic!("nobody is there")
    };
    assert!(matches!(error, RunError::Connect(_)));
    assert!(error.to_string().contains("start one with `bourse dev`"), "{error}");
}

#[tokio::test]
async fn a_master_that_takes_the_connection_and_says_nothing_is_waited_for_as_long_as_one_that_is_not_there()
{
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = mute.local_addr().expect("bound").port();
    let framework = Framework::new("hello").settings(Settings::master(Target::loopback(port)));
    let run = framework.patience(Some(Duration::from_millis(300))).run(author().0);
    // Well before any other time limit.
    let ended = tokio::time::timeout(Duration::from_secs(10), run).await.expect("it keeps its patience");
    let Err(error) = ended else { panic!("nobody answers") };
    assert!(matches!(error, RunError::NoMaster { .. }), "{error}");
    assert!(error.to_string().contains("the master does not answer"), "{error}");
}

#[tokio::test]
async fn a_token_that_is_refused_is_told_at_once() {
    let master = Master::start().await;
    master.refuse_next(Status::unauthenticated("there is no token in the call"));
    let Err(error) = framework(&master).patience(None).run(author().0).await else {
        panic!("it was refused")
    };
    assert!(error.to_string().contains("refused the token (none was sent)"), "{error}");
}

#[tokio::test]
async fn a_framework_that_the_master_ends_says_so() {
    let mut master = Master::start().await;
    let (author, log) = author();
    let running = tokio::spawn(framework(&master).run(author));
    let stream = master.subscribed().await;
    stream.say(subscribed("f-1")).await;
    stream.say(scripted::error("framework f-1 was removed")).await;
    let Err(error) = running.await.expect("no panic") else { panic!("it was refused") };
    assert_eq!(error.to_string(), "the master ended the framework: framework f-1 was removed");
    assert!(log.lock().expect("done").contains(&"error framework f-1 was removed".to_owned()));
}

#[tokio::test]
async fn a_drain_is_told_with_its_deadline() {
    let mut master = Master::start().await;
    let (author, log) = author();
    let (handle, running) = framework(&master).start(author);
    let running = tokio::spawn(running);
    let stream = master.subscribed().await;
    stream.say(subscribed("f-1")).await;
    stream.say(scripted::draining("a1", 5_000_000_000)).await;
    master.wait_for(|| log.lock().expect("fine").iter().any(|line| line == "draining a1 until 5000")).await;
    handle.stop().await;
    running.await.expect("no panic").expect("stopped");
}

#[tokio::test]
async fn what_ends_the_process_can_tear_the_framework_down() {
    let mut master = Master::start().await;
    let (ask, asked) = tokio::sync::oneshot::channel::<()>();
    let done = async move {
        let _ = asked.await;
    };
    let running = tokio::spawn(framework(&master).teardown_on(done).run(author().0));
    let stream = master.subscribed().await;
    stream.say(subscribed("f-1")).await;
    assert_eq!(master.call().await.kind, Type::Reconcile);
    ask.send(()).expect("it waits");
    assert_eq!(master.call().await.kind, Type::Teardown);
    running.await.expect("no panic").expect("torn down");
}
