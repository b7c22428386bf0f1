//! What a framework wants offers for: suppress, revive, and changes of what it says about itself.

use bourse_types::{FrameworkId, FrameworkInfo, Role};

use crate::effect::{Effect, Effects};
use crate::frameworks::check_roles;
use crate::history::{Entry, Kind};
use crate::master::Master;

impl Master {
    /// No offers for these roles (none named: all of them) until they are revived. Outstanding offers stay. Roles
    /// that the framework does not have are left aside; a repeat changes nothing.
    pub(crate) fn on_suppress(&mut self, id: &FrameworkId, roles: &[Role]) {
        let framework = self.framework_mut(id);
        let named: Vec<Role> = named_or_all(roles, &framework.info.roles);
        framework.suppressed.extend(named);
    }

    /// Offers for these roles (none named: all of them) again, and their filters are forgotten: in Mesos REVIVE means
    /// both. A repeat forgets the filters set in between.
    pub(crate) fn on_revive(&mut self, id: &FrameworkId, roles: &[Role]) {
        let framework = self.framework_mut(id);
        let named: Vec<Role> = named_or_all(roles, &framework.info.roles);
        for role in &named {
            framework.suppressed.remove(role);
        }
        for role in &named {
            self.forget_refusals(id, Some(role));
        }
        self.mark_all_dirty();
    }

    /// Replaces what the framework says about itself and its suppressed roles. Offers of roles that it leaves are
    /// rescinded; its tasks stay. A repeat changes nothing but forgets its filters.
    ///
    /// The door asks [`check_roles`] first and answers; one that comes through nevertheless is left aside and noted.
    pub(crate) fn on_update_framework(
        &mut self,
        id: &FrameworkId,
        info: FrameworkInfo,
        suppressed: Vec<Role>,
        out: &mut Effects,
    ) {
        if let Err(refusal) = check_roles(&info.roles, &suppressed) {
            let summary = format!("an update of framework {id} was refused: {refusal}");
            out.push(Effect::Record(Entry::new(Kind::Framework, summary).framework(id)));
            return;
        }
        self.replace_info(id, info, out);
        self.framework_mut(id).suppressed = suppressed.into_iter().collect();
        self.rescind_offers_of_left_roles(id, out);
        self.forget_refusals(id, None);
        self.mark_all_dirty();
    }
}

fn named_or_all(named: &[Role], all: &[Role]) -> Vec<Role> {
    match named.is_empty() {
        true => all.to_vec(),
        false => named.iter().filter(|role| all.contains(role)).cloned().collect(),
    }
}
