//! What an operator does with a `dts`: with its saved position, while it is stopped; and with a
//! running one.

mod arguments;
mod hold;
mod lead;
mod position;
mod running;
mod take_over;
mod topics;
mod unread;

pub use arguments::{
    AdoptArguments, CheckArguments, HealthyArguments, ImportArguments, PositionVerb,
    ResetArguments, SetArguments, StatusArguments, TakeOverArguments, TopicsVerb,
};
pub use position::carry_out;
pub use running::{healthy, reload, status};
pub use topics::adopt;
