//! Statements in the stream: those that change definitions, and changes that were logged as text.

use binlog::LoggedStatement;

use super::StreamReader;
use crate::error::Result;

impl StreamReader {
    /// The stream passed a statement that may have changed definitions.
    pub(super) fn defined(&mut self) -> Result<()> {
        let definition = self.decoder.definition();
        if let Some(types) = &mut self.types {
            types.passed(definition);
        }
        if !self.was_read(self.decoder.transaction().gtid.as_ref()) {
            let position = self.decoder.position();
            let removed = self.capture.judge_removals(definition, position)?;
            self.without_rows.removals.extend(removed);
        }
        self.full_syncs.passed(definition, self.publisher.windows());
        Ok(())
    }

    /// The stream passed a change that was logged as a statement.
    pub(super) fn judge(&mut self, statement: LoggedStatement) -> Result<()> {
        if self.was_read(self.decoder.transaction().gtid.as_ref()) {
            return Ok(());
        }
        let judged = self.capture.judge(&statement, self.decoder.position());
        match judged {
            Ok(is_logged) => self.without_rows.statements += u64::from(is_logged),
            Err(_) => self.refused = statement.table,
        }
        judged.map(drop)
    }
}
