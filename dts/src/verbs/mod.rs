//! What an operator does to a `dts` that is not running.

mod arguments;
mod lead;
mod position;

pub use arguments::{ConfigArgument, ImportArguments, PositionVerb, ResetArguments, SetArguments};
pub use position::carry_out;
