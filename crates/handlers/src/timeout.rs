//! How long a call of a handler may take.

use std::time::Duration;

use service::config::Section;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn read_timeout(section: &Section) -> Duration {
    let timeout = section.or("timeout", DEFAULT_TIMEOUT);
    if timeout < Duration::from_millis(1) {
        section.note("timeout", "is too short", r#"write "1ms" or more"#);
    }
    timeout
}
