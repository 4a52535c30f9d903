//! Between the log's own types and the messages of the protocol.

use std::time::Duration;

use bytes::Bytes;
use tonic::{Code, Status, metadata::MetadataValue};

use crate::{
    CheckpointChange, Error, Event, NewHeaders, NewRecord, Record, Start, Subscribe,
    copy::source::{CopyEnd, CopyFrom, Sent, Wanted},
    disk::{data_files::SegmentId, day::Day},
    proto,
    records::Records,
};

/// A peer that does not answer a ping of this interval within the same time is gone, and with it
/// its place in a group.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(5);
/// Room for the framing of one batch's records.
pub(crate) const MAX_MESSAGE_BYTES: usize = crate::MAX_BATCH_BYTES + (16 << 20);
const OFFSET: &str = "log-offset";
const FIRST: &str = "log-first";
const MEMBER: &str = "log-member-bin";

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Unavailable(reason) => Self::unavailable(reason),
            Error::NoStream(reason) => Self::not_found(reason),
            Error::Full(reason) => Self::resource_exhausted(reason),
            Error::Fenced(_) => Self::aborted(message),
            Error::SequenceGap { .. } => Self::out_of_range(message),
            Error::Rejected(reason) => Self::invalid_argument(reason),
            Error::OffsetGone { offset, first } => {
                let mut status = Self::out_of_range(message);
                status.metadata_mut().insert(OFFSET, offset.into());
                status.metadata_mut().insert(FIRST, first.into());
                status
            }
            Error::NotMember(_) => Self::failed_precondition(message),
            Error::Diverged(reason) => Self::already_exists(reason),
            Error::GroupActive { client, .. } => {
                let mut status = Self::failed_precondition(message);
                let client = MetadataValue::from_bytes(client.as_bytes());
                status.metadata_mut().insert_bin(MEMBER, client);
                status
            }
            Error::Refused(reason) => Self::unauthenticated(reason),
            Error::Damaged { .. }
            | Error::Held(_)
            | Error::Unusable { .. }
            | Error::Poisoned(_)
            | Error::Failed(_)
            | Error::Io { .. }
            | Error::TakenBack { .. }
            | Error::Listen { .. } => Self::data_loss(message),
        }
    }
}

/// What a status of the server means; `name` is the producer or the group that was named.
pub(crate) fn error_of(status: &Status, name: &str) -> Error {
    let message = status.message().to_owned();
    let number = |key| status.metadata().get(key)?.to_str().ok()?.parse().ok();
    match status.code() {
        Code::NotFound => Error::NoStream(message),
        Code::ResourceExhausted => Error::Full(message),
        Code::Aborted => Error::Fenced(name.to_owned()),
        Code::InvalidArgument => Error::Rejected(message),
        Code::FailedPrecondition => match member(status) {
            Some(client) => Error::GroupActive { group: name.to_owned(), client },
            None => Error::NotMember(name.to_owned()),
        },
        Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented => {
            Error::Refused(message)
        }
        Code::OutOfRange => match (number(OFFSET), number(FIRST)) {
            (Some(offset), Some(first)) => Error::OffsetGone { offset, first },
            _ => Error::Rejected(message),
        },
        Code::DataLoss => Error::Failed(message),
        Code::AlreadyExists => Error::Diverged(message),
        _ => Error::Unavailable(reason(status)),
    }
}

/// The member that is in the way, where a status names one.
fn member(status: &Status) -> Option<String> {
    let client = status.metadata().get_bin(MEMBER)?.to_bytes().ok()?;
    Some(String::from_utf8_lossy(&client).into_owned())
}

/// What h2 says of all calls of a connection that is over, for whatever reason.
const CONNECTION_OVER: &str = "stream closed because of a broken pipe";

/// The deepest cause that a status knows: "connection refused", not "transport error".
fn reason(status: &Status) -> String {
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(status);
    let mut reason = status.message().to_owned();
    while let Some(error) = cause {
        reason = error.to_string();
        cause = error.source();
    }
    if reason.ends_with(CONNECTION_OVER) {
        return format!(
            "the connection broke, or the server gave no answer for {} s",
            2 * KEEPALIVE.as_secs()
        );
    }
    reason
}

impl<'a> From<&'a proto::NewRecord> for NewRecord<'a> {
    fn from(record: &'a proto::NewRecord) -> Self {
        Self {
            kind: record.r#type,
            topic: &record.topic,
            key: &record.key,
            headers: NewHeaders::Proto(&record.headers),
            payload: &record.payload,
        }
    }
}

impl From<Event<Bytes>> for proto::SubscribeResponse {
    fn from(event: Event<Bytes>) -> Self {
        use proto::subscribe_response::Is;
        let is = match event {
            Event::Assigned { member, position, resolved } => {
                Is::Assigned(proto::Assigned { member, position, resolved })
            }
            Event::Records { records: encoded, next_offset, end_offset } => {
                Is::Records(Records { encoded, next_offset, end_offset, ..Records::default() })
            }
        };
        Self { is: Some(is) }
    }
}

/// What a response tells; an error for one that this client does not know.
pub(crate) fn event_of(response: proto::SubscribeResponse) -> Result<Event, Error> {
    use proto::subscribe_response::Is;
    Ok(match response.is {
        Some(Is::Assigned(proto::Assigned { member, position, resolved })) => {
            Event::Assigned { member, position, resolved }
        }
        Some(Is::Records(Records { records, next_offset, end_offset, .. })) => {
            let rejected =
                |problem: &str| Error::Rejected(format!("the server's record: {problem}"));
            records.iter().try_for_each(Record::check_texts).map_err(rejected)?;
            Event::Records { records, next_offset, end_offset }
        }
        None => return Err(Error::Rejected("the server speaks a newer protocol".to_owned())),
    })
}

/// Where to begin, as a request says it.
pub(crate) fn start_of(start: Option<proto::Start>) -> Start {
    use proto::start::At;
    match start.and_then(|start| start.at) {
        None | Some(At::Earliest(_)) => Start::Earliest,
        Some(At::Latest(_)) => Start::Latest,
        Some(At::Offset(offset)) => Start::Offset(offset),
        Some(At::TimeMs(time_ms)) => Start::Time(time_ms),
    }
}

impl From<Start> for proto::Start {
    fn from(start: Start) -> Self {
        use proto::start::At;
        let at = match start {
            Start::Earliest => At::Earliest(proto::Earliest {}),
            Start::Latest => At::Latest(proto::Latest {}),
            Start::Offset(offset) => At::Offset(offset),
            Start::Time(time_ms) => At::TimeMs(time_ms),
        };
        Self { at: Some(at) }
    }
}

/// What a request asks for, and of which stream.
pub(crate) fn subscribe_of(request: proto::SubscribeRequest) -> (String, Subscribe) {
    let wanted = Subscribe {
        group: request.group,
        start: start_of(request.start),
        topics: request.topics,
        kinds: request.types,
        origins: request.origins,
        addressee: request.addressee.map(|header| (header.name, header.value)),
        max_bytes: request.max_response_bytes as usize,
        client: request.client,
    };
    (request.stream, wanted)
}

pub(crate) fn subscribe_request(stream: &str, wanted: Subscribe) -> proto::SubscribeRequest {
    proto::SubscribeRequest {
        stream: stream.to_owned(),
        group: wanted.group,
        start: Some(wanted.start.into()),
        topics: wanted.topics,
        types: wanted.kinds,
        origins: wanted.origins,
        addressee: wanted.addressee.map(|(name, value)| proto::Header { name, value }),
        max_response_bytes: u32::try_from(wanted.max_bytes).unwrap_or(u32::MAX),
        client: wanted.client,
    }
}

pub(crate) fn change_of(entry: proto::CheckpointEntry) -> CheckpointChange {
    (entry.key, entry.value)
}

pub(crate) fn entry_of((key, value): CheckpointChange) -> proto::CheckpointEntry {
    proto::CheckpointEntry { key, value }
}

/// What a copy asks for, as a request says it; of which stream.
pub(crate) fn wanted_of(request: proto::ReplicateRequest) -> Result<Wanted, Error> {
    use proto::replicate_request::From;
    let from = match request.from {
        Some(From::End(end)) => CopyFrom::End(CopyEnd {
            file: file_of(end.file)?,
            position: end.position,
            next_offset: end.next_offset,
            last_position: end.last_position,
            last_crc: end.last_crc,
            epoch: end.epoch,
        }),
        Some(From::DaysBack(days)) => CopyFrom::DaysBack(days),
        Some(From::FileOffset(offset)) => CopyFrom::FileOffset(offset),
        None => return Err(Error::Rejected("the request does not say where to begin".to_owned())),
    };
    let max_bytes = request.max_response_bytes as usize;
    Ok(Wanted { group: request.group, client: request.client, from, max_bytes })
}

pub(crate) fn replicate_request(stream: &str, wanted: Wanted) -> proto::ReplicateRequest {
    use proto::replicate_request::From;
    let from = match wanted.from {
        CopyFrom::End(end) => From::End(proto::CopyEnd {
            file: Some(end.file.into()),
            position: end.position,
            next_offset: end.next_offset,
            last_position: end.last_position,
            last_crc: end.last_crc,
            epoch: end.epoch,
        }),
        CopyFrom::DaysBack(days) => From::DaysBack(days),
        CopyFrom::FileOffset(offset) => From::FileOffset(offset),
    };
    proto::ReplicateRequest {
        stream: stream.to_owned(),
        group: wanted.group,
        client: wanted.client,
        from: Some(from),
        max_response_bytes: u32::try_from(wanted.max_bytes).unwrap_or(u32::MAX),
    }
}

impl From<Sent> for proto::ReplicateResponse {
    fn from(sent: Sent) -> Self {
        use proto::replicate_response::Is;
        let is = match sent {
            Sent::Begun { member, epoch } => Is::Begun(proto::CopyBegun { member, epoch }),
            Sent::Bytes { file, position, data, end_offset } => {
                Is::Bytes(proto::FileBytes { file: Some(file.into()), position, data, end_offset })
            }
            Sent::Finished { day } => Is::Finished(proto::DayFinished { day: day.number() }),
        };
        Self { is: Some(is) }
    }
}

/// What a response brings; an error for one that this client does not know.
pub(crate) fn sent_of(response: proto::ReplicateResponse) -> Result<Sent, Error> {
    use proto::replicate_response::Is;
    Ok(match response.is {
        Some(Is::Begun(proto::CopyBegun { member, epoch })) => Sent::Begun { member, epoch },
        Some(Is::Bytes(proto::FileBytes { file, position, data, end_offset })) => {
            Sent::Bytes { file: file_of(file)?, position, data, end_offset }
        }
        Some(Is::Finished(proto::DayFinished { day })) => {
            Sent::Finished { day: file_of(Some(proto::DataFile { day, number: 0 }))?.day }
        }
        None => return Err(Error::Rejected("the server speaks a newer protocol".to_owned())),
    })
}

fn file_of(file: Option<proto::DataFile>) -> Result<SegmentId, Error> {
    let known = file.and_then(|file| Some((Day::of_number(file.day)?, file.number)));
    let (day, number) =
        known.ok_or_else(|| Error::Rejected(format!("{file:?} names no data file")))?;
    Ok(SegmentId { day, number })
}

impl From<SegmentId> for proto::DataFile {
    fn from(file: SegmentId) -> Self {
        Self { day: file.day.number(), number: file.number }
    }
}
