//! Keys go where Kafka's own client for Java puts them.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use event_bus::TopicName;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    Admin, address, bus, new_prefix,
    producer::{batch, committed},
};

const PARTITIONS: u32 = 7;

/// Writes lines of key and value with Kafka's console producer.
fn write_with_java(topic: &str, lines: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/servers.sh");
    let mut tool = Command::new(script)
        .args(["kafka-tool", "org.apache.kafka.tools.ConsoleProducer", "--topic", topic])
        .args(["--bootstrap-server", &address(), "--reader-property", "parse.key=true"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    tool.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(tool.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_where_kafkas_own_client_for_java_puts_them() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    // Each key is its record's value too. Of every length that the hash treats in a way of its own.
    let keys: Vec<String> = (1..200)
        .map(|length| (0..length).map(|_| random.random_range('0'..='\u{2fff}')).collect())
        .filter(|key: &String| !key.contains(['\t', '\n', '\r']))
        .collect();
    let prefix = new_prefix();
    let topic = |table| TopicName::new(&prefix).of("s", table);
    Admin::new().create(&topic("java"), PARTITIONS.cast_signed(), &[]).await;
    let lines: String = keys.iter().map(|key| format!("{key}\t{key}\n")).collect();
    write_with_java(&topic("java"), &lines);

    let (mut producer, _) = bus(&prefix, PARTITIONS).producer("p").await.unwrap();
    let records = keys.iter().map(|key| (key.clone(), key.clone()));
    producer.append(&batch(&topic("ours"), records), &[]).await.unwrap();
    let sorted = |topic: &str| -> BTreeMap<i32, Vec<String>> {
        let mut found = committed(topic, PARTITIONS.cast_signed());
        found.values_mut().for_each(|values| values.sort());
        found
    };
    let (theirs, ours) = (sorted(&topic("java")), sorted(&topic("ours")));
    assert_eq!(theirs.values().map(Vec::len).sum::<usize>(), keys.len());
    assert_eq!(ours, theirs);
}
