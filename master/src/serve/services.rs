//! The services' door: forwards to the service framework, so that people need to know the master only.

use bourse_client::Connection;
use bourse_master_core::FrameworkState;
use bourse_proto::services as wire;
use bourse_proto::services::services_server::Services;
use bourse_types::FrameworkId;
use tonic::{Request, Response, Status};

use super::auth::{Caller, Kind};
use super::callback::{API_LABEL, Callbacks, forwarded};
use crate::driver::Handle;

/// The service.
#[derive(Clone)]
pub(super) struct ServicesDoor {
    pub(super) driver: Handle,
    pub(super) callbacks: Callbacks,
}

impl ServicesDoor {
    /// The service framework.
    async fn framework(&self) -> Result<Connection, Status> {
        let (id, address) = self.active()?;
        self.callbacks.to_framework(&id, &address).await
    }

    /// The framework that says where its API is; of several the oldest, whether it is there or away. What people write in
    /// their services goes to it, and any token of a framework can subscribe a newcomer with that label: it must not get
    /// their calls, nor answer them while the other one restarts.
    fn active(&self) -> Result<(FrameworkId, String), Status> {
        let picture = self.driver.picture();
        let says_where = picture.view.frameworks().filter_map(|framework| {
            Some((framework, framework.info.labels.get(API_LABEL).flatten()?.to_owned()))
        });
        let oldest = says_where.min_by_key(|(framework, _)| framework.registered);
        let Some((framework, address)) = oldest else {
            return Err(Status::unavailable(
                "no service framework is running; start one with `bourse services`",
            ));
        };
        let id = framework.id.clone();
        match framework.state {
            FrameworkState::Active { .. } => Ok((id, address)),
            FrameworkState::Disconnected { .. } | FrameworkState::Recovered { .. } => {
                Err(Status::unavailable(format!(
                    "the service framework {id} is away; its services go on running, and can be changed when it is back, or \
                     by another one once it was ended with `bourse teardown {id}`"
                )))
            }
        }
    }
}

/// The caller, who may use services by a token of an operator: one of a framework runs schedulers and nothing else.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    Caller::of(request)?.must_be(&[Kind::Operator])
}

macro_rules! forward {
    ($door:ident, $request:ident, $method:ident) => {{
        let caller = caller(&$request)?;
        let connection = $door.framework().await?;
        let answer = connection.services().$method(forwarded($request.into_inner(), &caller.principal)).await;
        answer.map(|answer| Response::new(answer.into_inner())).map_err(|status| said(&connection, status))
    }};
}

/// What the framework answered, or that it did not. Its own refusal is the caller's answer as it is; that it did not
/// take the master's token is not the caller's fault.
fn said(connection: &Connection, status: Status) -> Status {
    use bourse_client::CallError;
    match connection.explain(status) {
        CallError::Refused { status } => Status::new(status.code(), status.message()),
        other @ (CallError::Unreachable { .. } | CallError::Token { .. }) => {
            Status::unavailable(format!("the service framework did not answer: {other}"))
        }
    }
}

#[tonic::async_trait]
impl Services for ServicesDoor {
    async fn deploy(
        &self,
        request: Request<wire::DeployRequest>,
    ) -> Result<Response<wire::DeployResponse>, Status> {
        forward!(self, request, deploy)
    }

    async fn list(
        &self,
        request: Request<wire::ListServicesRequest>,
    ) -> Result<Response<wire::ListServicesResponse>, Status> {
        forward!(self, request, list)
    }

    async fn scale(
        &self,
        request: Request<wire::ScaleRequest>,
    ) -> Result<Response<wire::ScaleResponse>, Status> {
        forward!(self, request, scale)
    }

    async fn remove(
        &self,
        request: Request<wire::RemoveRequest>,
    ) -> Result<Response<wire::RemoveResponse>, Status> {
        forward!(self, request, remove)
    }
}
