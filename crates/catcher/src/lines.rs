//! Lines that end with CRLF and nothing else. A lone CR or LF is part of the line, so that nobody can smuggle a command
//! or a message past this reader by ending a line in a way of their own.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line is in the buffer, without its CRLF.
    Whole,
    /// A line went by that was longer than allowed. The buffer holds nothing of use.
    TooLong,
    /// The peer has nothing more to say.
    End,
}

/// Reads one line into `line`, at most `limit` bytes of it.
pub(crate) async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    limit: usize,
) -> io::Result<Line> {
    line.clear();
    let (mut previous, mut is_too_long) = (0, false);
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok(Line::End);
        }
        let found = available.iter().position(|byte| *byte == b'\n');
        let taken = found.map_or(available.len(), |at| at + 1);
        let (part, _) = available.split_at(taken);
        let before_feed = match part {
            [.., before, _] => *before,
            _ => previous,
        };
        // Two more than the limit, for the CRLF itself.
        if line.len() + taken > limit.saturating_add(2) {
            is_too_long = true;
            line.clear();
        }
        if !is_too_long {
            line.extend_from_slice(part);
        }
        previous = part.last().copied().unwrap_or(previous);
        reader.consume(taken);
        if found.is_some() && before_feed == b'\r' {
            break;
        }
    }
    if is_too_long {
        return Ok(Line::TooLong);
    }
    line.truncate(line.len().saturating_sub(2));
    Ok(Line::Whole)
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    async fn lines(text: &str, limit: usize, buffer: usize) -> Vec<(Line, String)> {
        let mut reader = BufReader::with_capacity(buffer, text.as_bytes());
        let (mut line, mut seen) = (Vec::new(), Vec::new());
        loop {
            match read_line(&mut reader, &mut line, limit).await.unwrap() {
                Line::End => return seen,
                Line::Whole => seen.push((Line::Whole, String::from_utf8(line.clone()).unwrap())),
                Line::TooLong => seen.push((Line::TooLong, String::new())),
            }
        }
    }

    #[tokio::test]
    async fn only_crlf_ends_a_line() {
        for buffer in 1..8 {
            let seen = lines("a\r\n\r\nb\nc\rd\r\ne", 100, buffer).await;
            let texts: Vec<&str> = seen.iter().map(|(_, text)| text.as_str()).collect();
            assert_eq!(texts, ["a", "", "b\nc\rd"], "with a buffer of {buffer}");
        }
    }

    #[tokio::test]
    async fn a_long_line_is_skipped_whole() {
        for buffer in 1..8 {
            let seen = lines("12345\r\n123456\r\nok\r\n", 5, buffer).await;
            let kinds: Vec<Line> = seen.iter().map(|(kind, _)| *kind).collect();
            assert_eq!(kinds, [Line::Whole, Line::TooLong, Line::Whole], "with a buffer of {buffer}");
            assert_eq!(seen.last().unwrap().1, "ok");
        }
    }
}
