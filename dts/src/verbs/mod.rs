//! What an operator does to a `dts` that is not running.

mod arguments;
mod lead;
mod position;
mod topics;

pub use arguments::{
    AdoptArguments, CheckArguments, ConfigArgument, ImportArguments, PositionVerb, ResetArguments,
    SetArguments, TopicsVerb,
};
pub use position::carry_out;
pub use topics::adopt;
