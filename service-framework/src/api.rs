//! The door: gRPC on a port of its own, which the master forwards to.
//!
//! It parses nothing and decides nothing: a call becomes a question to the scheduler, and its answer a message. What
//! was changed is durable when the call is answered.

mod auth;
mod wire;

use std::time::Duration;

use bourse_client::TokenSource;
use bourse_proto::services as proto;
use bourse_proto::services::services_server::{Services, ServicesServer};
use bourse_sdk::Handle;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use crate::scheduler::{Answer, Ask, Request as Question};
use auth::Gate;

/// A question is answered within this time, or the caller is told to try again; whether it was carried out is then
/// not known, and asking again changes nothing more.
const PATIENCE: Duration = Duration::from_secs(10);
/// A call has at most this many bytes: a service file and some air.
const CALL_BYTES_MAX: usize = 256 * 1024;

struct Door {
    scheduler: Handle<Ask>,
    gate: Gate,
}

/// The service, to be served on the framework's port, where `token` is what the framework itself subscribes with.
pub fn service(scheduler: Handle<Ask>, token: Option<TokenSource>) -> ServicesServer<impl Services> {
    ServicesServer::new(Door { scheduler, gate: Gate::new(token) })
        .max_decoding_message_size(CALL_BYTES_MAX)
        .max_encoding_message_size(bourse_client::MESSAGE_BYTES_MAX)
}

impl Door {
    async fn ask(&self, question: Question) -> Result<Answer, Status> {
        let (reply, answer) = oneshot::channel();
        let reply = Box::new(move |answer| {
            // Whoever asked may have gone; what they asked for is done all the same.
            let _ = reply.send(answer);
        });
        let stopping = || Status::unavailable("the service framework is stopping; try again in a moment");
        if !self.scheduler.send(Ask { request: question, reply }).await {
            return Err(stopping());
        }
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer.map_err(|refusal| wire::refused(&refusal)),
            Ok(Err(_)) => Err(stopping()),
            Err(_) => Err(Status::deadline_exceeded(
                "the service framework did not answer in time; look with `bourse service list` before trying again",
            )),
        }
    }
}

/// The scheduler answers each question in its own kind; anything else is a fault of ours.
fn confused() -> Status {
    Status::internal("the service framework gave the answer to another question; please report this")
}

#[tonic::async_trait]
impl Services for Door {
    async fn deploy(
        &self,
        request: Request<proto::DeployRequest>,
    ) -> Result<Response<proto::DeployResponse>, Status> {
        let principal = self.gate.admit(&request)?;
        let proto::DeployRequest { toml, file_name } = request.into_inner();
        let Answer::Deployed(service, outcome) =
            self.ask(Question::Deploy { text: toml, file: file_name }).await?
        else {
            return Err(confused());
        };
        tracing::info!(principal, service = service.name, outcome = outcome.as_str(), "deploy");
        let outcome = outcome.as_str().to_owned();
        Ok(Response::new(proto::DeployResponse { service: Some(wire::service(service)), outcome }))
    }

    async fn list(
        &self,
        request: Request<proto::ListServicesRequest>,
    ) -> Result<Response<proto::ListServicesResponse>, Status> {
        self.gate.admit(&request)?;
        let name = Some(request.into_inner().name).filter(|name| !name.is_empty());
        let Answer::Listed(services, framework) = self.ask(Question::List { name }).await? else {
            return Err(confused());
        };
        Ok(Response::new(proto::ListServicesResponse {
            services: services.into_iter().map(wire::service).collect(),
            framework_id: framework.map(|id| id.as_str().to_owned()).unwrap_or_default(),
        }))
    }

    async fn scale(
        &self,
        request: Request<proto::ScaleRequest>,
    ) -> Result<Response<proto::ScaleResponse>, Status> {
        let principal = self.gate.admit(&request)?;
        let proto::ScaleRequest { name, count } = request.into_inner();
        let Answer::Scaled(service) = self.ask(Question::Scale { name, count }).await? else {
            return Err(confused());
        };
        tracing::info!(principal, service = service.name, count, "scale");
        Ok(Response::new(proto::ScaleResponse { service: Some(wire::service(service)) }))
    }

    async fn remove(
        &self,
        request: Request<proto::RemoveRequest>,
    ) -> Result<Response<proto::RemoveResponse>, Status> {
        let principal = self.gate.admit(&request)?;
        let name = request.into_inner().name;
        let Answer::Removed = self.ask(Question::Remove { name: name.clone() }).await? else {
            return Err(confused());
        };
        tracing::info!(principal, service = name, "remove");
        Ok(Response::new(proto::RemoveResponse {}))
    }
}
