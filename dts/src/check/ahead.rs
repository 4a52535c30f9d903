//! Whether the events after the saved position can be read: `dts run` stops at the first that
//! cannot.

use std::time::Duration;

use binlog::{Decoder, RawEvent};
use mysql_common::binlog::consts::EventType;

use super::{Finding, Severity};
use crate::{
    checkpoint::SourcePosition,
    config::{Config, SourceConfig},
    error::{Error, Result},
    replica::{self, AtEnd, Managed, Server},
};

/// How long events are read.
const MAX_TIME: Duration = Duration::from_secs(5);

/// The place of a first start; `None` if it is not found in time.
pub(super) async fn find_start(
    (source, config): (&SourceConfig, &Config),
    server: &Server,
) -> Option<Result<SourcePosition>> {
    let nobody = nobody(source);
    let mut conn = replica::connect(&nobody).await.ok()?;
    let found = replica::resolve_start(&mut conn, &nobody, server, &config.start);
    tokio::time::timeout(MAX_TIME, found).await.ok()
}

/// With the id of nobody: with our own, the server would cut off a running dts.
fn nobody(source: &SourceConfig) -> SourceConfig {
    SourceConfig { server_id: 0, ..source.clone() }
}

/// Reads on from a position, to the end of the binlog if the time suffices.
pub(super) async fn of_events(
    (source, config): (&SourceConfig, &Config),
    server: &Server,
    from: &SourcePosition,
) -> Option<Finding> {
    let mut walk = Walk::open(source, config, from).await.ok()?;
    let is_whole = matches!(tokio::time::timeout(MAX_TIME, walk.run()).await, Ok(Ok(())));
    let managed = Managed::of(server);
    let (problem, remedy) = walk.refused?.advice(|name, value| managed.set(name, value))?;
    let place = match walk.after {
        Some((file, pos)) if is_whole => format!("--file {file} --pos {pos}"),
        _ => "latest".to_owned(),
    };
    Some(Finding {
        severity: Severity::Stop,
        name: "events",
        what: problem,
        why: "dts stops there each time that it starts".into(),
        remedy: format!(
            "{remedy}. Begin after all such events with `dts position set {place}`: the changes \
             before that are left out, so correct the captured tables as after lost transactions \
             (docs/full-sync.md)"
        ),
    })
}

/// A walk over events that looks at the definitions of captured tables, and not at rows.
struct Walk {
    stream: replica::Stream,
    decoder: Decoder,
    /// The first event that `dts run` would stop at.
    refused: Option<binlog::Error>,
    /// Whether the current transaction has such an event.
    is_refused: bool,
    /// The end of the last transaction that has one.
    after: Option<(String, u64)>,
}

impl Walk {
    async fn open(source: &SourceConfig, config: &Config, from: &SourcePosition) -> Result<Self> {
        let nobody = nobody(source);
        let conn = replica::connect(&nobody).await?;
        let stream = replica::Stream::open(conn, &nobody, from, AtEnd::Stop).await?;
        let capture = config.capture.clone();
        let mut decoder = Decoder::new(move |schema, table| capture.includes(schema, table));
        decoder.restart(&from.file, from.pos);
        Ok(Self { stream, decoder, refused: None, is_refused: false, after: None })
    }

    /// Reads to the end of the binlog.
    async fn run(&mut self) -> Result<()> {
        while let Some(event) = self.stream.next().await? {
            self.take(&event.raw())?;
        }
        Ok(())
    }

    fn take(&mut self, raw: &RawEvent<'_>) -> Result<()> {
        if raw.has_row_data() && raw.header.kind != EventType::TABLE_MAP_EVENT as u8 {
            self.decoder.skip(&raw.header);
            return Ok(());
        }
        match self.decoder.decode(raw, &mut |_| Ok::<_, Error>(())) {
            Ok(step) => {
                if step.end().is_some() && std::mem::take(&mut self.is_refused) {
                    let end = self.decoder.position();
                    self.after = Some((end.file.to_string(), end.pos));
                }
            }
            Err(Error::Event(error)) if error.is_for_operator() => self.refuse(error, raw),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn refuse(&mut self, error: binlog::Error, raw: &RawEvent<'_>) {
        self.refused.get_or_insert(error);
        self.decoder.skip(&raw.header);
        self.is_refused = self.decoder.is_in_group();
        let end = self.decoder.position().clone();
        if raw.header.kind == EventType::TRANSACTION_PAYLOAD_EVENT as u8 || !self.is_refused {
            // The event was the rest of its transaction.
            self.decoder.restart(&end.file, end.pos);
            self.is_refused = false;
            self.after = Some((end.file.to_string(), end.pos));
        }
    }
}
