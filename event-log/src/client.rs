//! The client of a log's server.

mod copy;
mod producer;

use std::{path::PathBuf, sync::Arc, time::Duration};

use service::{Secret, config::Section};
use tonic::{
    Request, Status, Streaming,
    codec::CompressionEncoding,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::{
    Checkpoint, CheckpointChange, Error, Event, Start, Subscribe,
    proto::{self, event_log_client::EventLogClient},
    wire::{self, KEEPALIVE, MAX_MESSAGE_BYTES},
};
pub(crate) use copy::RemoteCopy;
pub use producer::RemoteProducer;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A call that only looks or saves has this long.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// A response of records comes in so large parts: each takes calls of the system on both sides.
const MAX_FRAME_BYTES: u32 = 256 << 10;

/// Where a log is served, and how to be let in.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `host:port`.
    pub address: String,
    /// What to show, where the server asks.
    pub token: Option<Secret>,
    /// Trust in the server's certificate; TLS is used when it is set.
    pub ca_file: Option<PathBuf>,
    /// The certificate and key to show, where the server asks for one (PEM).
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether responses come compressed: for slow lines.
    pub compress: Compress,
}

/// Whether a client asks for compression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    /// Not: the line is faster than the compressor.
    #[default]
    Off,
    /// With zstd.
    Zstd,
}

impl ClientConfig {
    /// Reads `token`, `caFile`, `clientCertFile` and `clientKeyFile`; mistakes are noted there.
    pub fn read(section: &Section, address: String) -> Self {
        Self {
            address,
            token: section.secret("token"),
            ca_file: section.optional("caFile"),
            identity: Self::identity_of(section),
            compress: Compress::Off,
        }
    }

    /// Reads `clientCertFile` and `clientKeyFile`, which go together.
    pub fn identity_of(section: &Section) -> Option<(PathBuf, PathBuf)> {
        const KEYS: [&str; 2] = ["clientCertFile", "clientKeyFile"];
        let [certificate, key] = KEYS.map(|key| section.optional(key));
        let missing = match (&certificate, &key) {
            (Some(_), None) => KEYS[1],
            (None, Some(_)) => KEYS[0],
            _ => return certificate.zip(key),
        };
        let remedy = "set both clientCertFile and clientKeyFile, or neither";
        section.note(missing, "is missing", remedy);
        None
    }
}

type RemoteService = EventLogClient<InterceptedService<Channel, Bearer>>;

/// A client. Clones share its connection, which is made when it is first needed, and made again
/// after it broke.
#[derive(Clone, Debug)]
pub struct Client {
    service: RemoteService,
    address: Arc<str>,
}

/// Shows the token with every call. A file that holds it is read for each: so a token can be
/// changed while programs run.
#[derive(Clone, Debug)]
struct Bearer {
    token: Option<Secret>,
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.token {
            let value = bearer(&token.renewed())?;
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

impl Client {
    /// Prepares a client; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] for a setting that cannot be, [`Error::Io`] when `ca_file` is not there.
    pub fn new(config: &ClientConfig) -> Result<Self, Error> {
        let rejected = |error: &dyn std::fmt::Display| {
            Error::Rejected(format!("cannot use the address {}: {error}", config.address))
        };
        let scheme = if config.ca_file.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", config.address))
            .map_err(|error| rejected(&error))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            // A subscription that waits for records counts as idle, and must notice a dead server.
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(MAX_FRAME_BYTES);
        if let Some(path) = &config.ca_file {
            let read = |path: &PathBuf| std::fs::read(path).map_err(Error::io("cannot read", path));
            let pem = Certificate::from_pem(read(path)?);
            let mut tls = ClientTlsConfig::new().ca_certificate(pem);
            if let Some((certificate, key)) = &config.identity {
                tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
            }
            endpoint = endpoint.tls_config(tls).map_err(|error| rejected(&error))?;
        }
        config.token.as_ref().map(bearer).transpose()?;
        let bearer = Bearer { token: config.token.clone() };
        let mut service = EventLogClient::with_interceptor(endpoint.connect_lazy(), bearer)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        if config.compress == Compress::Zstd {
            service = service
                .send_compressed(CompressionEncoding::Zstd)
                .accept_compressed(CompressionEncoding::Zstd);
        }
        Ok(Self { service, address: Arc::from(&*config.address) })
    }

    /// Where the log is served: `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Subscribes; [`RemoteSubscription::next`] gives [`Event::Assigned`] first.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Refused`], [`Error::Rejected`].
    pub async fn subscribe(
        &self,
        stream: &str,
        wanted: Subscribe,
    ) -> Result<RemoteSubscription, Error> {
        let group = wanted.group.clone();
        let request = wire::subscribe_request(stream, wanted);
        let answer = self.service.clone().subscribe(request).await;
        let responses = answer.map_err(|status| wire::error_of(&status, &group))?.into_inner();
        Ok(RemoteSubscription { group, responses })
    }

    /// Saves how far a group is; durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::NotMember`] when `member` is not the active one; [`Error::Unavailable`].
    pub async fn commit(&self, request: proto::CommitRequest) -> Result<(), Error> {
        let group = request.group.clone();
        let mut service = self.service.clone();
        within_limit(service.commit(request), &group).await.map(|_| ())
    }

    /// Changes the table of a group, as [`Stream::change_table`](crate::Stream::change_table).
    ///
    /// # Errors
    ///
    /// The same, and [`Error::Unavailable`]; [`Error::Refused`] by a server of an older version.
    pub async fn change_table(
        &self,
        stream: &str,
        (group, member): (&str, u64),
        (table, changes): (&str, Vec<CheckpointChange>),
    ) -> Result<(), Error> {
        let request = proto::ChangeTableRequest {
            stream: stream.to_owned(),
            group: group.to_owned(),
            member,
            table: table.to_owned(),
            changes: changes.into_iter().map(wire::entry_of).collect(),
        };
        let mut service = self.service.clone();
        within_limit(service.change_table(request), group).await.map(|_| ())
    }

    /// What a stream holds.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Refused`].
    pub async fn info(&self, stream: &str) -> Result<proto::InfoResponse, Error> {
        let request = proto::InfoRequest { stream: stream.to_owned() };
        let mut service = self.service.clone();
        within_limit(service.info(request), "").await
    }

    /// What a producer has saved, without becoming it.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Refused`].
    pub async fn checkpoint(&self, stream: &str, producer: &str) -> Result<Checkpoint, Error> {
        let (stream, producer) = (stream.to_owned(), producer.to_owned());
        let request = proto::CheckpointRequest { stream, producer };
        let mut service = self.service.clone();
        let saved = within_limit(service.checkpoint(request), "").await?;
        let kept = |entry: proto::CheckpointEntry| Some((entry.key, entry.value?));
        Ok(saved.entries.into_iter().filter_map(kept).collect())
    }

    /// Forgets a group.
    ///
    /// # Errors
    ///
    /// As [`Stream::remove_group`](crate::Stream::remove_group); [`Error::Unavailable`].
    pub async fn remove_group(&self, stream: &str, group: &str) -> Result<(), Error> {
        let (stream, named) = (stream.to_owned(), group.to_owned());
        let request = proto::RemoveGroupRequest { stream, group: named };
        let mut service = self.service.clone();
        within_limit(service.remove_group(request), group).await.map(|_| ())
    }

    /// What offset a start means now. An offset that is not there becomes the nearest one that is.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Refused`].
    pub async fn locate(&self, stream: &str, start: Start) -> Result<u64, Error> {
        let request = proto::LocateRequest { stream: stream.to_owned(), start: Some(start.into()) };
        let mut service = self.service.clone();
        within_limit(service.locate(request), "").await.map(|located| located.offset)
    }

    /// Sets how far a group is, known or new, while nobody is in it; durable when this returns.
    ///
    /// # Errors
    ///
    /// As [`Stream::reset_group`](crate::Stream::reset_group); [`Error::Unavailable`].
    pub async fn reset_group(&self, stream: &str, group: &str, offset: u64) -> Result<(), Error> {
        let (stream, named) = (stream.to_owned(), group.to_owned());
        let request = proto::ResetGroupRequest { stream, group: named, offset };
        let mut service = self.service.clone();
        within_limit(service.reset_group(request), group).await.map(|_| ())
    }
}

fn bearer(token: &Secret) -> Result<MetadataValue<Ascii>, Error> {
    let mut value = MetadataValue::try_from(format!("Bearer {}", token.expose()))
        .map_err(|_| Error::Rejected("the token has characters that cannot be sent".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn within_limit<T>(
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    name: &str,
) -> Result<T, Error> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => {
            answer.map(tonic::Response::into_inner).map_err(|status| wire::error_of(&status, name))
        }
        Err(_) => Err(Error::Unavailable(format!("no answer within {CALL_TIMEOUT:?}"))),
    }
}

/// A subscription over the network. Dropping it leaves the group.
#[derive(Debug)]
pub struct RemoteSubscription {
    group: String,
    responses: Streaming<proto::SubscribeResponse>,
}

impl RemoteSubscription {
    /// Waits for the next thing. A dropped call loses nothing. After an error it is over.
    ///
    /// # Errors
    ///
    /// As [`Subscription::next`](crate::Subscription::next), and [`Error::Unavailable`].
    pub async fn next(&mut self) -> Result<Event, Error> {
        let answer = self.responses.message().await;
        match answer.map_err(|status| wire::error_of(&status, &self.group))? {
            Some(response) => wire::event_of(response),
            None => Err(Error::Unavailable("the server ended the subscription".to_owned())),
        }
    }
}
