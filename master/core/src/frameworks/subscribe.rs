//! A scheduler subscribes: a new framework, one that is back, or a newer instance that takes over.

use std::collections::BTreeSet;

use bourse_types::{FrameworkId, FrameworkInfo, Now, Principal, Role};

use crate::deadlines::Due;
use crate::effect::{Effect, Effects, ToScheduler};
use crate::event::{StreamId, Subscription};
use crate::frameworks::{Framework, FrameworkState};
use crate::history::{Entry, Kind};
use crate::master::Master;
use crate::registry::Change;

/// Frameworks of one principal, connected or away. Each is a record in the registry for as long as its failover timeout
/// lets it be, so a scheduler that forgets its id in a loop must meet an end before it has filled the disk.
pub const FRAMEWORKS_PER_PRINCIPAL_MAX: usize = 1_000;

/// Frameworks in all, so that many principals do not do together what one may not.
pub const FRAMEWORKS_MAX: usize = 10_000;

/// Why a subscription, or a change of one, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSubscription {
    /// It was torn down. The wording is Mesos': clients look for it.
    #[error("Framework has been removed; subscribe without an id to start a new one")]
    Removed,
    /// A role stands there twice.
    #[error("role {0} is listed twice; list each role once")]
    RepeatedRole(Role),
    /// A role is to be suppressed that the framework does not have.
    #[error(
        "suppressed role {0} is not among the framework's roles; add it to the roles or do not suppress it"
    )]
    SuppressedUnknown(Role),
    /// The framework belongs to somebody else.
    #[error("framework {framework} belongs to principal {owner}; subscribe with that principal's token")]
    Principal {
        /// The framework that was to be taken over.
        framework: FrameworkId,
        /// Who subscribed it first.
        owner: Principal,
    },
    /// One principal has too many.
    #[error(
        "principal {0} has {FRAMEWORKS_PER_PRINCIPAL_MAX} frameworks, and may not have more; subscribe with the id of one of \
         them, or tear down those that nobody needs: `bourse frameworks` lists them"
    )]
    TooManyOfPrincipal(Principal),
    /// There are too many.
    #[error(
        "there are {FRAMEWORKS_MAX} frameworks, and there may not be more; subscribe with the id of a known one, or let an \
         operator tear down those that nobody needs: `bourse frameworks` lists them"
    )]
    TooMany,
    /// It would be another framework's in time.
    #[error(
        "framework id {0} is one that this master gives, and it has not given it; subscribe without an id to be given one"
    )]
    NotGiven(FrameworkId),
}

/// Whether these roles may be subscribed and suppressed together. No role at all means `*`.
pub fn check_roles(roles: &[Role], suppressed: &[Role]) -> Result<(), BadSubscription> {
    let mut seen = BTreeSet::new();
    if let Some(repeated) = roles.iter().find(|role| !seen.insert(*role)) {
        return Err(BadSubscription::RepeatedRole(repeated.clone()));
    }
    let any = Role::any();
    let has = |role: &Role| seen.contains(role) || (roles.is_empty() && *role == any);
    match suppressed.iter().find(|role| !has(role)) {
        Some(unknown) => Err(BadSubscription::SuppressedUnknown(unknown.clone())),
        None => Ok(()),
    }
}

impl Master {
    /// A scheduler opens a subscription. Without an id it is a new framework. With one it takes the framework over:
    /// an older stream gets an ERROR and ends; offers of before are taken back; updates that wait for it are sent.
    /// User, checkpoint and principal stay as they were first given.
    ///
    /// A refusal is an ERROR on the new stream. A repeat by the same stream is told the same again.
    pub(crate) fn on_subscribes(
        &mut self,
        now: Now,
        stream: StreamId,
        subscription: Subscription,
        out: &mut Effects,
    ) {
        match self.check_subscription(&subscription) {
            Err(refusal) => self.refuse_subscription(stream, &subscription, &refusal, out),
            Ok(()) => self.subscribe(now, stream, subscription, out),
        }
    }

    fn check_subscription(&self, subscription: &Subscription) -> Result<(), BadSubscription> {
        let info = &subscription.info;
        check_roles(&info.roles, &subscription.suppressed)?;
        let Some(id) = &info.id else { return self.check_room(subscription) };
        if self.removed.contains(id) {
            return Err(BadSubscription::Removed);
        }
        let Some(known) = self.frameworks.get(id) else {
            return match self.never_gave_framework(id) {
                true => Err(BadSubscription::NotGiven(id.clone())),
                false => self.check_room(subscription),
            };
        };
        match &known.info.principal {
            Some(owner) if caller(subscription) != Some(owner) => {
                Err(BadSubscription::Principal { framework: id.clone(), owner: owner.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether there may be one more framework of this caller's.
    fn check_room(&self, subscription: &Subscription) -> Result<(), BadSubscription> {
        if self.frameworks.len() >= FRAMEWORKS_MAX {
            return Err(BadSubscription::TooMany);
        }
        let Some(caller) = caller(subscription) else { return Ok(()) };
        let theirs = self.frameworks.values().filter(|it| it.info.principal.as_ref() == Some(caller)).count();
        match theirs >= FRAMEWORKS_PER_PRINCIPAL_MAX {
            true => Err(BadSubscription::TooManyOfPrincipal(caller.clone())),
            false => Ok(()),
        }
    }

    fn refuse_subscription(
        &mut self,
        stream: StreamId,
        subscription: &Subscription,
        refusal: &BadSubscription,
        out: &mut Effects,
    ) {
        out.push(Effect::CloseStream { stream, error: refusal.to_string() });
        let summary = format!("framework {:?} was refused: {refusal}", subscription.info.name);
        let mut entry = Entry::new(Kind::Framework, summary).principal(subscription.principal.as_ref());
        entry.framework = subscription.info.id.clone();
        out.push(Effect::Record(entry));
    }

    fn subscribe(&mut self, now: Now, stream: StreamId, subscription: Subscription, out: &mut Effects) {
        let principal = caller(&subscription).cloned();
        let Subscription { mut info, suppressed, .. } = subscription;
        info.principal = principal;
        let id = info.id.clone().unwrap_or_else(|| self.next_framework_id());
        info.id = Some(id.clone());
        if info.roles.is_empty() {
            info.roles.push(Role::any());
        }
        let summary = match self.frameworks.get(&id).map(|framework| framework.state) {
            None => {
                let change = Change::FrameworkSubscribed { id: id.clone(), info: info.clone(), at: now.wall };
                out.push(Effect::Persist(change));
                let state = FrameworkState::Active { stream };
                self.frameworks.insert(id.clone(), Framework::new(id.clone(), info, state, now.wall));
                format!("framework {id} subscribed")
            }
            Some(before) => {
                self.take_over(&id, stream, before, out);
                self.replace_info(&id, info, out);
                match before {
                    FrameworkState::Active { .. } => {
                        format!("framework {id} was taken over by a newer subscription")
                    }
                    FrameworkState::Disconnected { .. } => format!("framework {id} is back"),
                    FrameworkState::Recovered { .. } => {
                        format!("framework {id} is back after the restart of the master")
                    }
                }
            }
        };
        let framework = self.framework_mut(&id);
        framework.suppressed = suppressed.into_iter().collect();
        framework.unserved.clear();
        let name = framework.info.name.clone();

        let heartbeat = self.config.heartbeat_interval;
        let subscribed =
            ToScheduler::Subscribed { framework: id.clone(), master: self.id.clone(), heartbeat };
        self.tell(&id, subscribed, out);
        self.repeat_pending_updates(&id, out);
        self.repeat_drains(&id, out);
        self.mark_all_dirty();
        out.push(Effect::Record(Entry::new(Kind::Framework, format!("{summary} ({name})")).framework(&id)));
    }

    /// The newest stream speaks for the framework from now on.
    fn take_over(&mut self, id: &FrameworkId, stream: StreamId, before: FrameworkState, out: &mut Effects) {
        match before {
            FrameworkState::Active { stream: older } if older != stream => {
                let error = "Framework failed over: a newer subscription took over".to_owned();
                out.push(Effect::CloseStream { stream: older, error });
            }
            FrameworkState::Active { .. } => {}
            FrameworkState::Recovered { deadline } | FrameworkState::Disconnected { deadline, .. } => {
                self.deadlines.clear(deadline, Due::Framework(id.clone()));
            }
        }
        // The new instance does not know the offers of the old one.
        self.take_back_offers_of_framework(id);
        self.forget_refusals(id, None);
        let framework = self.framework_mut(id);
        framework.state = FrameworkState::Active { stream };
        if framework.absence.take().is_some() {
            out.push(Effect::Persist(Change::FrameworkConnected { id: id.clone() }));
        }
    }

    /// What the framework says about itself from now on, except for what it cannot change.
    pub(crate) fn replace_info(&mut self, id: &FrameworkId, mut info: FrameworkInfo, out: &mut Effects) {
        let framework = self.framework_mut(id);
        info.id = Some(id.clone());
        info.user.clone_from(&framework.info.user);
        info.checkpoint = framework.info.checkpoint;
        info.principal.clone_from(&framework.info.principal);
        if info.roles.is_empty() {
            info.roles.push(Role::any());
        }
        if framework.info != info {
            framework.info = info.clone();
            let at = framework.registered;
            out.push(Effect::Persist(Change::FrameworkSubscribed { id: id.clone(), info, at }));
        }
    }

    /// Frameworks of which an agent tells, for a master that does not know them: its registry was lost, or is older.
    /// They get their failover timeout to come back, as if they had just gone.
    pub(crate) fn adopt_frameworks(&mut self, now: Now, frameworks: Vec<FrameworkInfo>, out: &mut Effects) {
        for mut info in frameworks {
            let Some(id) = info.id.clone() else { continue };
            if self.frameworks.contains(&id) || self.removed.contains(&id) {
                continue;
            }
            if info.roles.is_empty() {
                info.roles.push(Role::any());
            }
            out.push(Effect::Persist(Change::FrameworkSubscribed {
                id: id.clone(),
                info: info.clone(),
                at: now.wall,
            }));
            let deadline = now.mono + info.failover_timeout.max(self.config.reregister_timeout);
            self.deadlines.set(deadline, Due::Framework(id.clone()));
            let state = FrameworkState::Recovered { deadline };
            self.frameworks.insert(id.clone(), Framework::new(id, info, state, now.wall));
        }
    }
}

/// Who subscribes: whom the door authenticated, or else whom the framework names.
fn caller(subscription: &Subscription) -> Option<&Principal> {
    subscription.principal.as_ref().or(subscription.info.principal.as_ref())
}
