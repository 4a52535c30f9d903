//! Tables that belong to the place where they are written, and not to the data: what the consumers
//! of a copy keep. They stand in a stream beside the copy, which stays so when that is promoted.

use std::sync::Arc;

use crate::{Error, shared::SharedStream};

/// A producer whose name begins so keeps such a table.
pub const LOCAL_PRODUCERS: &str = "bus/";

/// The name of the stream beside a copy.
pub(crate) fn name_beside(copy: &str) -> String {
    format!("{copy}.local")
}

impl SharedStream {
    /// Where the checkpoint of a producer stands.
    pub(crate) fn home_of<'a>(self: &'a Arc<Self>, producer: &str) -> &'a Arc<Self> {
        match self.beside.get() {
            Some(beside) if producer.starts_with(LOCAL_PRODUCERS) => beside,
            _ => self,
        }
    }

    /// Where a producer may append: not to a copy.
    pub(crate) fn home_to_append<'a>(
        self: &'a Arc<Self>,
        producer: &str,
    ) -> Result<&'a Arc<Self>, Error> {
        let home = self.home_of(producer);
        home.check_own()?;
        Ok(home)
    }
}
