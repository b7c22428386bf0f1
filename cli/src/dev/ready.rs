//! When a dev cluster is ready, and the example that a fresh one starts with.

use std::time::Duration;

use anyhow::{Context, bail};
use bourse_client::{Connection, Given, Settings};
use bourse_proto::operator::GetClusterRequest;
use bourse_proto::services::{DeployRequest, ListServicesRequest};
use tokio::time::{Instant, sleep};

use crate::dev::state::State;
use crate::exit::refused;
use crate::session::Session;

/// The service that a fresh dev cluster starts with.
const EXAMPLE: &str = include_str!("../../../examples/services/hello.toml");

/// How long all parts together may take until they are ready.
const READY: Duration = Duration::from_secs(30);
/// How often readiness is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until the master answers, this many agents are active, and the service framework is reached through the
/// master; then a fresh cluster gets its example.
pub async fn ready(state: &State, master: &str, agents: u32, with_example: bool) -> anyhow::Result<()> {
    let give_up = Instant::now() + READY;
    let given =
        Given { master: Some(master.into()), token_file: Some(state.token("operator")), ..Given::default() };
    let connection = Connection::lazy(&Settings::find(given, &|_| None)?)?;
    let mut session = Session::over(&connection);
    let mut missing = "the master".to_string();
    while Instant::now() < give_up {
        sleep(LOOK).await;
        let Ok(cluster) = session.operator.get_cluster(GetClusterRequest {}).await else { continue };
        let active = cluster.into_inner().agents_active;
        missing = format!("{} agents of {agents}", agents.saturating_sub(active));
        if active < agents {
            continue;
        }
        missing = "the service framework".into();
        let Ok(list) = session.services.list(ListServicesRequest::default()).await else { continue };
        let example = state.example();
        if with_example && !example.exists() {
            if list.into_inner().services.is_empty() {
                let request = DeployRequest { toml: EXAMPLE.into(), file_name: "hello.toml".into() };
                session.services.deploy(request).await.map_err(refused)?;
            }
            // Once: who removes the example does not want it back.
            std::fs::write(&example, "").with_context(|| format!("writing {}", example.display()))?;
        }
        return Ok(());
    }
    bail!("waited {READY:?} for {missing}; see the logs in {}", state.logs().display())
}
