//! Domain to wire bytes to domain is the identity.

use bourse_proto::Required;
use bourse_wire::{
    Form, agent, attributes, command, filters, framework, health, labels, resources, status, task, time,
};
use proptest::prelude::*;
use prost::Message;

use crate::any;

/// The message after it was sent: through bytes, and with all that Mesos requires.
fn sent<M: Message + Required + Default>(message: M) -> M {
    assert_eq!(message.missing(), None);
    M::decode(message.encode_to_vec().as_slice()).expect("what was encoded can be decoded")
}

fn sent_all<M: Message + Required + Default>(messages: Vec<M>) -> Vec<M> {
    messages.into_iter().map(sent).collect()
}

proptest! {
    #[test]
    fn resources_come_back_in_the_refined_form(all in any::resources()) {
        let written = sent_all(resources::write(&all, Form::Refined));
        let read = resources::read(&written).expect("what we write can be read");
        prop_assert_eq!(&read, &all);
        // Equal disks may differ in where they are mounted: compare that too.
        prop_assert_eq!(resources::write(&read, Form::Refined), written);
    }

    #[test]
    fn resources_come_back_in_the_form_before_refinement(all in any::unrefined_resources()) {
        let written = sent_all(resources::write(&all, Form::PreRefinement));
        let read = resources::read(&written).expect("what we write can be read");
        prop_assert_eq!(&read, &all);
        prop_assert_eq!(resources::write(&read, Form::PreRefinement), written);
    }

    #[test]
    fn refined_resources_are_left_out_of_the_form_that_cannot_say_them(all in any::resources()) {
        let written = resources::write(&all, Form::PreRefinement);
        let sayable = all.filter(|key| key.reservations.len() < 2);
        prop_assert_eq!(written.len(), sayable.iter().len());
        prop_assert!(written.iter().all(|form| form.role.is_some() && form.reservations.is_empty()));
    }

    #[test]
    fn attributes_come_back(all in any::attributes()) {
        let written = sent_all(attributes::write(&all));
        prop_assert_eq!(attributes::read(&written).expect("what we write can be read"), all);
    }

    #[test]
    fn labels_come_back(all in any::labels()) {
        let written = labels::write(&all).map(sent);
        prop_assert_eq!(labels::read(written.as_ref()).expect("what we write can be read"), all);
    }

    #[test]
    fn a_framework_comes_back(info in any::framework()) {
        let written = sent(framework::write(&info));
        prop_assert_eq!(framework::read(&written).expect("what we write can be read"), info);
    }

    #[test]
    fn an_agent_comes_back(info in any::agent(), id in any::agent_id()) {
        let written = sent(agent::write(Some(&id), &info));
        let address = agent::read_address(&info.address.to_string()).expect("what is displayed can be read");
        prop_assert_eq!(agent::read(&written, address, &info.version).expect("what we write can be read"), info);
    }

    #[test]
    fn a_command_comes_back(wanted in any::command()) {
        let written = sent(command::write(&wanted));
        prop_assert_eq!(command::read(&written).expect("what we write can be read"), wanted);
    }

    #[test]
    fn a_health_check_comes_back(check in any::health()) {
        let written = sent(health::write(&check));
        prop_assert_eq!(health::read(&written).expect("what we write can be read"), check);
    }

    #[test]
    fn a_task_comes_back(wanted in any::task()) {
        let written = sent(task::write(&wanted, Form::Refined));
        let read = task::read(&written, any::owner(&wanted)).expect("what we write can be read");
        prop_assert_eq!(&read, &wanted);
        prop_assert_eq!(task::write(&read, Form::Refined), written);
    }

    #[test]
    fn a_status_comes_back_in_both_forms(update in any::status()) {
        for form in [Form::Refined, Form::PreRefinement] {
            let written = sent(status::write(&update, form));
            prop_assert_eq!(&status::read(&written).expect("what we write can be read"), &update);
        }
    }

    #[test]
    fn spans_and_times_come_back(span in any::nanos(), long in any::millis(), when in any::wall()) {
        prop_assert_eq!(time::read_duration(&sent(time::write_duration(span))), Ok(span));
        prop_assert_eq!(time::read_seconds(time::write_seconds(long)), Ok(long));
        prop_assert_eq!(time::read_time(&sent(time::write_time(when))), Ok(when));
    }

    #[test]
    fn a_filter_comes_back_up_to_its_longest(refuse in any::millis()) {
        let written = sent(filters::write(refuse));
        prop_assert_eq!(filters::read(Some(&written)), refuse.min(filters::MAX_REFUSE));
    }
}
