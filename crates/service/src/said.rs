//! What a command says on standard output.

use std::{
    fmt::Arguments,
    io::{self, Write},
};

/// A line on standard output, as `println!` writes it; but that whoever reads it may have gone, as
/// `head` does, is no bug of ours.
#[macro_export]
macro_rules! say {
    ($($part:tt)*) => {
        $crate::said::line(format_args!($($part)*))
    };
}

/// What [`say!`] calls.
pub fn line(text: Arguments<'_>) {
    // To whom could it be told?
    let _ = writeln!(io::stdout().lock(), "{text}");
}
