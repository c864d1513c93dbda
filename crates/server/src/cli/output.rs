//! Everything that commands print. A reader that has gone away (`tidings config | head`) is no failure.

use std::fmt::Display;
use std::io::Write;

/// Prints a line.
pub fn line(line: impl Display) {
    writeln!(std::io::stdout().lock(), "{line}").ok();
}

/// Prints text that ends its own lines.
pub fn text(text: &str) {
    write!(std::io::stdout().lock(), "{text}").ok();
}

/// Prints what went wrong, with its causes, where errors go.
pub fn problem(error: &anyhow::Error) {
    writeln!(std::io::stderr().lock(), "tidings: {error:#}").ok();
}

/// Prints a remark where errors go, so that it does not mix with the result.
pub fn remark(line: impl Display) {
    writeln!(std::io::stderr().lock(), "{line}").ok();
}
