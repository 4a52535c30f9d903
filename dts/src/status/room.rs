//! How full the bus is, and for which groups it keeps records: only for a bus whose limit we set.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use bytesize::ByteSize;
use event_bus::{Bus, KnownGroup, Room};
use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Status;

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What was seen at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct SeenRoom {
    room: Option<Room>,
    groups: Vec<KnownGroup>,
}

type Labels = Vec<(&'static str, String)>;

type Bytes = Gauge<f64, AtomicU64>;

#[derive(Debug, Default)]
pub(super) struct RoomGauges {
    bytes: Family<Labels, Bytes>,
    max_bytes: Family<Labels, Bytes>,
    held: Family<Labels, Bytes>,
}

impl RoomGauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Size of the event log; absent on Kafka";
        registry.register_with_unit("log", help, Unit::Bytes, self.bytes.clone());
        let help = "Limit of the event log: at this size dts stops publishing";
        registry.register_with_unit("log_max", help, Unit::Bytes, self.max_bytes.clone());
        let help = "Part of the event log that this group has not finished";
        registry.register_with_unit("log_held", help, Unit::Bytes, self.held.clone());
    }

    fn set(&self, seen: &SeenRoom) {
        // The bytes of a log are far below 2^52.
        if let Some(Room { bytes, max_bytes }) = seen.room {
            self.bytes.get_or_create(&Labels::new()).set(bytes as f64);
            self.max_bytes.get_or_create(&Labels::new()).set(max_bytes as f64);
        }
        self.held.clear();
        for group in &seen.groups {
            let Some(held) = group.held_bytes else { continue };
            self.held.get_or_create(&vec![("group", group.name.clone())]).set(held as f64);
        }
    }
}

impl SeenRoom {
    /// The group that most is kept for, and how much, in words.
    pub(super) fn fullest(&self) -> Option<(&str, ByteSize)> {
        let held = self.groups.iter().filter_map(|group| Some((group, group.held_bytes?)));
        let (group, held) = held.max_by_key(|(_, held)| *held).filter(|(_, held)| *held > 0)?;
        Some((&group.name, ByteSize::b(held)))
    }

    /// In the form that `/api/v1/status` shows.
    pub(super) fn to_json(&self) -> Value {
        let Some(Room { bytes, max_bytes }) = self.room else { return Value::Null };
        let group = |group: &KnownGroup| {
            json!({
                "name": group.name,
                "heldBytes": group.held_bytes,
                "members": group.members,
            })
        };
        let groups: Vec<Value> = self.groups.iter().map(group).collect();
        json!({ "bytes": bytes, "maxBytes": max_bytes, "groups": groups })
    }
}

/// Looks at the bus from time to time, until `stop`.
pub async fn watch_room(bus: Arc<dyn Bus>, status: Arc<Status>, stop: CancellationToken) {
    let look = async {
        loop {
            // The code that needs the bus reports when it is away.
            if let Ok(Some(room)) = bus.room().await
                && let Ok(groups) = bus.groups().await
            {
                let seen = SeenRoom { room: Some(room), groups };
                status.metrics.room.set(&seen);
                status.lock().room = seen;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    stop.run_until_cancelled(look).await;
}
