//! Each shape in small: it does what it says, or its figures mean nothing.

use super::placements::{Class, Mix};
use super::*;

const SMALL: Size = Size { agents: 20, frameworks: 5 };

#[test]
fn each_shape_does_in_small_what_it_says() {
    let did = |result: anyhow::Result<Did>| result.expect("it checks itself");

    // Each framework is offered each agent once, and refuses it.
    let declined = Did { offers: 100, declined: 100, tasks: 20, ended: 0 };
    assert_eq!(did(decline::measure(SMALL)), declined);

    assert_eq!(did(passes::roles(SMALL, 1)), Did { offers: 20, ..Did::default() });
    assert_eq!(did(passes::roles(SMALL, 2)), Did { offers: 20, ..Did::default() });

    // Two agents have room at first, and in each of ten rounds.
    assert_eq!(did(passes::full(SMALL, 9)), Did { offers: 22, tasks: 20, ..Did::default() });
    assert_eq!(did(passes::full(SMALL, 0)), Did { offers: 220, tasks: 20, ..Did::default() });

    // Two at first; ten agents each round, three rounds, twice; then ten agents that all five refuse. A task of ten ends
    // in each round of both kinds, and each that ends on a full agent is followed by another one.
    let incremental = Did { offers: 2 + 60 + 50, declined: 50, tasks: 20 + 60 + 60, ended: 120 };
    assert_eq!(did(passes::incremental(SMALL, 3)), incremental);

    assert_eq!(did(passes::revive(SMALL)), Did { offers: 2, tasks: 20, ..Did::default() });

    // Eight of two hundred tasks, on agents that have nothing free before.
    let updated = did(updates::measure(SMALL, 2));
    assert_eq!((updated.tasks, updated.ended), (200, 8));

    let mix = Mix {
        what: "small",
        agents: 20,
        machine: "cpus:4;mem:1024",
        classes: &[
            Class { frameworks: 1, tasks: 30, an_offer: 3, size: "cpus:1;mem:64" },
            Class { frameworks: 4, tasks: 5, an_offer: 1, size: "cpus:0.5;mem:64" },
        ],
    };
    let placed = did(placements::measure(&mix, mix.size()));
    assert_eq!((placed.tasks, placed.ended), (50, 0));
    assert!(placed.offers >= 30, "a task an offer for twenty, three an offer for thirty: {placed}");

    let cluster = failover::Cluster { what: "small", size: SMALL, tasks: 3, labels: 2, cited: "" };
    let back = did(failover::measure(&cluster, SMALL));
    assert_eq!((back.tasks, back.ended), (60, 0));
    assert!(back.offers >= 20, "each agent has room: {back}");

    assert_eq!(memory::cluster(SMALL, 3, false).did(), Did { tasks: 60, ..Did::default() });
    assert_eq!(memory::cluster(SMALL, 3, true).did(), Did { offers: 20, tasks: 60, ..Did::default() });
}

#[test]
fn a_bound_cuts_sizes_and_equal_ones_are_measured_once_without_the_figure_of_the_whole() {
    let bounds = Bounds { agents: Some(1_500), frameworks: None };
    let mut measured = Vec::new();
    each(bounds, &DECLINE, "decline", |size| {
        measured.push((size.agents, size.frameworks));
        Ok(Did::default())
    })
    .expect("nothing fails");
    assert_eq!(measured, [(1_000, 200), (1_500, 200), (1_500, 2_000), (1_500, 100)]);
    measured.clear();
    let both = Bounds { agents: Some(10), frameworks: Some(10) };
    each(both, &GRID, "full", |size| {
        measured.push((size.agents, size.frameworks));
        Ok(Did::default())
    })
    .expect("nothing fails");
    assert_eq!(measured, [(10, 1), (10, 10)]);
}
