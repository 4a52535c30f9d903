//! The gRPC server of a log.

mod accept;
mod access;
mod append;
mod config;

use std::{net::SocketAddr, pin::Pin, time::Duration};

use futures_util::{Stream as Responses, StreamExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    codec::CompressionEncoding,
    transport::{Certificate, Identity, ServerTlsConfig},
};
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};
use tracing::{info, warn};

use crate::{
    Checkpoint, Error, LOCAL_PRODUCERS, Log, Stream, StreamState,
    copy::source::Sending,
    proto::{self, event_log_server},
    subscription::{Delivering, SharedReading},
    wire::{self, KEEPALIVE, MAX_MESSAGE_BYTES},
};
pub use access::ClientConfig as AccessConfig;
use access::{Access, Caller, OpenCall, Right};
pub use config::{ServerConfig, TlsFiles};

/// How many bytes can be on their way to a subscriber.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Calls that still run when a stop was asked for get this long.
const MAX_STOPPING: Duration = Duration::from_secs(8);

/// A server that listens already; [`Server::serve`] answers.
#[derive(Debug)]
pub struct Server {
    log: Log,
    config: ServerConfig,
    listener: TcpListener,
    address: SocketAddr,
    access: Access,
}

/// The tokens of a server that runs.
#[derive(Clone, Debug)]
pub struct ServerTokens {
    access: Access,
}

impl ServerTokens {
    /// Takes the tokens and rights of another config from now on. Calls of clients that have lost
    /// theirs end with the next batch.
    pub fn replace(&self, config: &ServerConfig) {
        self.access.replace(config.token.as_ref(), &config.clients);
    }
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`], for example when the port is taken.
    pub async fn bind(log: Log, config: ServerConfig) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::Listen {
            address: config.address.clone(),
            reason: match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "another process has the port: stop that, or set another address".to_owned()
                }
                _ => error.to_string(),
            },
        };
        let listener = TcpListener::bind(&config.address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        if !address.ip().is_loopback() && config.token.is_none() && config.clients.is_empty() {
            let reason = "it can be reached from outside, so a token is needed".to_owned();
            return Err(Error::Listen { address: config.address, reason });
        }
        let tokens = (config.token.as_ref(), &*config.clients);
        let access = Access::new(address.ip().is_loopback(), tokens);
        Ok(Self { log, config, listener, address, access })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The tokens that it asks for.
    pub fn tokens(&self) -> ServerTokens {
        ServerTokens { access: self.access.clone() }
    }

    /// Answers until `stop`, and then ends within ten seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`], when the certificate cannot be used or the listener fails.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), Error> {
        let address = self.address.to_string();
        let failed = |reason: String| Error::Listen { address: address.clone(), reason };
        let service = LogService { log: self.log, stop: stop.clone() };
        let service = event_log_server::EventLogServer::new(service)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Zstd);
        let service = tonic::service::interceptor::InterceptedService::new(service, self.access);
        let mut server = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        if let Some(files) = &self.config.tls {
            let tls = tls_of(files)?;
            server = server.tls_config(tls).map_err(|error| failed(error.to_string()))?;
        }
        info!(address, "the event log listens");
        let incoming = accept::incoming(self.listener);
        let stopping = stop.clone();
        let (health, reflection) = (health().await, reflection()?);
        let serving = server
            .add_service(service)
            .add_service(health)
            .add_service(reflection)
            .serve_with_incoming_shutdown(incoming, async move { stopping.cancelled().await });
        tokio::select! {
            served = serving => served.map_err(|error| failed(error.to_string())),
            () = async { stop.cancelled().await; tokio::time::sleep(MAX_STOPPING).await } => {
                warn!("calls that still ran were cut off");
                Ok(())
            }
        }
    }
}

/// The standard service that says whether a server serves.
async fn health() -> HealthServer<impl Health> {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_serving::<event_log_server::EventLogServer<LogService>>().await;
    service
}

/// The standard service that says what services and messages there are.
fn reflection() -> Result<ServerReflectionServer<impl ServerReflection>, Error> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .build_v1()
        .map_err(|error| Error::Failed(format!("the protocol cannot be described: {error}")))
}

fn tls_of(files: &TlsFiles) -> Result<ServerTlsConfig, Error> {
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(Error::io("cannot read the certificate", path))
    };
    let identity = Identity::from_pem(read(&files.cert_file)?, read(&files.key_file)?);
    let tls = ServerTlsConfig::new().identity(identity);
    Ok(match &files.client_ca_file {
        Some(path) => tls.client_ca_root(Certificate::from_pem(read(path)?)),
        None => tls,
    })
}

type Boxed<T> = Pin<Box<dyn Responses<Item = Result<T, Status>> + Send>>;

struct LogService {
    log: Log,
    stop: CancellationToken,
}

impl LogService {
    /// The stream that a request is about, if its caller has this right there and it is there:
    /// only what appends makes a stream, so that a wrong name is told to who waits for records.
    fn stream<T>(&self, request: &Request<T>, name: &str, right: Right) -> Result<Stream, Status> {
        let caller = Caller::of(request);
        caller.check(name, right)?;
        Ok(self.log.existing(name, |other| caller.may(other, Right::Read))?)
    }

    /// The stream that a producer is opened in. Those of listeners and nodes write beside what
    /// they read.
    fn stream_for(&self, request: &Request<proto::OpenProducerRequest>) -> Result<Stream, Status> {
        let proto::OpenProducerRequest { stream, producer } = request.get_ref();
        if producer.starts_with(LOCAL_PRODUCERS) {
            return self.stream(request, stream, Right::Append);
        }
        Caller::of(request).check(stream, Right::Append)?;
        Ok(self.log.stream(stream)?)
    }

    /// Does what can take long, unless the server stops.
    async fn or_stop<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<Response<T>, Status> {
        tokio::select! {
            done = work => Ok(Response::new(done?)),
            () = self.stop.cancelled() => Err(stopping()),
        }
    }
}

fn stopping() -> Status {
    Status::unavailable("the event log is stopping")
}

#[tonic::async_trait]
impl event_log_server::EventLog for LogService {
    type AppendStream = Boxed<proto::AppendResponse>;
    type SubscribeStream = Boxed<proto::SubscribeResponse>;
    type ReplicateStream = Boxed<proto::ReplicateResponse>;

    async fn append(
        &self,
        request: Request<Streaming<proto::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let caller = Caller::of(&request);
        let open = caller.open()?;
        let responses = append::responses((self.log.clone(), caller, open), request.into_inner());
        let stop = self.stop.clone();
        Ok(Response::new(Box::pin(responses.take_until(async move { stop.cancelled().await }))))
    }

    async fn subscribe(
        &self,
        request: Request<proto::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let stream = self.stream(&request, &request.get_ref().stream, Right::Read)?;
        let open = Caller::of(&request).open()?;
        let (_, wanted) = wire::subscribe_of(request.into_inner());
        let (subscription, stop) = (stream.deliver(wanted)?, self.stop.clone());
        let next = async |subscription: &mut Delivering<SharedReading>| {
            subscription.next().await.map(Into::into)
        };
        Ok(Response::new(Box::pin(deliveries((subscription, open), stop, next))))
    }

    async fn commit(
        &self,
        request: Request<proto::CommitRequest>,
    ) -> Result<Response<proto::CommitResponse>, Status> {
        let stream = self.stream(&request, &request.get_ref().stream, Right::Read)?;
        let proto::CommitRequest { group, member, offset, .. } = request.into_inner();
        stream.commit(&group, member, offset).await?;
        Ok(Response::new(proto::CommitResponse {}))
    }

    async fn change_table(
        &self,
        request: Request<proto::ChangeTableRequest>,
    ) -> Result<Response<proto::ChangeTableResponse>, Status> {
        let stream = self.stream(&request, &request.get_ref().stream, Right::Read)?;
        let proto::ChangeTableRequest { group, member, table, changes, .. } = request.into_inner();
        let changes: Vec<_> = changes.into_iter().map(|entry| (entry.key, entry.value)).collect();
        stream.change_table((&group, member), &table, &changes).await?;
        Ok(Response::new(proto::ChangeTableResponse {}))
    }

    async fn info(
        &self,
        request: Request<proto::InfoRequest>,
    ) -> Result<Response<proto::InfoResponse>, Status> {
        let stream = self.stream(&request, &request.get_ref().stream, Right::Read)?;
        Ok(Response::new(stream.state().into()))
    }

    async fn open_producer(
        &self,
        request: Request<proto::OpenProducerRequest>,
    ) -> Result<Response<proto::OpenProducerResponse>, Status> {
        let stream = self.stream_for(&request)?;
        let proto::OpenProducerRequest { producer, .. } = request.into_inner();
        self.or_stop(async {
            let opened = stream.open_producer(&producer).await?;
            let (epoch, checkpoint) = (opened.epoch, entries_of(opened.checkpoint));
            Ok(proto::OpenProducerResponse { epoch, checkpoint })
        })
        .await
    }

    async fn checkpoint(
        &self,
        request: Request<proto::CheckpointRequest>,
    ) -> Result<Response<proto::CheckpointResponse>, Status> {
        let name = &request.get_ref().stream;
        let may_read = Caller::of(&request).may(name, Right::Read);
        let right = if may_read { Right::Read } else { Right::Append };
        let stream = self.stream(&request, name, right)?;
        let proto::CheckpointRequest { producer, .. } = request.into_inner();
        let saved = stream.checkpoint(&producer);
        Ok(Response::new(proto::CheckpointResponse { entries: entries_of(saved) }))
    }

    async fn remove_group(
        &self,
        request: Request<proto::RemoveGroupRequest>,
    ) -> Result<Response<proto::RemoveGroupResponse>, Status> {
        let stream = self.stream(&request, &request.get_ref().stream, Right::Admin)?;
        let proto::RemoveGroupRequest { group, .. } = request.into_inner();
        stream.remove_group(&group).await?;
        Ok(Response::new(proto::RemoveGroupResponse {}))
    }

    async fn locate(
        &self,
        request: Request<proto::LocateRequest>,
    ) -> Result<Response<proto::LocateResponse>, Status> {
        let stream = self.stream(&request, &request.get_ref().stream, Right::Read)?;
        let proto::LocateRequest { start, .. } = request.into_inner();
        let offset = stream.locate(wire::start_of(start))?;
        Ok(Response::new(proto::LocateResponse { offset }))
    }

    async fn replicate(
        &self,
        request: Request<proto::ReplicateRequest>,
    ) -> Result<Response<Self::ReplicateStream>, Status> {
        let stream = self.stream(&request, &request.get_ref().stream, Right::Read)?;
        let open = Caller::of(&request).open()?;
        let wanted = wire::wanted_of(request.into_inner())?;
        let (sending, stop) = (stream.send_copy(wanted)?, self.stop.clone());
        let next = async |sending: &mut Sending| sending.next().await.map(Into::into);
        Ok(Response::new(Box::pin(deliveries((sending, open), stop, next))))
    }

    async fn promote(
        &self,
        request: Request<proto::PromoteRequest>,
    ) -> Result<Response<proto::PromoteResponse>, Status> {
        let stream = self.stream(&request, &request.get_ref().stream, Right::Admin)?;
        self.or_stop(async { Ok(proto::PromoteResponse { epoch: stream.promote().await? }) }).await
    }

    async fn reset_group(
        &self,
        request: Request<proto::ResetGroupRequest>,
    ) -> Result<Response<proto::ResetGroupResponse>, Status> {
        let stream = self.stream(&request, &request.get_ref().stream, Right::Admin)?;
        let proto::ResetGroupRequest { group, offset, .. } = request.into_inner();
        stream.reset_group(&group, offset).await?;
        Ok(Response::new(proto::ResetGroupResponse {}))
    }
}

fn entries_of(checkpoint: Checkpoint) -> Vec<proto::CheckpointEntry> {
    checkpoint.into_iter().map(|(key, value)| wire::entry_of((key, Some(value)))).collect()
}

/// The next read begins when the transport asks for it: a slow subscriber costs no memory here.
fn deliveries<S: Send + 'static, T: Send + 'static>(
    (source, open): (S, OpenCall),
    stop: CancellationToken,
    next: impl AsyncFn(&mut S) -> Result<T, Error>,
) -> impl Responses<Item = Result<T, Status>> {
    futures_util::stream::unfold(Some((source, stop, open, next)), async |state| {
        let (mut source, stop, open, next) = state?;
        let item = tokio::select! {
            item = next(&mut source) => {
                item.map_err(Status::from).and_then(|item| open.check_current().map(|()| item))
            }
            () = stop.cancelled() => Err(stopping()),
        };
        match item {
            Ok(item) => Some((Ok(item), Some((source, stop, open, next)))),
            Err(status) => Some((Err(status), None)),
        }
    })
}

impl From<StreamState> for proto::InfoResponse {
    fn from(state: StreamState) -> Self {
        let groups = state.groups.into_iter().map(|group| proto::Group {
            name: group.name,
            committed: group.committed,
            committed_ms: group.committed_ms,
            client: group.client,
            waiting: group.waiting,
            held_bytes: group.held_bytes,
        });
        let producers = state.producers.into_iter();
        let producers =
            producers.map(|(name, epoch, sequence)| proto::Producer { name, epoch, sequence });
        Self {
            origin: state.origin,
            first_offset: state.first_offset,
            next_offset: state.next_offset,
            bytes: state.bytes,
            log_bytes: state.log_bytes,
            max_bytes: state.max_bytes,
            epoch: state.epoch,
            copy: state.copy.map(|copy| proto::CopyInfo {
                address: copy.of.address,
                stream: copy.of.stream,
                problem: copy.problem.unwrap_or_default(),
                since_ms: copy.since_ms,
                source_end: copy.source_end,
            }),
            groups: groups.collect(),
            producers: producers.collect(),
        }
    }
}
