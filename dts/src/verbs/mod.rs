//! What an operator does to a `dts`: to what it saved, while it does not run, and to one that runs.

mod arguments;
mod hold;
mod lead;
mod position;
mod running;
mod take_over;
mod topics;

pub use arguments::{
    AdoptArguments, CheckArguments, HealthyArguments, ImportArguments, PositionVerb,
    ResetArguments, SetArguments, StatusArguments, TakeOverArguments, TopicsVerb,
};
pub use position::carry_out;
pub use running::{healthy, reload, status};
pub use topics::adopt;
