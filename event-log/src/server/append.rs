//! The Append call: batches are queued in the order of their requests, and answered in that order
//! when each is durable.

use futures_util::{
    FutureExt as _, Stream as Responses, StreamExt as _, future::BoxFuture, stream,
};
use prost::Message as _;
use tonic::{Status, Streaming};

use super::access::{Caller, OpenCall, Right};
use crate::{
    Append, Appended, Error, Log, NewRecord, ProducerLead, ProducerSequence,
    proto::{AppendRequest, AppendResponse},
    queue, wire,
};

/// Batches of one call that wait for the disk.
const MAX_PIPELINED: usize = 32;

/// The producer that the call belongs to, with the proof that it lives.
type HeldLead = Option<(String, ProducerLead)>;

type PendingAnswer = BoxFuture<'static, Result<AppendResponse, Status>>;

pub(super) fn responses(
    (log, caller, open): (Log, Caller, OpenCall),
    requests: Streaming<AppendRequest>,
) -> impl Responses<Item = Result<AppendResponse, Status>> + Send {
    let state = Some(((log, caller, open), requests, None));
    stream::unfold(state, |state| async move {
        let (from, mut requests, mut held) = state?;
        let (log, caller, _) = &from;
        match requests.next().await? {
            Err(status) => Some((failed(status), None)),
            Ok(request) => match take(log, caller, (request, &mut held)).await {
                Ok(answer) => Some((answer, Some((from, requests, held)))),
                Err(status) => Some((failed(status), None)),
            },
        }
    })
    .buffered(MAX_PIPELINED)
}

fn failed(status: Status) -> PendingAnswer {
    async move { Err(status) }.boxed()
}

/// Takes a batch, if the client may send it.
async fn take(
    log: &Log,
    caller: &Caller,
    (request, held): (AppendRequest, &mut HeldLead),
) -> Result<PendingAnswer, Status> {
    caller.check(&request.stream, Right::Append)?;
    let sizes = request.records.iter().map(|record| record.encoded_len() as u64);
    caller.take(sizes.clone().sum(), sizes.max().unwrap_or_default()).await?;
    Ok(queue(log, request, held).await?)
}

/// Puts a batch into the queue; its answer comes when it is durable.
async fn queue(
    log: &Log,
    request: AppendRequest,
    held: &mut HeldLead,
) -> Result<PendingAnswer, Error> {
    let AppendRequest { stream, producer, epoch, sequence, records, checkpoint } = request;
    let stream = log.stream(&stream)?;
    let is_held = held.as_ref().is_some_and(|(name, _)| *name == producer);
    if !producer.is_empty() && !is_held {
        stream.check_epoch(&producer, epoch)?;
        let lead = stream.shared.leaders.take(&producer);
        *held = Some((producer.clone(), lead));
    }
    if sequence == 0 && !producer.is_empty() {
        let next_offset = stream.shared.end();
        return Ok(answer(sequence, appended_nothing(next_offset)).boxed());
    }
    let changes: Vec<_> = checkpoint.into_iter().map(wire::change_of).collect();
    let named = ProducerSequence { name: &producer, epoch, sequence };
    let append = Append {
        producer: (!producer.is_empty()).then_some(named),
        records: records.iter().map(NewRecord::from),
        checkpoint: &changes,
    };
    let (durable, appended) = stream.queue(append).await?;
    Ok(async move {
        queue::wait(durable).await?;
        answer(sequence, appended).await
    }
    .boxed())
}

async fn answer(sequence: u64, appended: Appended) -> Result<AppendResponse, Status> {
    let Appended { first_offset, last_offset, next_offset, duplicate } = appended;
    Ok(AppendResponse { sequence, first_offset, last_offset, next_offset, duplicate })
}

fn appended_nothing(next_offset: u64) -> Appended {
    let (first_offset, last_offset) = (next_offset, next_offset);
    Appended { first_offset, last_offset, next_offset, duplicate: false }
}
