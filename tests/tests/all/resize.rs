//! A running task gets another size: from its framework's call to the kernel's limit.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, thread};

use bourse_client::{Settings, Target, Token, TokenSource};
use bourse_sdk::{Calls, Event, Framework, Offer, Placed, Scheduler, Task};
use bourse_tests::cluster::token;
use bourse_tests::{PATIENCE, Plan, wait_for, wait_until};
use bourse_types::{Milli, Now, Resources, TaskState, TaskStatus};

/// Has one task, and gives it more once it runs.
struct Grower {
    command: String,
    wanted: Resources,
    /// Once it is there, all is over.
    enough: PathBuf,
    placed: Option<Placed>,
    runs: bool,
    asked: bool,
}

impl Grower {
    fn on_offer(&mut self, mut offer: Offer, calls: &mut Calls) {
        match &self.placed {
            None => {
                let task = Task::new(calls.task_id("grows")).command(&self.command);
                self.placed = offer.launch(task.cpus(Milli::new(200)).mem_mib(32)).ok();
            }
            Some(placed) if self.runs && !self.asked && *offer.agent() == placed.agent => {
                let resized = offer.resize(&placed.task, &placed.resources, &self.wanted, BTreeMap::new());
                self.asked = resized.is_ok();
            }
            Some(_) => {}
        }
        calls.accept(offer);
    }

    fn on_update(&mut self, status: &TaskStatus) {
        self.runs = status.state == TaskState::Running;
        if let Some(size) = &status.size {
            assert_eq!((size.resources.to_string(), status.reason), (self.wanted.to_string(), None));
        }
    }
}

impl Scheduler for Grower {
    type Message = ();

    fn on(&mut self, _now: Now, event: Event<()>, calls: &mut Calls) {
        match event {
            // Offers come all the time, as none is declined for long.
            Event::Offer(_) if self.enough.exists() => calls.teardown(),
            Event::Offer(offer) => self.on_offer(offer, calls),
            Event::Update(status) => self.on_update(&status),
            _ => {}
        }
    }
}

#[test]
fn a_running_task_is_given_more_and_can_use_it() {
    let cluster = Plan::agents(1).start();
    let [go, done, enough] = ["go", "done", "enough"].map(|name| cluster.shared().join(name));
    // Without a line break, `tail` has to keep all that it reads: more than the task may have at first.
    let command = format!(
        "while [ ! -e {} ]; do sleep 0.05; done; head -c 67108864 /dev/zero | tail -n 1 | wc -c > {}; exec sleep 1000",
        go.display(),
        done.display()
    );
    let grower = Grower {
        command,
        wanted: "cpus:0.4; mem:256".parse().expect("amounts"),
        enough: enough.clone(),
        placed: None,
        runs: false,
        asked: false,
    };
    let target: Target = cluster.master().parse().expect("an address");
    let source = TokenSource::Text(Token::new(token("framework")).expect("a token"));
    let framework = Framework::new("grower")
        .settings(Settings::master(target).with_token(source))
        .user("nobody")
        .decline_for(Duration::from_millis(100));
    let runs = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(framework.run(grower)).map(drop)
    });

    let task = wait_for("the task to have more", PATIENCE, || {
        let tasks = cluster.api.running().map_err(|status| status.to_string())?;
        let has = |task: &bourse_proto::operator::Task| {
            task.allocated.as_ref().is_some_and(|has| (has.cpus, has.mem_mib) == (0.4, 256.0))
        };
        tasks.iter().find(|task| has(task)).cloned().ok_or(format!("{tasks:?}"))
    });
    wait_for("the answer to be known", PATIENCE, || {
        let told = cluster.cli().ok(["task", &task.id]).stdout;
        let known = told.contains("0.4 cpus, 256MiB") && told.contains("resized to cpus:0.4; mem:256");
        if known { Ok(()) } else { Err(told) }
    });
    fs::write(&go, "").expect("the test's own folder is writable");
    wait_until("the task to have used it", || {
        fs::read_to_string(&done).is_ok_and(|text| text.trim() == "67108864")
    });
    let after = cluster.api.task(&task.id).expect("it is listed");
    assert_eq!((after.state.as_str(), after.pid), ("TASK_RUNNING", task.pid));

    fs::write(&enough, "").expect("the test's own folder is writable");
    runs.join().expect("the framework does not panic").expect("it ends by itself");
}
