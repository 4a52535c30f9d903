//! Lines on standard output, for commands.

use std::{
    fmt::Arguments,
    io::{self, Write},
};

/// Writes a line to standard output, as `println!` does. But it does not panic when the reader is
/// gone, as `head` is.
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
