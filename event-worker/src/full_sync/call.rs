//! One call: the request goes into the control table, the answer comes in a checkpoint of `dts`.

use std::{collections::BTreeMap, time::Duration};

use event_bus::Bus;
use full_sync::{ANSWER_PREFIX, Answer, Code, Refusal, Request};
use rand::RngExt as _;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::{info, warn};

use super::{
    refusal::RefusedCall,
    tasks,
    view::{Started, StartedTask},
};
use crate::error::Error;

/// How long `dts` may take to answer, before the request is removed,
const ANSWER_DEADLINE: Duration = Duration::from_secs(4);

/// and how long in total: `dts` may have read the request just before that.
const LATE_DEADLINE: Duration = Duration::from_millis(4800);

/// How long to wait for the others when one `dts` knows the table: they may not run any more.
const OTHERS_DEADLINE: Duration = Duration::from_millis(500);

/// How often we look for the answer.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long the bus may take to remove a request.
const TAKE_BACK_DEADLINE: Duration = Duration::from_secs(5);

/// Where the answer goes. The caller may be gone.
type AnswerTo = oneshot::Sender<Result<Started, RefusedCall>>;

/// Writes the request, waits for the answer and gives it to the caller. Always removes the request.
pub(super) async fn carry_out(bus: &dyn Bus, request: Request, answer_to: AnswerTo) {
    let began = Instant::now();
    let deadline = began + ANSWER_DEADLINE;
    let mut pending = PendingRequest::new(bus, request);
    let put = timeout_at(deadline, pending.put()).await;
    let is_put = matches!(put, Ok(Ok(())));
    if is_put && timeout_at(deadline, pending.all_answers()).await.is_ok() {
        let _ = answer_to.send(pending.answer());
        pending.take_back().await;
        return;
    }
    match put {
        Ok(Ok(())) => {
            let is_gone = pending.take_back().await;
            pending.late_answers(began + LATE_DEADLINE).await;
            let answer = match pending.answer() {
                Err(RefusedCall::Unanswered(_) | RefusedCall::Failed(_)) if !is_gone => {
                    Err(RefusedCall::Unknown)
                }
                answer => answer,
            };
            let _ = answer_to.send(answer);
        }
        failed => {
            // The bus may have written it all the same.
            let is_gone = !pending.may_be_there || pending.take_back().await;
            let refused = match failed {
                _ if !is_gone => RefusedCall::Unknown,
                Ok(Err(error)) => error.into(),
                _ => Error::SlowBus(ANSWER_DEADLINE).into(),
            };
            let _ = answer_to.send(Err(refused));
        }
    }
}

/// A request that waits for its answer.
struct PendingRequest<'a> {
    bus: &'a dyn Bus,
    request: Request,
    /// Each `dts` that may answer.
    producers: Vec<String>,
    /// The answers that came, by the name of the `dts`, with the tasks that each names.
    answers: BTreeMap<String, (Answer, Vec<StartedTask>)>,
    /// Whether the request may be on the bus.
    may_be_there: bool,
    /// When the first answer came that is not "no such table".
    known_at: Option<Instant>,
    /// Why the last look at the bus failed.
    trouble: Option<event_bus::Error>,
}

impl<'a> PendingRequest<'a> {
    fn new(bus: &'a dyn Bus, request: Request) -> Self {
        Self {
            bus,
            request,
            producers: Vec::new(),
            answers: BTreeMap::new(),
            may_be_there: false,
            known_at: None,
            trouble: None,
        }
    }

    async fn put(&mut self) -> event_bus::Result<()> {
        self.producers = self.bus.producers().await?;
        if let [only] = &self.producers[..] {
            self.request.dts = Some(only.clone());
        }
        let entry = (self.request.key(), Some(self.request.to_bytes().into()));
        self.may_be_there = true;
        self.bus.put_control(&[entry]).await
    }

    /// Looks until no more answers are expected.
    async fn all_answers(&mut self) {
        while !self.look().await {
            sleep(LOOK_EVERY).await;
        }
    }

    async fn late_answers(&mut self, deadline: Instant) {
        // At least once, even when there is no time left.
        if !timeout(TAKE_BACK_DEADLINE, self.look()).await.unwrap_or_default() {
            let _ = timeout_at(deadline, self.all_answers()).await;
        }
    }

    /// Looks once for answers; `true` when no more are expected.
    async fn look(&mut self) -> bool {
        self.trouble = self.read_answers().await.err();
        let is_late = self.known_at.is_some_and(|at| at.elapsed() > OTHERS_DEADLINE);
        is_late || (!self.producers.is_empty() && self.answers.len() == self.producers.len())
    }

    async fn read_answers(&mut self) -> event_bus::Result<()> {
        if self.producers.is_empty() {
            self.producers = self.bus.producers().await?;
        }
        let key = format!("{ANSWER_PREFIX}{}", self.request.id);
        for producer in &self.producers {
            if self.answers.contains_key(producer) {
                continue;
            }
            let checkpoint = self.bus.checkpoint(producer).await?;
            let answer = checkpoint.get(&key).and_then(|bytes| Answer::from_bytes(bytes).ok());
            let Some(answer) = answer else { continue };
            if !matches!(&answer, Answer::Refused { refusal, .. } if is_unknown(refusal)) {
                self.known_at.get_or_insert_with(Instant::now);
            }
            let ids = match &answer {
                Answer::Accepted { tasks, .. } => &tasks[..],
                Answer::Refused { .. } => &[],
            };
            let listener = &self.request.listener;
            let kept = ids.iter().map(|id| (id, tasks::one(&checkpoint, id)));
            let tasks = kept.map(|(id, task)| StartedTask::new(id, listener, task)).collect();
            self.answers.insert(producer.clone(), (answer, tasks));
        }
        Ok(())
    }

    /// What the answers mean together. Each `dts` knows only the tables that it captures.
    fn judge(&mut self) -> Option<Result<Vec<StartedTask>, Refusal>> {
        let (mut tasks, mut refusals, mut is_accepted) = (Vec::new(), Vec::new(), false);
        for (answer, started) in std::mem::take(&mut self.answers).into_values() {
            match answer {
                Answer::Accepted { .. } => is_accepted = true,
                Answer::Refused { refusal, .. } => refusals.push(refusal),
            }
            tasks.extend(started);
        }
        if is_accepted {
            for Refusal { message, remedy, .. } in refusals.iter().filter(|one| !is_unknown(one)) {
                warn!(request = self.request.id, remedy, "another dts refuses it: {message}");
            }
            return Some(Ok(tasks));
        }
        // "No such table" says the least, so it comes last.
        refusals.sort_by_key(is_unknown);
        refusals.into_iter().next().map(Err)
    }

    /// The answer for the caller, from the answers so far.
    fn answer(&mut self) -> Result<Started, RefusedCall> {
        let request = self.request.id.clone();
        match self.judge() {
            Some(Ok(tasks)) => {
                info!(request, tasks = tasks.len(), "a full sync is accepted");
                Ok(Started { request, tasks })
            }
            Some(Err(refusal)) => Err(RefusedCall::ByDts(refusal)),
            None => Err(self.unanswered()),
        }
    }

    /// Removes the request; `true` when it is removed. Otherwise the next sweep removes it.
    async fn take_back(&self) -> bool {
        let entry = (self.request.key(), None);
        let removed = timeout(TAKE_BACK_DEADLINE, self.bus.put_control(&[entry])).await;
        match removed {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => {
                warn!(request = self.request.id, %error, "a request stays on the bus for now");
            }
            Err(_) => warn!(
                request = self.request.id,
                "a request stays on the bus for now: the bus is slow"
            ),
        }
        false
    }

    fn unanswered(&self) -> RefusedCall {
        match &self.trouble {
            Some(error) => error.clone().into(),
            None => RefusedCall::Unanswered(self.producers.clone()),
        }
    }
}

fn is_unknown(refusal: &Refusal) -> bool {
    refusal.code == Code::NoSuchTable
}

/// A unique id. Later ids are greater.
pub(super) fn new_id(now_ms: u64) -> String {
    const RANDOM_DIGITS: usize = 6;
    const TIME_DIGITS: usize = 9;
    let random = rand::rng().random_range(0..36_u64.pow(6));
    format!("fs-{}-{}", base_36(now_ms, TIME_DIGITS), base_36(random, RANDOM_DIGITS))
}

fn base_36(mut number: u64, digits: usize) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut text = vec![b'0'; digits];
    for digit in text.iter_mut().rev() {
        *digit = DIGITS[(number % 36) as usize];
        number /= 36;
    }
    text.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use event_bus::{Batch, MemoryBus, Producer};
    use full_sync::REQUEST_PREFIX;

    use super::*;

    #[test]
    fn ids_are_ordered_by_time_and_differ_within_a_moment() {
        assert_eq!(base_36(35, 3), "00z");
        assert_eq!(base_36(36 * 36 * 7 + 1, 3), "701");
        let ids: Vec<String> =
            [1, 36, 1_700_000_000_000, 1_700_000_000_001, 90_000_000_000_000].map(new_id).into();
        assert!(ids.is_sorted(), "{ids:?}");
        assert_ne!(new_id(5), new_id(5));
    }

    fn request() -> Request {
        Request::new(&new_id(1), ("l", "g"), 1)
    }

    /// Carries a request out, and gives what was answered.
    async fn call(bus: &MemoryBus, request: Request) -> Result<Started, RefusedCall> {
        let (answer_to, answer) = oneshot::channel();
        carry_out(bus, request, answer_to).await;
        answer.await.unwrap()
    }

    async fn answer(producer: &mut dyn Producer, id: &str) {
        give(producer, id, accepted("task")).await;
    }

    fn accepted(task: &str) -> Answer {
        Answer::Accepted { tasks: vec![task.to_owned()], at_ms: 2, subscribe: None, captured: None }
    }

    fn refused(code: Code) -> Answer {
        let (message, remedy) = ("no".to_owned(), "ask another".to_owned());
        Answer::Refused { refusal: Refusal { code, message, remedy, task: None }, at_ms: 2 }
    }

    async fn give(producer: &mut dyn Producer, id: &str, answer: Answer) {
        let entry = (format!("{ANSWER_PREFIX}{id}"), Some(answer.to_bytes().into()));
        producer.append(&Batch::default(), &[entry]).await.unwrap();
    }

    /// How many requests are left in the end.
    async fn kept(bus: &MemoryBus) -> usize {
        bus.control().await.unwrap().changes().await.unwrap().len()
    }

    #[tokio::test]
    async fn a_dts_that_answers_just_when_the_request_is_taken_back_is_heard() {
        let bus = MemoryBus::new(1);
        let (mut producer, _) = bus.producer("shop").await.unwrap();
        let mut control = bus.control().await.unwrap();
        let late = async {
            loop {
                for (key, value) in control.changes().await.unwrap() {
                    if value.is_none() {
                        let id = key.strip_prefix(REQUEST_PREFIX).unwrap();
                        return answer(&mut *producer, id).await;
                    }
                }
            }
        };
        let (called, ()) = tokio::join!(call(&bus, request()), late);
        assert_eq!(called.unwrap().tasks[0].id, "task");
        assert_eq!(kept(&bus).await, 0);
    }

    #[tokio::test]
    async fn a_request_that_nobody_answers_is_taken_back() {
        let bus = MemoryBus::new(1);
        let refused = call(&bus, request()).await.unwrap_err();
        assert!(
            matches!(&refused, RefusedCall::Unanswered(names) if names.is_empty()),
            "{refused:?}"
        );
        let _producer = bus.producer("shop").await.unwrap();
        let refused = call(&bus, request()).await.unwrap_err();
        assert!(matches!(&refused, RefusedCall::Unanswered(names) if *names == ["shop"]));
        assert_eq!(kept(&bus).await, 0);
    }

    #[tokio::test]
    async fn of_several_dts_the_one_that_answers_is_heard() {
        let bus = MemoryBus::new(1);
        let _one = bus.producer("one").await.unwrap();
        let (mut two, _) = bus.producer("two").await.unwrap();
        let mut control = bus.control().await.unwrap();
        assert!(control.changes().await.unwrap().is_empty());
        let answered = async {
            let (_, value) = control.changes().await.unwrap().remove(0);
            let request = Request::from_bytes(&value.unwrap()).unwrap();
            assert_eq!(request.dts, None, "any may answer");
            answer(&mut *two, &request.id).await;
        };
        let (called, ()) = tokio::join!(call(&bus, request()), answered);
        let Started { tasks, .. } = called.unwrap();
        assert_eq!((tasks[0].id.as_str(), &tasks[0].table), ("task", &None));
    }

    /// What a caller hears when each `dts` gives its answer.
    async fn heard(answers: &[Answer]) -> Result<Vec<String>, Code> {
        let bus = MemoryBus::new(1);
        let mut producers = Vec::new();
        for name in 0..answers.len() {
            producers.push(bus.producer(&name.to_string()).await.unwrap().0);
        }
        let asked = request();
        let id = asked.id.clone();
        let answering = async {
            for (producer, answer) in producers.iter_mut().zip(answers) {
                give(&mut **producer, &id, answer.clone()).await;
                // Whoever knows nothing is heard before the next one says more.
                if *answer == refused(Code::NoSuchTable) {
                    sleep(2 * LOOK_EVERY).await;
                }
            }
        };
        match tokio::join!(call(&bus, asked), answering).0 {
            Ok(started) => Ok(started.tasks.into_iter().map(|task| task.id).collect()),
            Err(RefusedCall::ByDts(refusal)) => Err(refusal.code),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn each_of_several_dts_knows_of_its_tables_only() {
        let none = || refused(Code::NoSuchTable);
        assert_eq!(heard(&[none(), accepted("a")]).await, Ok(vec!["a".to_owned()]));
        let both = heard(&[accepted("a"), accepted("b")]).await;
        assert_eq!(both, Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(heard(&[none(), refused(Code::NotPossible)]).await, Err(Code::NotPossible));
        assert_eq!(heard(&[none(), none()]).await, Err(Code::NoSuchTable));
    }
}
