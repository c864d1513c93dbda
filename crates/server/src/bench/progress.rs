//! How far the preparations are. On anything but a terminal nothing is drawn.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over so many of something.
pub(crate) fn bar(total: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {human_pos} of {human_len} {msg}  {per_sec}  {eta} left")
    {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}
