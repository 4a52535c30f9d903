//! Brokers that do not answer, or not everything.

use std::time::Duration;

use event_bus::{Bus, Error, Standing};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    producer::Producer as _,
};
use tokio_util::sync::CancellationToken;

use super::{
    address, config_at,
    proxy::{LIST_OFFSETS, METADATA, Proxy},
    reader::{alone, end, fill, prefix, producer, send},
};
use crate::contract::reader::{Reader, group, tables, topic};

fn bus_behind(proxy: &Proxy) -> std::sync::Arc<dyn Bus> {
    event_bus::open(&config_at(proxy.address(), &prefix(), 1)).unwrap()
}

/// A member that has read the one record of topic `a`, with all its connections over a proxy.
async fn reader_behind_proxy() -> (Proxy, Reader) {
    fill(&topic("a"), &["1"]).await;
    let proxy = Proxy::start().await;
    let mut reader = Reader::join(&*bus_behind(&proxy), "one").await;
    reader.read(1).await;
    (proxy, reader)
}

/// Deletes what lies below an offset of topic `a`.
async fn delete_below(offset: i64) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", address()).create().unwrap();
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&topic("a"), 0, Offset::Offset(offset)).unwrap();
    admin.delete_records(&before, &AdminOptions::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_error_is_explained_as_soon_as_the_brokers_answer() {
    alone(async {
        let (proxy, mut reader) = reader_behind_proxy().await;
        let owned: Vec<_> = reader.owned.keys().cloned().collect();
        reader.consumer.pause(&owned);
        // The library lets go of what it was about to read.
        reader.more().await;
        send(&producer(&[]), &topic("a"), &["2", "3", "4"]);
        delete_below(3).await;
        proxy.hold(&[LIST_OFFSETS, METADATA]);
        reader.consumer.resume(&owned);
        let error = loop {
            if let Err(error) = reader.consumer.poll().await {
                break error;
            }
        };
        assert!(error.is_transient(), "{error}");
        proxy.hold(&[]);
        let error = end(&mut reader).await;
        assert!(matches!(&error, Error::OffsetGone { committed: 1, first: 3, .. }), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_the_lead_says_whether_the_brokers_are_heard_of() {
    alone(async {
        let (leads, _) = super::bus(&prefix(), 1).producer("p").await.unwrap();
        let proxy = Proxy::start().await;
        let (bus, standing) = (bus_behind(&proxy), Standing::default());
        assert_eq!(standing.silence(), None);
        let waiting = tokio::spawn({
            let standing = standing.clone();
            async move { bus.lead("p", &standing).await }
        });
        let silence = async |enough: fn(Duration) -> bool| {
            while !standing.silence().is_some_and(enough) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        silence(|silence| silence < Duration::from_secs(1)).await;
        proxy.freeze(true);
        silence(|silence| silence > Duration::from_secs(4)).await;
        proxy.freeze(false);
        // What it asked meanwhile gets no answer; the library asks again when it has noticed.
        proxy.close();
        proxy.open();
        silence(|silence| silence < Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        leads.close().await;
        waiting.await.unwrap().unwrap();
    })
    .await;
}

/// A consumer that is told again and again that the topics are the same.
async fn tell(reader: &mut Reader, topics: u64, time: Duration) {
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        reader.consumer.topics_are(topics);
        reader.poll(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_of_the_topics_does_not_ask_for_them_and_groups_are_surveyed_at_once() {
    alone(async {
        let (proxy, mut reader) = reader_behind_proxy().await;
        reader.commit().await.unwrap();
        // For a while it looks again: one broker hears of a topic later than another.
        tell(&mut reader, 7, Duration::from_secs(11)).await;
        let before = proxy.asked(METADATA);
        tell(&mut reader, 7, Duration::from_secs(7)).await;
        assert_eq!(proxy.asked(METADATA), before);

        let bus = bus_behind(&proxy);
        let groups = ["g", "other", "third"].map(|name| (group(name), tables("*")));
        for round in 0..4 {
            let survey = bus.survey(&groups).await;
            assert_eq!(survey.topics.is_some(), round == 0, "listed now and then");
            let told: Vec<_> = survey.groups.into_iter().map(Result::unwrap).collect();
            assert_eq!((told[0][0].committed, told[0][0].end, told[0][0].high), (Some(1), 1, 1));
            assert_eq!((told[1][0].committed, told[1][0].end), (None, 1));
        }
        let asked = proxy.asked(METADATA) - before;
        // One for the list, and some that the library asks for its own sake when clients are new.
        assert!(asked < 30, "{asked} questions for metadata");

        fill(&topic("b"), &["2"]).await;
        reader.consumer.topics_are(8);
        reader.read(2).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_consumer_says_that_the_brokers_are_back() {
    alone(async {
        let (proxy, mut reader) = reader_behind_proxy().await;
        proxy.close();
        let error = loop {
            if let Err(error) = reader.consumer.poll().await {
                break error;
            }
        };
        assert!(error.is_transient(), "{error}");
        proxy.open();
        // Nothing is written meanwhile.
        while reader.consumer.poll().await.is_err() {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_behind_an_open_transaction_are_seen_in_a_survey() {
    alone(async {
        fill(&topic("a"), &["1"]).await;
        let name = prefix();
        let open = producer(&[("transactional.id", &name)]);
        open.init_transactions(Duration::from_secs(30)).unwrap();
        open.begin_transaction().unwrap();
        send(&open, &topic("a"), &["2", "3"]);
        send(&producer(&[]), &topic("a"), &["4"]);
        let bus = super::bus(&prefix(), 1);
        let survey = bus.survey(&[(group("g"), tables("*"))]).await;
        let told = survey.groups.into_iter().next().unwrap().unwrap();
        assert_eq!((told[0].end, told[0].high), (1, 4));
        open.abort_transaction(Duration::from_secs(30)).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_another_assignor_refuses_a_member_which_says_so() {
    alone(async {
        fill(&topic("a"), &["1"]).await;
        let foreign: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", address())
            .set("group.id", group("g"))
            .set("partition.assignment.strategy", "range")
            .create()
            .unwrap();
        foreign.subscribe(&[&topic("a")]).unwrap();
        let stop = CancellationToken::new();
        let (tell, joined) = tokio::sync::oneshot::channel();
        let reading = tokio::task::spawn_blocking({
            let stop = stop.clone();
            move || {
                let mut tell = Some(tell);
                while !stop.is_cancelled() {
                    foreign.poll(Duration::from_millis(50));
                    if foreign.assignment().unwrap().count() > 0 {
                        tell.take().map(|tell| tell.send(()));
                    }
                }
            }
        });
        joined.await.unwrap();
        let bus = super::bus(&prefix(), 1);
        let error = end(&mut Reader::join(&*bus, "one").await).await;
        assert!(matches!(&error, Error::Refused { .. }), "{error}");
        assert!(error.to_string().contains("another assignor"), "{error}");
        stop.cancel();
        reading.await.unwrap();
    })
    .await;
}
