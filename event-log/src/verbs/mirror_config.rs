//! `[mirror]` of a config: which streams of which server are copied.

use event_log::{ClientConfig, MirrorOptions, OnGone};
use service::config::Section;

/// What is copied, and how.
pub(crate) struct MirrorConfig {
    pub(crate) client: ClientConfig,
    pub(crate) streams: Vec<String>,
    pub(crate) options: MirrorOptions,
}

impl MirrorConfig {
    /// Reads `[mirror]`; mistakes are noted there.
    pub(crate) fn read(section: &Section) -> Self {
        let from = section.or("from", String::new());
        let streams = section.or("streams", vec!["dbevents".to_owned()]);
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
