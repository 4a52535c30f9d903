//! A log that this process hosts: its own producers append without a network, others come by gRPC.

use std::{net::SocketAddr, sync::Arc};

use event_log::{Log, Server, ServerConfig, Stream};
use tokio_util::sync::CancellationToken;

use super::{Access, LogBus, StreamAddress};
use crate::{Bus, LogConfig, Result};

/// An open log, with its address taken.
pub struct EmbeddedLog {
    bus: Arc<LogBus>,
    stream: Stream,
    server: Server,
    address: StreamAddress,
}

impl EmbeddedLog {
    /// Opens the log's directory and takes its address, for one stream: the topic prefix.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`](crate::Error::Refused): the directory or the port belongs to another
    /// process. [`Error::Internal`](crate::Error::Internal): the directory cannot be used, or what
    /// is in it is damaged.
    pub async fn open(config: &LogConfig, stream: &str) -> Result<Self> {
        let address =
            StreamAddress { server: config.address.as_str().into(), stream: stream.into() };
        let server = ServerConfig {
            address: config.address.clone(),
            token: config.token.clone(),
            tls: config.tls.clone(),
            clients: Vec::new(),
        };
        let opened = async {
            let log = Log::open(config.storage.clone())?;
            let stream = log.stream(&address.stream)?;
            Ok((stream, Server::bind(log, server).await?))
        };
        let (stream, server) = opened.await.map_err(|error| address.error(error))?;
        let bus =
            Arc::new(LogBus { access: Access::Local(stream.clone()), address: address.clone() });
        Ok(Self { bus, stream, server, address })
    }

    /// The bus, for this process.
    pub fn bus(&self) -> Arc<dyn Bus> {
        Arc::<LogBus>::clone(&self.bus)
    }

    /// The log's stream itself, for its state.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Where others reach it.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Answers others until `stop`, and then ends within ten seconds. The log is closed then, for
    /// this process too: stop its producers first.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`](crate::Error::Refused) when the certificate cannot be used.
    pub async fn serve(self, stop: CancellationToken) -> Result<()> {
        let Self { server, address, .. } = self;
        server.serve(stop).await.map_err(|error| address.error(error))
    }
}
