//! The standard services of gRPC: what tools such as grpcurl and health probes expect of any server.

use std::collections::BTreeSet;

use bourse_client::{Connection, Settings};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ListServiceResponse, ServerReflectionRequest};

use crate::harness::*;

async fn reflect(cluster: &Cluster, ask: MessageRequest) -> MessageResponse {
    let mut client = ServerReflectionClient::new(cluster.connect(OPERATOR).await.service());
    let ask = ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let answers = client.server_reflection_info(tokio_stream::once(ask)).await.expect("answered");
    let answer = within(answers.into_inner().message()).await.expect("no error").expect("an answer");
    answer.message_response.expect("it says something")
}

#[tokio::test]
async fn reflection_lists_every_service_and_describes_each() {
    let cluster = Cluster::start().await;
    let listed = reflect(&cluster, MessageRequest::ListServices(String::new())).await;
    let MessageResponse::ListServicesResponse(ListServiceResponse { service }) = listed else {
        panic!("{listed:?}");
    };
    let names: BTreeSet<String> = service.into_iter().map(|service| service.name).collect();
    for name in [
        "bourse.v1.scheduler.Scheduler",
        "bourse.operator.v1.Operator",
        "bourse.agent.v1.AgentLink",
        "bourse.services.v1.Services",
        "grpc.health.v1.Health",
    ] {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
    for name in names {
        let answer = reflect(&cluster, MessageRequest::FileContainingSymbol(name.clone())).await;
        let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("{name}: {answer:?}") };
        assert!(!files.file_descriptor_proto.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn health_says_serving_without_a_token() {
    let cluster = Cluster::start().await;
    let without = Connection::open(&Settings::master(cluster.target())).await.expect("it answers");
    let mut client = HealthClient::new(without.service());
    let answer = client.check(HealthCheckRequest::default()).await.expect("answered").into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
}
