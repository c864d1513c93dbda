//! Reads `.env` files: `NAME=value` lines, `#` comments, an optional `export`, values bare or in quotes.

/// Reads the text of a file into names and values, in order. The error names the line, never its content: it may be a
/// secret.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = parse_line(line).ok_or_else(|| {
            let number = index + 1;
            format!("line {number} of the .env file is not NAME=value, NAME='value', NAME=\"value\" or a # comment")
        })?;
        pairs.push(pair);
    }
    Ok(pairs)
}

fn parse_line(line: &str) -> Option<(String, String)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_name) {
        return None;
    }
    Some((name.to_owned(), parse_value(value.trim())?))
}

fn parse_value(text: &str) -> Option<String> {
    match text.chars().next() {
        Some('\'') => {
            let (value, rest) = text.strip_prefix('\'')?.split_once('\'')?;
            is_comment(rest).then(|| value.to_owned())
        }
        Some('"') => parse_double_quoted(text.strip_prefix('"')?),
        _ => Some(text.split_once(" #").map_or(text, |(value, _comment)| value).trim_end().to_owned()),
    }
}

fn parse_double_quoted(text: &str) -> Option<String> {
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        match next {
            '"' => return is_comment(chars.as_str()).then_some(value),
            '\\' => value.push(match chars.next()? {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

fn is_comment(rest: &str) -> bool {
    let rest = rest.trim();
    rest.is_empty() || rest.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_quotes_and_comments_are_read() {
        let text =
            "# a comment\n\nA=1\nexport B = two words # not this\nC='it # stays'\nD=\"a\\\"b\\n\" # gone\nE=\nF=a#b";
        let pairs = parse(text).unwrap();
        let expected = [("A", "1"), ("B", "two words"), ("C", "it # stays"), ("D", "a\"b\n"), ("E", ""), ("F", "a#b")];
        let expected: Vec<_> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(pairs, expected);
    }

    #[test]
    fn what_is_no_assignment_is_refused_without_being_shown() {
        for line in ["hunter2", "=hunter2", "A B=hunter2", "1A=hunter2", "A='hunter2", "A=\"hunter2", "A='x' hunter2"] {
            let error = parse(&format!("OK=1\n{line}")).unwrap_err();
            assert!(error.starts_with("line 2 "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
