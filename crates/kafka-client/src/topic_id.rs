//! The id of the topic that has a name now, and what the user may do there. A topic that is made
//! again gets another id.
//!
//! When a topic was deleted and made again, offsets do not show it once the new topic has grown
//! past them. For that the brokers give every topic an id. The client library can ask for the id,
//! its Rust wrapper cannot. So there are calls into the library here, the only ones of this crate.
//! Nothing that the library owns leaves this file: answers are copied.

#![expect(unsafe_code, reason = "the wrapper has no call that tells a topic's id")]

use std::{
    ffi::{CStr, CString, c_char},
    ptr, slice,
    time::Duration,
};

use rdkafka::{
    ClientContext,
    bindings::{
        rd_kafka_AclOperation_t, rd_kafka_AdminOptions_destroy, rd_kafka_AdminOptions_new,
        rd_kafka_AdminOptions_set_broker, rd_kafka_AdminOptions_set_include_authorized_operations,
        rd_kafka_AdminOptions_set_request_timeout, rd_kafka_AdminOptions_t,
        rd_kafka_DescribeTopics, rd_kafka_DescribeTopics_result_topics,
        rd_kafka_TopicCollection_destroy, rd_kafka_TopicCollection_of_topic_names,
        rd_kafka_TopicCollection_t, rd_kafka_TopicDescription_authorized_operations,
        rd_kafka_TopicDescription_error, rd_kafka_TopicDescription_name,
        rd_kafka_TopicDescription_partitions, rd_kafka_TopicDescription_t,
        rd_kafka_TopicDescription_topic_id, rd_kafka_Uuid_base64str, rd_kafka_admin_op_t,
        rd_kafka_error_code, rd_kafka_error_destroy, rd_kafka_event_DescribeTopics_result,
        rd_kafka_event_destroy, rd_kafka_event_error, rd_kafka_event_t, rd_kafka_queue_destroy,
        rd_kafka_queue_new, rd_kafka_queue_poll, rd_kafka_queue_t, rd_kafka_resp_err_t,
    },
    client::Client,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
};

/// How long the brokers may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the brokers know of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub topic: String,
    /// Given by the brokers, in base64: never the same twice.
    pub id: String,
    /// How many it has.
    pub partitions: u32,
    /// Whether the user may write to it; `None` where that was not asked, or is not told.
    pub may_write: Option<bool>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, Default)]
struct Question {
    /// The broker that is asked; absent: any.
    broker: Option<i32>,
    /// What the user may do.
    with_rights: bool,
}

/// Whether this id means that there is none: brokers before Kafka 2.8 give their topics no ids, nor
/// do some that only speak its protocol.
pub fn is_none(id: &str) -> bool {
    id.bytes().all(|byte| matches!(byte, b'A' | b'='))
}

/// Asks what these names stand for; topics that are not there are left out. Blocks until the
/// brokers have answered, or for ten seconds.
pub fn describe<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
) -> KafkaResult<Vec<Described>> {
    question(client, Question::default(), topics)
}

/// The same, and whether the user may write to each.
///
/// # Errors
///
/// When the brokers do not answer, or refuse.
pub fn describe_rights<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
) -> KafkaResult<Vec<Described>> {
    question(client, Question { with_rights: true, ..Question::default() }, topics)
}

/// The same, asked of one broker by its id. Brokers hear of changes one after the other.
pub fn describe_by<C: ClientContext>(
    client: &Client<C>,
    broker: Option<i32>,
    topics: &[&str],
) -> KafkaResult<Vec<Described>> {
    question(client, Question { broker, ..Question::default() }, topics)
}

fn question<C: ClientContext>(
    client: &Client<C>,
    question: Question,
    topics: &[&str],
) -> KafkaResult<Vec<Described>> {
    if topics.is_empty() {
        return Ok(Vec::new());
    }
    let event = ask(client, question, topics)?;
    let described = event.topics()?.iter().map(|topic| read(*topic));
    described.filter_map(Result::transpose).collect()
}

/// Sends the question, and waits for the answer.
fn ask<C: ClientContext>(
    client: &Client<C>,
    question: Question,
    topics: &[&str],
) -> KafkaResult<AnswerEvent> {
    let millis = i32::try_from(TIMEOUT.as_millis()).unwrap_or(i32::MAX);
    let names = NameList::new(topics)?;
    let options = RequestOptions::new(client, question, millis)?;
    // SAFETY: the client's pointer is that of a living client for as long as it is borrowed.
    let queue = AnswerQueue(unsafe { rd_kafka_queue_new(client.native_ptr()) });
    // SAFETY: all four are alive, of the types asked for, and made by the same client; the library
    // copies names and options before it returns, and holds the queue by a count of its own.
    unsafe { rd_kafka_DescribeTopics(client.native_ptr(), names.0, options.0, queue.0) };
    // The library itself answers with an error when the time is over; half as long again is only
    // for the case that it does not.
    // SAFETY: the queue is alive. The event that is given is the caller's to destroy.
    let event = unsafe { rd_kafka_queue_poll(queue.0, millis.saturating_add(millis / 2)) };
    if event.is_null() {
        Err(KafkaError::AdminOp(Code::OperationTimedOut))
    } else {
        Ok(AnswerEvent(event))
    }
}

/// Copies one topic's answer; `None` for a topic that is not there.
fn read(topic: *const rd_kafka_TopicDescription_t) -> KafkaResult<Option<Described>> {
    // SAFETY: `topic` is an element of the answer, which lives as long as its event, and the
    // caller holds the event. An error, where there is one, belongs to the element.
    let code = unsafe { rd_kafka_error_code(rd_kafka_TopicDescription_error(topic)) };
    match code {
        rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
        rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => return Ok(None),
        code => return Err(KafkaError::AdminOp(code.into())),
    }
    let mut partitions = 0;
    // SAFETY: as above; the count is written through a pointer to a local of its type, and the
    // list that is given is not looked at.
    unsafe { rd_kafka_TopicDescription_partitions(topic, &raw mut partitions) };
    let may_write = may_write(topic);
    // SAFETY: as above; the id belongs to the element, and so do both texts: they are zero-ended
    // and copied at once. The text of an id is made on its first use, by this thread alone.
    let (topic, id) = unsafe {
        let id = rd_kafka_TopicDescription_topic_id(topic);
        (text(rd_kafka_TopicDescription_name(topic)), text(rd_kafka_Uuid_base64str(id)))
    };
    let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
    Ok(Some(Described { topic, id, partitions, may_write }))
}

/// Whether the user may write to a topic.
fn may_write(topic: *const rd_kafka_TopicDescription_t) -> Option<bool> {
    let mut count = 0;
    // SAFETY: as in `read`; the count is written through a pointer to a local of its type.
    let rights = unsafe { rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count) };
    if rights.is_null() {
        return None;
    }
    // SAFETY: the library gives an array of that many values, which the element owns.
    let rights = unsafe { slice::from_raw_parts(rights, count) };
    Some(rights.contains(&rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE))
}

/// Copies a text of the library.
///
/// # Safety
///
/// `text` is null or zero-ended, and lives during the call.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: what the caller promises.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

struct NameList(*mut rd_kafka_TopicCollection_t);

impl NameList {
    fn new(topics: &[&str]) -> KafkaResult<Self> {
        let owned: Vec<CString> =
            topics.iter().map(|&name| CString::new(name)).collect::<Result<_, _>>()?;
        let mut names: Vec<*const c_char> = owned.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: the array holds that many zero-ended names, alive until `owned` goes at the end;
        // the library copies them.
        Ok(Self(unsafe {
            rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len())
        }))
    }
}

impl Drop for NameList {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed here only.
        unsafe { rd_kafka_TopicCollection_destroy(self.0) };
    }
}

struct RequestOptions(*mut rd_kafka_AdminOptions_t);

impl RequestOptions {
    fn new<C: ClientContext>(
        client: &Client<C>,
        Question { broker, with_rights }: Question,
        millis: i32,
    ) -> KafkaResult<Self> {
        let operation = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        // SAFETY: the client is alive while it is borrowed; null is given for an operation that
        // the library does not know, and looked for below.
        let options = Self(unsafe { rd_kafka_AdminOptions_new(client.native_ptr(), operation) });
        if options.0.is_null() {
            return Err(KafkaError::AdminOpCreation("describing topics".to_owned()));
        }
        // SAFETY: the options are alive; a text of no length is not written to.
        let mut code = unsafe {
            rd_kafka_AdminOptions_set_request_timeout(options.0, millis, ptr::null_mut(), 0)
        };
        if let (Some(broker), rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR) = (broker, code) {
            // SAFETY: as above.
            code =
                unsafe { rd_kafka_AdminOptions_set_broker(options.0, broker, ptr::null_mut(), 0) };
        }
        if with_rights {
            // SAFETY: the options are alive; the error that is given is ours to destroy, and null
            // where there is none, which is destroyed without harm.
            unsafe {
                rd_kafka_error_destroy(rd_kafka_AdminOptions_set_include_authorized_operations(
                    options.0, 1,
                ));
            }
        }
        match code {
            rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(options),
            code => Err(KafkaError::AdminOp(code.into())),
        }
    }
}

impl Drop for RequestOptions {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: made by `new`, destroyed here only.
            unsafe { rd_kafka_AdminOptions_destroy(self.0) };
        }
    }
}

struct AnswerQueue(*mut rd_kafka_queue_t);

impl Drop for AnswerQueue {
    fn drop(&mut self) {
        // SAFETY: made by `ask`, destroyed here only; an answer that comes later is thrown away.
        unsafe { rd_kafka_queue_destroy(self.0) };
    }
}

/// An answer. Not null.
struct AnswerEvent(*mut rd_kafka_event_t);

impl AnswerEvent {
    /// The answer's elements, which live as long as it does.
    fn topics(&self) -> KafkaResult<&[*const rd_kafka_TopicDescription_t]> {
        // SAFETY: the event is alive as long as `self`.
        let code = unsafe { rd_kafka_event_error(self.0) };
        if code != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(KafkaError::AdminOp(code.into()));
        }
        // SAFETY: as above; null for an event of another kind.
        let result = unsafe { rd_kafka_event_DescribeTopics_result(self.0) };
        if result.is_null() {
            return Err(KafkaError::AdminOp(Code::Fail));
        }
        let mut count = 0;
        // SAFETY: the result is the event itself, seen as what it is; the count is a local.
        let topics = unsafe { rd_kafka_DescribeTopics_result_topics(result, &raw mut count) };
        if topics.is_null() || count == 0 {
            return Ok(&[]);
        }
        // SAFETY: the library gives an array of that many pointers, which the event owns and
        // nobody writes; it lives as long as the event, and so as `self`.
        Ok(unsafe { slice::from_raw_parts(topics, count) })
    }
}

impl Drop for AnswerEvent {
    fn drop(&mut self) {
        // SAFETY: given to us by the queue, destroyed here only.
        unsafe { rd_kafka_event_destroy(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::{
        ClientConfig,
        admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
        client::DefaultClientContext,
    };

    use super::*;

    fn client() -> AdminClient<DefaultClientContext> {
        let address = std::env::var("TEST_KAFKA").unwrap_or_else(|_| "127.0.0.1:23392".to_owned());
        ClientConfig::new().set("bootstrap.servers", address).create().unwrap()
    }

    async fn create(client: &AdminClient<DefaultClientContext>, name: &str, partitions: i32) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let made = client.create_topics([&topic], &AdminOptions::new()).await.unwrap();
        assert_eq!(made, [Ok(name.to_owned())]);
    }

    /// What is known of a name, when that is no longer `before`.
    fn next(
        client: &AdminClient<DefaultClientContext>,
        name: &str,
        before: Option<&Described>,
    ) -> Option<Described> {
        loop {
            let now = describe(client.inner(), &[name]).unwrap().pop();
            if now.as_ref() != before {
                return now;
            }
        }
    }

    #[test]
    fn an_id_of_zeros_is_none() {
        assert!(
            is_none("") && is_none("AAAAAAAAAAAAAAAAAAAAAA") && !is_none("AAAAAAAAAAAAAAAAAAAAAQ")
        );
    }

    #[tokio::test]
    async fn a_topic_that_is_made_again_has_another_id() {
        let client = client();
        let name = format!("topic-id-{:016x}", rand::random::<u64>());
        assert_eq!(describe(client.inner(), &[]).unwrap(), []);
        assert_eq!(describe(client.inner(), &[&name]).unwrap(), []);
        create(&client, &name, 3).await;
        let first = next(&client, &name, None).unwrap();
        assert_eq!((&*first.topic, first.partitions), (&*name, 3));
        let two = describe(client.inner(), &[&name, "topic-id-that-never-was"]).unwrap();
        assert_eq!(two, std::slice::from_ref(&first));
        client.delete_topics(&[&name], &AdminOptions::new()).await.unwrap();
        assert_eq!(next(&client, &name, Some(&first)), None);
        create(&client, &name, 3).await;
        let second = next(&client, &name, None).unwrap();
        assert!(!second.id.is_empty() && second.id != first.id, "{} and {}", first.id, second.id);
        client.delete_topics(&[&name], &AdminOptions::new()).await.unwrap();
    }
}
