use std::collections::BTreeSet;

use bourse_proto::agent_link::from_agent::Message;
use bourse_proto::v1::TaskState::*;

use crate::lab::Lab;

#[tokio::test]
async fn an_agent_whose_tasks_do_not_fit_into_one_message_registers_with_all_of_them() {
    let mut lab = Lab::new().await;
    // Their ends stay untold, so that the agent has to speak of them again.
    lab.master.acknowledges(false);
    for task in ["t1", "t2"] {
        lab.run_refused(task, &vec![0; 9 << 20]);
        lab.until_state(task, TaskError).await;
    }
    lab.kill_agent().await;
    lab.start().await;
    let again = lab.master.registrations().pop().expect("registered again");
    assert_eq!((again.tasks.len(), again.frameworks.len()), (2, 1));
    lab.clean().await;
}

#[tokio::test]
async fn thousands_of_updates_that_waited_for_the_master_all_come_by_one_link() {
    const TASKS: usize = 5_000;
    let lab = Lab::new().await;
    lab.master.acknowledges(false);
    let updates = |from: usize| {
        let heard = lab.master.heard().split_off(from);
        let updates = heard.into_iter().filter_map(|message| match message {
            Message::Update(update) => update.status?.task_id?.value,
            _ => None,
        });
        updates.collect::<BTreeSet<String>>().len()
    };
    let all_since = async |from: usize| {
        let mut enough = from + TASKS;
        while updates(from) < TASKS {
            lab.until("the updates come", |master| master.heard_count() >= enough).await;
            enough += 1;
        }
    };
    let before = lab.master.heard_count();
    (0..TASKS).for_each(|task| lab.run_refused(&format!("t{task}"), &[]));
    all_since(before).await;
    let (before, links) = (lab.master.heard_count(), lab.master.registrations().len());
    lab.master.hang_up();
    all_since(before).await;
    assert_eq!(lab.master.registrations().len(), links + 1, "one link was enough");
    lab.clean().await;
}
