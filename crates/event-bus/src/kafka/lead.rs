//! Who leads: the one member that owns the partition of the checkpoint's topic.
//!
//! All processes of one name join one group on that topic, which has one partition. So the brokers
//! decide who leads, notice when the leader is gone, and give the lead to another process. A leader
//! that lost the lead without knowing cannot write: its transactional id is fenced (`producer`).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use rdkafka::{
    ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance},
    error::KafkaError,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Cluster,
    client::{self, Voice},
    scan,
};
use crate::{Error, Result, Standing};

/// How long a silent leader keeps the lead: so that another has taken over within ten seconds.
const SESSION_TIMEOUT_MS: &str = "8000";

/// How soon a stand-by learns that the leader has left.
const HEARTBEAT_MS: &str = "300";

/// How often the library tells how many answers came.
const STATISTICS_MS: &str = "1000";

/// How long an earlier leader that died may still seem to live.
const ALONE_PATIENCE: Duration = Duration::from_secs(20);

/// How long a call into the library may take: what stops us is seen after it.
const POLL: Duration = Duration::from_millis(100);

/// How soon after an append that failed it is known that the lead was lost, if that is why.
const LOST_PATIENCE: Duration = Duration::from_millis(500);

/// How long leaving may take.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// A membership in the group: it leads, or waits to lead. Dropping it leaves the group soon, and
/// does not wait.
pub(super) struct Candidacy {
    state: watch::Receiver<ElectionState>,
    leave: CancellationToken,
}

#[derive(Clone, Debug)]
enum ElectionState {
    Waiting,
    Leading,
    Over(Error),
}

impl Candidacy {
    /// Joins the group of `name`, on the topic of its checkpoint. From then on `standing` says
    /// whether the brokers answer.
    pub(super) fn join(cluster: &Cluster, name: &str, standing: &Standing) -> Result<Self> {
        let (report, state) = watch::channel(ElectionState::Waiting);
        let voice = Voice::default();
        let mut config = cluster.client(name);
        config
            .set("group.id", cluster.producer_id(name))
            .set("session.timeout.ms", SESSION_TIMEOUT_MS)
            .set("heartbeat.interval.ms", HEARTBEAT_MS)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            // Nothing is read through it.
            .set("auto.offset.reset", "latest")
            .set("allow.auto.create.topics", "false")
            .set("statistics.interval.ms", STATISTICS_MS);
        let context = StandByCallbacks {
            name: name.to_owned(),
            voice: voice.clone(),
            report,
            standing: standing.clone(),
            answers: AtomicU64::new(0),
        };
        let failed = |error| cluster.error("cannot join the group of stand-bys", &error, &voice);
        let consumer = BaseConsumer::from_config_and_context(&config, context).map_err(failed)?;
        consumer.subscribe(&[&cluster.checkpoint_topic(name)]).map_err(failed)?;
        let (leave, cluster) = (CancellationToken::new(), cluster.clone());
        let left = leave.clone();
        let stay = move || stay(&consumer, &cluster, &left);
        let spawned = thread::Builder::new().name("lead".to_owned()).spawn(stay);
        spawned.map_err(|error| Error::Internal(format!("cannot start a thread: {error}")))?;
        Ok(Self { state, leave })
    }

    /// Waits until we lead.
    pub(super) async fn won(&mut self) -> Result<()> {
        let decided = self.state.wait_for(|state| !matches!(state, ElectionState::Waiting)).await;
        match decided.as_deref() {
            Ok(ElectionState::Over(error)) => Err(error.clone()),
            Ok(ElectionState::Waiting | ElectionState::Leading) => Ok(()),
            Err(_) => Err(Error::Internal("the thread that keeps the lead has failed".to_owned())),
        }
    }

    /// Gives the lead to a stand-by, and waits until the brokers know.
    pub(super) async fn leave(&mut self) {
        self.leave.cancel();
        // The thread's end of the channel goes with the consumer.
        let left = async { while self.state.changed().await.is_ok() {} };
        if tokio::time::timeout(LEAVE_PATIENCE, left).await.is_err() {
            tracing::debug!("the brokers did not hear that we leave: the session will time out");
        }
    }

    /// The error that we do not lead any more, if the brokers say so within moments.
    pub(super) async fn lost(&self) -> Option<Error> {
        let mut state = self.state.clone();
        let over = state.wait_for(|state| matches!(state, ElectionState::Over(_)));
        match tokio::time::timeout(LOST_PATIENCE, over).await.ok()?.as_deref() {
            Ok(ElectionState::Over(error)) => Some(error.clone()),
            Ok(ElectionState::Waiting | ElectionState::Leading) | Err(_) => None,
        }
    }

    /// Whether we still lead, as far as the brokers have told us.
    pub(super) fn check(&self) -> Result<()> {
        match &*self.state.borrow() {
            ElectionState::Over(error) => Err(error.clone()),
            ElectionState::Waiting | ElectionState::Leading => Ok(()),
        }
    }
}

impl Drop for Candidacy {
    fn drop(&mut self) {
        self.leave.cancel();
    }
}

/// Waits until we lead, where there are no stand-bys: then another leader is a mistake.
pub(super) async fn won_alone(lead: &mut Candidacy, cluster: &Cluster, name: &str) -> Result<()> {
    let Ok(won) = tokio::time::timeout(ALONE_PATIENCE, lead.won()).await else {
        return Err(Error::Refused {
            address: cluster.config.address.clone(),
            reason: format!(
                "another process runs with the name {name}, and with delivery = \"at-least-once\" \
                 there are no stand-bys: stop one, or use \"exactly-once\""
            ),
        });
    };
    won
}

/// Stays in the group until the membership is lost or given up. Dropping the consumer then leaves.
fn stay(consumer: &BaseConsumer<StandByCallbacks>, cluster: &Cluster, left: &CancellationToken) {
    let member = consumer.context();
    let doing = format!("cannot join the group {} of stand-bys", cluster.producer_id(&member.name));
    while !left.is_cancelled() && !matches!(*member.report.borrow(), ElectionState::Over(_)) {
        let polled = consumer.poll(POLL);
        let refused = |error| client::refusal(&doing, error, &cluster.config.address);
        if let Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) = &polled {
            member.over(cluster.error("lost the place among the stand-bys", error, &member.voice));
        } else if let Some(refusal) = polled.as_ref().and_then(|one| refused(one.as_ref().err()?)) {
            member.over(refusal);
        } else if let Some(refusal) = client::heard_refusal(&member.voice, &cluster.config.address)
        {
            member.over(refusal);
        }
    }
}

/// Hears what the group decides.
struct StandByCallbacks {
    name: String,
    voice: Voice,
    report: watch::Sender<ElectionState>,
    standing: Standing,
    /// How many answers of brokers came until now.
    answers: AtomicU64,
}

impl StandByCallbacks {
    fn over(&self, error: Error) {
        self.report.send_replace(ElectionState::Over(error));
    }
}

impl ClientContext for StandByCallbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.voice.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.standing.fail(reason);
        self.voice.error(error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let answers = scan::answers(statistics);
        if self.answers.swap(answers, Ordering::Relaxed) < answers {
            self.standing.hear();
        }
    }
}

impl ConsumerContext for StandByCallbacks {
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) if partitions.count() > 0 => {
                // It is owned, not read.
                if let Err(error) = consumer.pause(partitions) {
                    tracing::debug!(%error, "the checkpoint's topic is read for nothing");
                }
                self.report.send_replace(ElectionState::Leading);
            }
            Rebalance::Revoke(partitions) if partitions.count() > 0 => {
                self.over(Error::Fenced(self.name.clone()));
            }
            Rebalance::Assign(_) | Rebalance::Revoke(_) | Rebalance::Error(_) => {}
        }
    }
}
