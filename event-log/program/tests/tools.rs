//! The standard services by which ordinary tools see the server.

use tokio_stream::StreamExt as _;
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::process::ServerProcess;

#[tokio::test(flavor = "multi_thread")]
async fn its_health_and_its_services_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let channel = endpoint.connect().await.unwrap();
    for service in ["", "dbevent.eventlog.v1.EventLog"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(channel.clone()).check(request).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving, "{service:?}");
    }
    let ask =
        |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let questions = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("dbevent.eventlog.v1.AppendRequest".to_owned())),
    ]);
    let answers = ServerReflectionClient::new(channel).server_reflection_info(questions).await;
    let answers: Vec<_> = answers.unwrap().into_inner().collect().await;
    let mut answers = answers.into_iter().map(|answer| answer.unwrap().message_response.unwrap());
    let Some(MessageResponse::ListServicesResponse(list)) = answers.next() else {
        panic!("no list of services")
    };
    let names: Vec<&str> = list.service.iter().map(|service| &*service.name).collect();
    assert!(names.contains(&"dbevent.eventlog.v1.EventLog"), "{names:?}");
    let file = answers.next();
    assert!(matches!(file, Some(MessageResponse::FileDescriptorResponse(_))), "{file:?}");
}
