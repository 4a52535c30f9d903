//! Brokers that do not answer, or not everything.

use std::time::Duration;

use event_bus::{Bus, Error, Standing};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};

use super::{
    address, config_at,
    proxy::{LIST_OFFSETS, METADATA, Proxy},
    reader::{alone, end, fill, prefix, producer, send},
};
use crate::contract::reader::{Reader, topic};

fn bus_behind(proxy: &Proxy) -> std::sync::Arc<dyn Bus> {
    event_bus::open(&config_at(proxy.address(), &prefix(), 1)).unwrap()
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
        fill(&topic("a"), &["1"]).await;
        let proxy = Proxy::start().await;
        let bus = bus_behind(&proxy);
        let mut reader = Reader::join(&*bus, "one").await;
        reader.read(1).await;
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
        // What it asked meanwhile gets no answer; the library asks anew when it has noticed.
        proxy.close();
        proxy.open();
        silence(|silence| silence < Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        leads.close().await;
        waiting.await.unwrap().unwrap();
    })
    .await;
}
