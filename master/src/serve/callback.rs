//! Calling back those who called: an agent for a log, the service framework for its services.
//!
//! **What is this room for?** Agents and the service framework have APIs of their own, which the master forwards to so
//! that people need to know one address only.
//!
//! **What does it promise?** Whoever is called back is shown the token that it registered with: a secret that both
//! ends have already, and that opens nothing which its owner could not open anyway. The caller's own token never leaves
//! the master; who it was goes along in `bourse-principal`.
//!
//! **What does it leave to others?** Where they are is what they told: the registration's address, the framework's label
//! [`API_LABEL`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bourse_client::token::{Token, TokenSource};
use bourse_client::{Connection, Scheme, Settings, Target};
use bourse_types::{AgentId, FrameworkId, Principal};
use tonic::Status;
use tonic::metadata::MetadataValue;

use super::auth::Caller;

/// By this label a framework says where its own API is: `host:port`.
pub const API_LABEL: &str = "bourse-api";

/// In calls that are forwarded: who made them.
pub const PRINCIPAL_HEADER: &str = "bourse-principal";

/// How to call back, and with which tokens. Clones share them; a leaf lock, held for a look.
#[derive(Clone, Debug)]
pub(super) struct Callbacks {
    ca_file: Option<PathBuf>,
    insecure: bool,
    tokens: Arc<Mutex<Shown>>,
}

/// The tokens that were shown by those who registered.
#[derive(Debug, Default)]
struct Shown {
    agents: HashMap<AgentId, Caller>,
    frameworks: HashMap<FrameworkId, Caller>,
}

impl Callbacks {
    pub(super) fn new(ca_file: Option<PathBuf>, insecure: bool) -> Callbacks {
        Callbacks { ca_file, insecure, tokens: Arc::default() }
    }

    /// An agent has registered.
    pub(super) fn agent(&self, id: &AgentId, caller: &Caller) {
        self.shown().agents.insert(id.clone(), caller.clone());
    }

    /// A framework has subscribed.
    pub(super) fn framework(&self, id: &FrameworkId, caller: &Caller) {
        self.shown().frameworks.insert(id.clone(), caller.clone());
    }

    /// Forgets those who are no more.
    pub(super) fn retain(&self, agent: impl Fn(&AgentId) -> bool, framework: impl Fn(&FrameworkId) -> bool) {
        let mut shown = self.shown();
        shown.agents.retain(|id, _| agent(id));
        shown.frameworks.retain(|id, _| framework(id));
    }

    /// A connection to an agent's API at this address.
    pub(super) async fn to_agent(&self, id: &AgentId, address: &str) -> Result<Connection, Status> {
        let caller = self.shown().agents.get(id).cloned();
        let who = format!("agent {id}");
        self.open(&who, address, caller).await
    }

    /// A connection to a framework's API at this address.
    pub(super) async fn to_framework(&self, id: &FrameworkId, address: &str) -> Result<Connection, Status> {
        let caller = self.shown().frameworks.get(id).cloned();
        let who = format!("framework {id}");
        self.open(&who, address, caller).await
    }

    async fn open(&self, who: &str, address: &str, caller: Option<Caller>) -> Result<Connection, Status> {
        let caller = caller.ok_or_else(|| {
            Status::unavailable(format!("{who} has not connected to this master yet; try again in a moment"))
        })?;
        let unusable =
            |why: String| Status::unavailable(format!("{who} cannot be called back at {address:?}: {why}"));
        let target = Target::parse(address, 0).map_err(|why| unusable(why.to_string()))?;
        let token = Token::new(&*caller.token).map_err(|why| unusable(why.to_string()))?;
        let settings = settings_for(target, self.ca_file.as_deref(), self.insecure);
        let settings = settings.with_token(TokenSource::Text(token));
        Connection::open(&settings).await.map_err(|why| unusable(why.to_string()))
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        // No method here stops half way.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How to call a target. What registers tells host and port only, so where it is decides: what stays on this machine is
/// plain, as the service framework's API is beside its master, also where there is an authority for the others; unless
/// the address itself says `https://`.
fn settings_for(target: Target, tls_ca: Option<&Path>, insecure: bool) -> Settings {
    let by_tls = !target.is_loopback() || target.scheme() == Some(Scheme::Https);
    let ca_file = tls_ca.filter(|_| by_tls).map(Path::to_owned);
    Settings { ca_file, insecure, ..Settings::agent(target) }
}

/// A request to forward, with who made it and nothing else of the caller's.
pub(super) fn forwarded<T>(message: T, principal: &Principal) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Ok(value) = MetadataValue::try_from(principal.as_str()) {
        request.metadata_mut().insert(PRINCIPAL_HEADER, value);
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_for_whoever_is_called_by_tls_and_that_is_who_is_on_another_machine_or_says_so() {
        let ca = Path::new("/etc/bourse/ca.pem");
        for (address, by_tls) in [
            ("127.0.0.1:5051", false),
            ("[::1]:5051", false),
            ("localhost:5051", false),
            ("https://127.0.0.1:5051", true),
            ("10.0.0.2:5051", true),
            ("agent-2.example:5051", true),
        ] {
            let target = || Target::parse(address, 0).expect("an address");
            for insecure in [false, true] {
                let settings = settings_for(target(), Some(ca), insecure);
                assert_eq!(settings.ca_file.as_deref(), by_tls.then_some(ca), "{address}");
                assert_eq!((settings.insecure, &settings.target), (insecure, &target()), "{address}");
                assert_eq!(settings_for(target(), None, insecure).ca_file, None, "{address}");
            }
        }
    }
}
