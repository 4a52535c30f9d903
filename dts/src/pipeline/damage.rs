//! Damaged bytes from the server. The first time the network may have damaged them, so they are
//! read again over another connection. If the same place is damaged again, the server has damaged
//! bytes.

use crate::error::Error;

/// Where the last damage was.
#[derive(Debug, Default)]
pub(super) struct Damage(Option<(String, u64)>);

impl Damage {
    /// What an error means after the earlier errors.
    pub(super) fn judge(&mut self, error: Error) -> Error {
        let (Error::Damaged { file, pos, .. } | Error::Torn { file, pos }) = &error else {
            return error;
        };
        let place = (file.clone(), *pos);
        if self.0.replace(place.clone()) != Some(place) {
            return error;
        }
        let remedy = match &error {
            Error::Torn { .. } => TORN_REMEDY,
            _ => DAMAGED_REMEDY,
        };
        Error::refused(format!("{error}, over two connections"), remedy)
    }
}

const DAMAGED_REMEDY: &str = "connect without the proxy, if there is one in between; otherwise the \
    server's binlog file is damaged there: begin after that place (`dts position set`), and correct \
    the captured tables as after lost transactions (docs/full-sync.md)";

const TORN_REMEDY: &str = "nothing of that transaction was committed: begin with the next file \
    that SHOW BINARY LOGS lists (`dts position set --file … --pos 4`)";

#[cfg(test)]
mod tests {
    use super::*;

    fn damaged(pos: u64) -> Error {
        Error::Damaged { file: "b.1".to_owned(), pos, reason: "its CRC32 is wrong".to_owned() }
    }

    #[test]
    fn only_the_same_place_again_is_final() {
        let mut damage = Damage::default();
        assert!(damage.judge(damaged(7)).is_transient());
        assert!(damage.judge(damaged(9)).is_transient(), "another place");
        let away = Error::SourceAway { address: String::new(), reason: String::new() };
        assert!(damage.judge(away).is_transient());
        let error = damage.judge(damaged(9));
        assert!(!error.is_transient());
        assert!(
            error.to_string().contains("after b.1:9 is damaged: its CRC32 is wrong"),
            "{error}"
        );
    }

    #[test]
    fn a_torn_file_that_cannot_be_skipped_names_the_way_on() {
        let torn = || Error::Torn { file: "b.1".to_owned(), pos: 7 };
        let mut damage = Damage::default();
        assert!(damage.judge(torn()).is_transient());
        let error = damage.judge(torn()).to_string();
        assert!(error.contains("--pos 4"), "{error}");
    }
}
