// cargo run --example hello
//! A whole scheduler: it runs ten short tasks and ends. Start `make run` in another terminal first.
//!
//! Kill it whenever you like and start it again: it goes on where it was, and runs no task twice.

use std::collections::BTreeSet;

use bourse_sdk::{Calls, Event, Framework, Scheduler, StateDir, Task};
use bourse_types::TaskState::{Dropped, Gone, Lost, Unknown};
use bourse_types::{Milli, Now, TaskId};

/// How many tasks are still to be launched, and which ones have not ended.
struct Hello {
    wanted: usize,
    open: BTreeSet<TaskId>,
}

impl Scheduler for Hello {
    type Message = ();

    fn on(&mut self, _now: Now, event: Event<()>, calls: &mut Calls) {
        match event {
            Event::Offer(mut offer) => {
                while self.wanted > 0 {
                    let task =
                        Task::new(calls.task_id("hello")).command("echo hello from $HOSTNAME; sleep 1");
                    let Ok(placed) = offer.launch(task.cpus(Milli::new(100)).mem_mib(32)) else { break };
                    println!("{} is launched on {}", placed.task, offer.hostname());
                    calls.save(placed.task.as_str(), "launched"); // Durable before the launch leaves.
                    self.open.insert(placed.task);
                    self.wanted -= 1;
                }
                calls.accept(offer); // What no task took is declined.
            }
            Event::Update(status) => {
                println!("{} is {} {}", status.task_id, status.state, status.message.unwrap_or_default());
                let lost = matches!(status.state, Lost | Dropped | Gone | Unknown);
                if (lost || status.state.is_terminal()) && self.open.remove(&status.task_id) {
                    if lost {
                        calls.forget(status.task_id.as_str());
                        self.wanted += 1;
                        calls.revive(); // Another one in its place: offers, please.
                    } else {
                        calls.save(status.task_id.as_str(), "ended"); // Durable before it is acknowledged.
                    }
                }
            }
            _ => {} // Reconnecting, reconciling, acknowledging: the SDK does it.
        }
        if self.wanted == 0 && self.open.is_empty() {
            calls.teardown();
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let state = StateDir::of_user("hello")?;
    let launched = state.values()?;
    let unfinished = launched.iter().filter(|(_, saved)| *saved == "launched");
    let open = unfinished.map(|(id, _)| id.parse()).collect::<Result<_, _>>()?;
    let hello = Hello { wanted: 10usize.saturating_sub(launched.len()), open };
    let open = hello.open.iter().map(|id| (id.clone(), None)).collect::<Vec<_>>();
    Framework::new("hello").state(state).tasks(open).begin_anew().run(hello).await?;
    Ok(())
}
