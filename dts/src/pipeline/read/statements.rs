//! Statements in the stream: changes that were logged as text.

use super::Reader;
use crate::{decode::LoggedStatement, error::Result};

impl Reader {
    /// A change passed that was logged as a statement.
    pub(super) fn judge(&mut self, statement: LoggedStatement) -> Result<()> {
        if self.was_read(self.decoder.transaction().gtid.as_ref()) {
            return Ok(());
        }
        let judged = self.capture.judge(&statement, self.decoder.position());
        match judged {
            Ok(is_told) => self.told.statements += u64::from(is_told),
            Err(_) => self.refused = statement.table,
        }
        judged.map(drop)
    }
}
