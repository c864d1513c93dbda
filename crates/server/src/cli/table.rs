//! Tables and words for people.

use serde_json::Value;

/// Columns as wide as their widest cell; the last one is as long as it is.
pub(crate) fn align<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let lines = rows.iter().map(|row| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    });
    lines.collect()
}

/// A field of a JSON object as a word; empty if it is null or absent. What the server passes on from others cannot
/// steer the terminal.
pub(crate) fn word(object: &Value, name: &str) -> String {
    match object.get(name) {
        Some(Value::String(text)) => text.replace(char::is_control, " "),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "bbb"], ["cccc", "d"]].map(|row| row.map(str::to_owned));
        assert_eq!(align(&rows), "a     bbb\ncccc  d\n");
    }

    #[test]
    fn a_word_holds_no_control_characters() {
        assert_eq!(word(&json!({"error": "a\u{1b}[31m\nb"}), "error"), "a [31m b");
        assert_eq!(word(&json!({"attempts": 3}), "attempts"), "3");
        assert_eq!(word(&json!({}), "attempts"), "");
    }
}
