//! Weights of roles: how much of the cluster a role may have before its turn is over.

use bourse_types::{Milli, Principal, Role};

use crate::effect::{Done, Effect, Effects, Refused};
use crate::history::{Entry, Kind};
use crate::master::Master;
use crate::registry::{Change, DEFAULT_WEIGHT};

/// The greatest weight, in units; the least is a thousandth.
const WEIGHT_MAX: Milli = Milli::whole(1_000_000);

impl Master {
    /// The weight of a role: 1 unless somebody weighed it.
    pub(crate) fn weight(&self, role: &Role) -> Milli {
        self.weights.get(role).copied().unwrap_or(DEFAULT_WEIGHT)
    }

    /// An operator weighs a role. Outstanding offers are rescinded, to be made anew by the new weights. A repeat
    /// changes nothing.
    pub(crate) fn on_set_weight(
        &mut self,
        role: Role,
        weight: Milli,
        principal: Option<&Principal>,
        out: &mut Effects,
    ) -> Result<Done, Refused> {
        if weight.is_zero() || weight > WEIGHT_MAX {
            return Err(Refused::Invalid(format!(
                "the weight is {weight}; it must be from 0.001 to 1000000"
            )));
        }
        if self.weight(&role) == weight {
            return Ok(Done::WeightSet);
        }
        out.push(Effect::Persist(Change::WeightSet { role: role.clone(), weight }));
        match weight == DEFAULT_WEIGHT {
            true => _ = self.weights.remove(&role),
            false => _ = self.weights.insert(role.clone(), weight),
        }
        let within = |subscribed: &Role| subscribed.is_within(&role);
        if self.frameworks.values().any(|framework| framework.info.roles.iter().any(within)) {
            self.rescind_all("the weights of roles changed", out);
            self.mark_all_dirty();
        }
        let entry = Entry::new(Kind::Operator, format!("role {role} weighs {weight}"));
        out.push(Effect::Record(entry.role(&role).principal(principal)));
        Ok(Done::WeightSet)
    }
}
