//! The gRPC server of a log.

mod append;
mod auth;
mod config;

use std::{net::SocketAddr, pin::Pin, time::Duration};

use futures_util::{Stream as Responses, StreamExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    codec::CompressionEncoding,
    transport::{Identity, ServerTlsConfig, server::TcpIncoming},
};
use tracing::{info, warn};

use crate::{
    Checkpoint, Error, Log, Stream, StreamState, Subscription,
    proto::{self, event_log_server},
    wire::{self, MAX_MESSAGE_BYTES},
};
use auth::Auth;
pub use config::{ServerConfig, TlsFiles};

/// A peer that does not answer a ping of this interval within the same time is gone, and its
/// membership with it.
const KEEPALIVE: Duration = Duration::from_secs(5);
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
        if !address.ip().is_loopback() && config.token.is_none() {
            let reason = "it can be reached from outside, so a token is needed".to_owned();
            return Err(Error::Listen { address: config.address, reason });
        }
        Ok(Self { log, config, listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
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
        let auth = Auth::new(self.config.token.as_ref());
        let service = tonic::service::interceptor::InterceptedService::new(service, auth);
        let mut server = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        if let Some(files) = &self.config.tls {
            let identity = identity(files)?;
            let tls = ServerTlsConfig::new().identity(identity);
            server = server.tls_config(tls).map_err(|error| failed(error.to_string()))?;
        }
        info!(address, "the event log listens");
        let incoming = TcpIncoming::from(self.listener).with_nodelay(Some(true));
        let stopping = stop.clone();
        let serving = server
            .add_service(service)
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

fn identity(files: &TlsFiles) -> Result<Identity, Error> {
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(Error::io("cannot read the certificate", path))
    };
    Ok(Identity::from_pem(read(&files.cert_file)?, read(&files.key_file)?))
}

type Boxed<T> = Pin<Box<dyn Responses<Item = Result<T, Status>> + Send>>;

struct LogService {
    log: Log,
    stop: CancellationToken,
}

impl LogService {
    fn stream(&self, name: &str) -> Result<Stream, Status> {
        Ok(self.log.stream(name)?)
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

    async fn append(
        &self,
        request: Request<Streaming<proto::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let responses = append::responses(self.log.clone(), request.into_inner());
        let stop = self.stop.clone();
        Ok(Response::new(Box::pin(responses.take_until(async move { stop.cancelled().await }))))
    }

    async fn subscribe(
        &self,
        request: Request<proto::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (stream, wanted) = wire::subscribe_of(request.into_inner());
        let subscription = self.stream(&stream)?.subscribe(wanted)?;
        let stop = self.stop.clone();
        Ok(Response::new(Box::pin(deliveries(subscription, stop))))
    }

    async fn commit(
        &self,
        request: Request<proto::CommitRequest>,
    ) -> Result<Response<proto::CommitResponse>, Status> {
        let proto::CommitRequest { stream, group, member, offset } = request.into_inner();
        self.stream(&stream)?.commit(&group, member, offset).await?;
        Ok(Response::new(proto::CommitResponse {}))
    }

    async fn change_table(
        &self,
        request: Request<proto::ChangeTableRequest>,
    ) -> Result<Response<proto::ChangeTableResponse>, Status> {
        let proto::ChangeTableRequest { stream, group, member, table, changes } =
            request.into_inner();
        let changes: Vec<_> = changes.into_iter().map(|entry| (entry.key, entry.value)).collect();
        self.stream(&stream)?.change_table((&group, member), &table, &changes).await?;
        Ok(Response::new(proto::ChangeTableResponse {}))
    }

    async fn info(
        &self,
        request: Request<proto::InfoRequest>,
    ) -> Result<Response<proto::InfoResponse>, Status> {
        let stream = self.stream(&request.into_inner().stream)?;
        Ok(Response::new(stream.state().into()))
    }

    async fn open_producer(
        &self,
        request: Request<proto::OpenProducerRequest>,
    ) -> Result<Response<proto::OpenProducerResponse>, Status> {
        let proto::OpenProducerRequest { stream, producer } = request.into_inner();
        let stream = self.stream(&stream)?;
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
        let proto::CheckpointRequest { stream, producer } = request.into_inner();
        let saved = self.stream(&stream)?.checkpoint(&producer);
        Ok(Response::new(proto::CheckpointResponse { entries: entries_of(saved) }))
    }

    async fn remove_group(
        &self,
        request: Request<proto::RemoveGroupRequest>,
    ) -> Result<Response<proto::RemoveGroupResponse>, Status> {
        let proto::RemoveGroupRequest { stream, group } = request.into_inner();
        self.stream(&stream)?.remove_group(&group).await?;
        Ok(Response::new(proto::RemoveGroupResponse {}))
    }

    async fn locate(
        &self,
        request: Request<proto::LocateRequest>,
    ) -> Result<Response<proto::LocateResponse>, Status> {
        let proto::LocateRequest { stream, start } = request.into_inner();
        let offset = self.stream(&stream)?.locate(wire::start_of(start))?;
        Ok(Response::new(proto::LocateResponse { offset }))
    }

    async fn reset_group(
        &self,
        request: Request<proto::ResetGroupRequest>,
    ) -> Result<Response<proto::ResetGroupResponse>, Status> {
        let proto::ResetGroupRequest { stream, group, offset } = request.into_inner();
        self.stream(&stream)?.reset_group(&group, offset).await?;
        Ok(Response::new(proto::ResetGroupResponse {}))
    }
}

fn entries_of(checkpoint: Checkpoint) -> Vec<proto::CheckpointEntry> {
    checkpoint.into_iter().map(|(key, value)| wire::entry_of((key, Some(value)))).collect()
}

/// The next read begins when the transport asks for it: a slow subscriber costs no memory here.
fn deliveries(
    subscription: Subscription,
    stop: CancellationToken,
) -> impl Responses<Item = Result<proto::SubscribeResponse, Status>> {
    futures_util::stream::unfold(Some((subscription, stop)), async |open| {
        let (mut subscription, stop) = open?;
        let event = tokio::select! {
            event = subscription.next() => event.map_err(Status::from),
            () = stop.cancelled() => Err(stopping()),
        };
        match event {
            Ok(event) => Some((Ok(event.into()), Some((subscription, stop)))),
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
            groups: groups.collect(),
            producers: producers.collect(),
        }
    }
}
