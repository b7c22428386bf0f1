//! What Mesos clients send, in the forms they send it in.

use std::time::{Duration, Instant};

use bourse_proto::v1::{self, resource::ReservationInfo, resource::reservation_info};
use bourse_types::{BadRole, OfferId, Resource, Resources, Role};
use bourse_wire::ids::BadWireId;
use bourse_wire::{Form, Under, agent, attributes, filters, framework, ids, resources, role};

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn cpus(units: f64) -> v1::Resource {
    v1::Resource {
        name: text("cpus"),
        r#type: Some(v1::value::Type::Scalar as i32),
        scalar: Some(v1::value::Scalar { value: Some(units) }),
        ..Default::default()
    }
}

fn dynamic(role: &str) -> ReservationInfo {
    ReservationInfo {
        r#type: Some(reservation_info::Type::Dynamic as i32),
        role: text(role),
        ..Default::default()
    }
}

fn read(form: v1::Resource) -> Resource {
    resources::read_one(&form).expect("a valid resource")
}

#[test]
fn a_resource_without_a_role_and_one_of_everybody_are_the_same() {
    assert_eq!(read(cpus(1.0)), read(v1::Resource { role: text("*"), ..cpus(1.0) }));
    assert!(read(cpus(1.0)).key.reservations.is_empty());
}

#[test]
fn both_forms_of_a_dynamic_reservation_are_the_same() {
    let older = v1::Resource {
        role: text("web"),
        reservation: Some(ReservationInfo { principal: text("ops"), ..Default::default() }),
        ..cpus(1.0)
    };
    let refined = v1::Resource {
        reservations: vec![ReservationInfo { principal: text("ops"), ..dynamic("web") }],
        ..cpus(1.0)
    };
    assert_eq!(read(older), read(refined));
}

#[test]
fn both_forms_of_a_static_reservation_are_the_same() {
    let kind = Some(reservation_info::Type::Static as i32);
    let refined =
        v1::Resource { reservations: vec![ReservationInfo { r#type: kind, ..dynamic("web") }], ..cpus(1.0) };
    assert_eq!(read(v1::Resource { role: text("web"), ..cpus(1.0) }), read(refined));
}

#[test]
fn a_role_beside_reservations_passes_only_where_it_says_the_same() {
    let stack = vec![dynamic("eng"), dynamic("eng/web")];
    let form = v1::Resource { reservations: stack, ..cpus(1.0) };
    assert_eq!(read(v1::Resource { role: text("eng/web"), ..form.clone() }), read(form.clone()));
    let wrong =
        resources::read_one(&v1::Resource { role: text("*"), ..form }).expect_err("contradicts itself");
    assert_eq!(wrong.to_string(), "role: set beside reservations, which say it all; leave it out");
}

#[test]
fn the_form_for_each_kind_of_framework_is_the_one_that_it_matches_on() {
    let plain: Resources = "cpus:4".parse().expect("valid");
    let refined = &resources::write(&plain, Form::Refined)[0];
    assert_eq!((refined.role.clone(), refined.reservations.len()), (None, 0));
    let older = &resources::write(&plain, Form::PreRefinement)[0];
    assert_eq!((older.role.as_deref(), &older.reservation), (Some("*"), &None));
}

#[test]
fn an_offer_says_to_whom_it_is_allocated_and_what_comes_back_may_leave_it_out() {
    let web = Role::new("web").expect("valid");
    let mut offered = vec![cpus(1.0), cpus(2.0)];
    resources::allocate(&mut offered, &web);
    assert_eq!(offered[1].allocation_info.as_ref().map(|info| info.role()), Some("web"));

    assert!(resources::check_allocation(&offered, &web).is_ok());
    assert!(resources::check_allocation(&[cpus(1.0)], &web).is_ok());
    let wrong =
        resources::check_allocation(&offered, &Role::any()).under::<resources::BadResource>("resources");
    assert_eq!(
        wrong.expect_err("allocated to somebody else").to_string(),
        "resources[0].allocation_info.role: allocated to role web, but the offer was to *; \
         send the offer's allocation_info or none"
    );
}

#[test]
fn equal_resources_are_added_up_and_exact() {
    let all = resources::read(&[cpus(0.1), cpus(0.2), cpus(0.0)]).expect("valid");
    assert_eq!(all.to_string(), "cpus:0.3");
}

/// Far more than reading takes, and far less than comparing each with each would.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn ranges_from_the_highest_down_cost_no_more_than_others() {
    let began = Instant::now();
    let range = |n: u64| v1::value::Range { begin: Some(2 * n), end: Some(2 * n) };
    let form = v1::Resource {
        name: text("ports"),
        r#type: Some(v1::value::Type::Ranges as i32),
        ranges: Some(v1::value::Ranges { range: (0..500_000).rev().map(range).collect() }),
        ..Default::default()
    };
    let bourse_types::ResourceValue::Ranges(ranges) = read(form).value else { panic!("they are ranges") };
    assert_eq!(ranges.len(), 500_000);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
fn a_framework_of_very_many_roles_costs_no_more_than_their_number() {
    use v1::framework_info::{Capability, capability};
    let began = Instant::now();
    let mut form = v1::FrameworkInfo {
        name: text("f"),
        user: text("nobody"),
        capabilities: vec![Capability { r#type: Some(capability::Type::MultiRole as i32) }],
        roles: (0..150_000).map(|n| format!("r{n}")).collect(),
        ..Default::default()
    };
    assert_eq!(framework::read(&form).expect("valid").roles.len(), 150_000);
    form.roles.push("r7".to_owned());
    let refused = framework::read(&form).expect_err("r7 is there twice");
    assert_eq!(refused.path(), "roles[150000]");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
fn a_set_among_attributes_is_text() {
    let form = v1::Attribute {
        name: text("racks"),
        r#type: Some(v1::value::Type::Set as i32),
        set: Some(v1::value::Set { item: vec!["b".into(), "a".into()] }),
        ..Default::default()
    };
    assert_eq!(attributes::read(&[form]).expect("valid").to_string(), "racks:{a, b}");
}

#[test]
fn a_framework_without_multi_role_has_its_one_role_or_everybodys() {
    let form = v1::FrameworkInfo { name: text("f"), user: text("nobody"), ..Default::default() };
    let info = framework::read(&form).expect("valid");
    assert_eq!(info.roles, [Role::any()]);
    // The wire's defaults, and not ours: see the design, "Defaults belong to the wire".
    assert_eq!((info.failover_timeout, info.checkpoint), (Duration::ZERO, false));

    let web = framework::read(&v1::FrameworkInfo { role: text("web"), ..form }).expect("valid");
    assert_eq!(web.roles, [Role::new("web").expect("valid")]);
}

#[test]
fn an_id_without_text_is_a_first_subscription() {
    let id = Some(v1::FrameworkId { value: text("") });
    let form = v1::FrameworkInfo { name: text("f"), user: text("nobody"), id, ..Default::default() };
    assert_eq!(framework::read(&form).expect("valid").id, None);
}

#[test]
fn a_filter_that_makes_no_sense_is_the_default_as_in_mesos() {
    let read = |seconds| filters::read(Some(&v1::Filters { refuse_seconds: Some(seconds) }));
    assert_eq!(filters::read(None), Duration::from_secs(5));
    assert_eq!(filters::read(Some(&v1::Filters { refuse_seconds: None })), Duration::from_secs(5));
    assert_eq!(read(-1.0), Duration::from_secs(5));
    assert_eq!(read(f64::NAN), Duration::from_secs(5));
    assert_eq!(read(0.0), Duration::ZERO);
    assert_eq!(read(f64::INFINITY), filters::MAX_REFUSE);
}

#[test]
fn lists_keep_their_order_and_name_the_entry_that_is_wrong() {
    let roles = role::read_list::<BadRole>("roles", &["web".into(), "a b".into()]).expect_err("a space");
    assert_eq!(roles.path(), "roles[1]");
    let form = |value: &str| v1::OfferId { value: text(value) };
    let list = |forms: &[v1::OfferId]| ids::list::<OfferId, BadWireId>("offer_ids", forms);
    assert_eq!(list(&[form("b"), form("a")]).expect("valid"), ["b", "a"]);
    assert_eq!(list(&[form("b"), form("a/b")]).expect_err("a slash").path(), "offer_ids[1].value");
}

#[test]
fn an_address_without_brackets_is_not_guessed() {
    for text in ["::1:5051", "host", ":5051", "host:", "host:0", "host:65536", "[]:5051", "[::1]"] {
        let refused = agent::read_address(text).expect_err(text).to_string();
        assert!(refused.ends_with("write host:port, such as agent-7:5051 or [::1]:5051"), "{refused}");
    }
}
