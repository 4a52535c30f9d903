//! Decodes a binlog and throws the events away: `dts` cannot be faster than this.

use std::{path::Path, sync::Arc};

use anyhow::Result;
use binlog::{Decoder, Step};
use dts::{
    checkpoint::{Seq, Skip},
    config::Config,
    error::Error,
    publish::Publisher,
    replica::{self, AtEnd, Server, Stream},
};
use event_bus::Batch;

/// As many bytes as `dts` itself gathers for one append.
const BATCH_BYTES: usize = 2 << 20;

/// Reads, decodes and writes records as `dts` does, and throws them away.
#[expect(clippy::print_stderr, reason = "what was done, for the one who looks")]
pub(crate) async fn to_nowhere(config: &Path) -> Result<()> {
    let config = Config::open(config)?;
    let mut conn = replica::connect(&config.source).await?;
    let server = Server::ask(&mut conn, &config.source).await?;
    let position =
        replica::resolve_start(&mut conn, &config.source, &server, &config.start).await?;
    let mut stream = Stream::open(conn, &config.source, &position, AtEnd::Stop).await?;
    let mut decoder = decoder(&config);
    decoder.restart(&position.file, position.pos);
    let mut publisher = publisher(&config, server.uuid);
    let mut batch = Batch::default();
    let (mut rows, mut bytes) = (0, 0);
    while let Some(event) = stream.next().await? {
        let step = decoder
            .decode::<Error>(&event.raw(), &mut |change| publisher.publish(change, &mut batch))?;
        if let Step::Ended(end) = step {
            rows += publisher.end_transaction(end.rows)?.read;
        }
        if batch.bytes() >= BATCH_BYTES {
            bytes += batch.bytes();
            batch.clear();
        }
    }
    eprintln!("{rows} rows, {} bytes of JSON", bytes + batch.bytes());
    Ok(())
}

fn decoder(config: &Config) -> Decoder {
    let capture = Arc::clone(&config.capture);
    Decoder::new(move |schema: &str, table: &str| capture.includes(schema, table))
}

fn publisher(config: &Config, server_uuid: String) -> Publisher {
    let capture = Arc::clone(&config.capture);
    let from = (Skip::default(), Seq::default());
    Publisher::new(config.bus.topics(), capture, server_uuid, from)
}
