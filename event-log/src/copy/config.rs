//! `[mirror]` of a config: which streams of which server are copied.

use service::config::Section;

use super::mirror::{MirrorOptions, OnGone};
use crate::ClientConfig;

/// What is copied, and how.
#[derive(Clone, Debug)]
pub struct MirrorConfig {
    /// How the server is reached.
    pub client: ClientConfig,
    /// Its streams that are copied.
    pub streams: Vec<String>,
    /// How they are copied.
    pub options: MirrorOptions,
}

impl MirrorConfig {
    /// Reads `[mirror]`; mistakes are noted there.
    pub fn read(section: &Section) -> Self {
        let from = section.or("from", String::new());
        let streams = section.or("streams", vec!["dbevents".to_owned()]);
        if streams.is_empty() {
            section.note("streams", "names no stream", "write those that are copied");
        }
        let start_days = match section.raw("startDays").and_then(|value| value.as_str()) {
            Some("all") => {
                let _the_word = section.or("startDays", String::new());
                None
            }
            _ => Some(section.or("startDays", 0)),
        };
        let on_gone = match section.choice("onGone", ["stop", "earliest"]) {
            Some(1) => OnGone::Earliest,
            _ => OnGone::Stop,
        };
        let name = section.or("name", String::new());
        let options = MirrorOptions { name, start_days, on_gone };
        Self { client: ClientConfig::read(section, from), streams, options }
    }
}
