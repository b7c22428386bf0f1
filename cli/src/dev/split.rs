//! Splitting one machine among several agents, exactly: nothing is offered twice, and little is lost.

use bourse_types::{Milli, Ranges, Resource, ResourceValue, Resources};

/// The part of `whole` that agent number `index` of `agents` has. Scalars are divided down to the thousandth, ports into
/// runs of equal length; what does not divide is left out.
pub fn share(whole: &Resources, index: u64, agents: u64) -> Resources {
    whole
        .iter()
        .filter_map(|resource| {
            let value = match &resource.value {
                ResourceValue::Scalar(amount) => {
                    let part = amount.thousandths() / agents;
                    // Memory and disk in whole MiB: nobody wants to read thousandths of them.
                    let grain = if amount.thousandths() >= 100_000 { 1_000 } else { 1 };
                    ResourceValue::Scalar(Milli::new(part / grain * grain))
                }
                ResourceValue::Ranges(ranges) => ResourceValue::Ranges(run(ranges, index, agents)),
                // A set's items cannot be told apart by what they are good for: the first agent has them all.
                ResourceValue::Set(items) if index == 0 => ResourceValue::Set(items.clone()),
                ResourceValue::Set(_) => return None,
            };
            Some(Resource { key: resource.key.clone(), value })
        })
        .collect()
}

/// The `index`th of `agents` equal runs of the values of `ranges`, lowest first.
fn run(ranges: &Ranges, index: u64, agents: u64) -> Ranges {
    let length = ranges.len() / agents;
    let before = ranges.take(length * index);
    let upto = ranges.take(length * (index + 1));
    upto.checked_sub(&before).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Resources {
        text.parse().expect("the test wrote it")
    }

    #[test]
    fn three_agents_get_equal_parts_and_no_port_twice() {
        let whole = parse("cpus:2; mem:10000; ports:[31000-31099]");
        let parts: Vec<String> = (0..3).map(|index| share(&whole, index, 3).to_string()).collect();
        assert_eq!(
            parts,
            [
                "cpus:0.666; mem:3333; ports:[31000-31032]",
                "cpus:0.666; mem:3333; ports:[31033-31065]",
                "cpus:0.666; mem:3333; ports:[31066-31098]",
            ]
        );
    }

    #[test]
    fn the_parts_fit_into_the_whole() {
        let whole = parse("cpus:7; mem:12345; disk:999; gpus:1; ports:[1-3, 10-16]");
        let sum: Resources =
            (0..4).flat_map(|index| share(&whole, index, 4).into_iter().collect::<Vec<_>>()).collect();
        assert!(whole.contains(&sum), "{sum} is more than {whole}");
    }
}
