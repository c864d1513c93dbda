//! The catalogue of errors, for people: as a file of the documentation and as a page.

use tidings_core::error::ErrorCode;

use crate::error::reason;

const INTRODUCTION: &str = "# Errors\n\n\
    <!-- Generated from crates/core/src/error.rs; do not edit. -->\n\n\
    Every error has a stable `code`, which is never reused. The body is\n\n\
    ```json\n\
    {\"error\": \"Bad Request\", \"message\": \"...\", \"code\": \"invalid_field\", \"errors\": [{\"field\": \"...\", \"message\": \"...\"}]}\n\
    ```\n\n\
    where `errors` appears only when fields are at fault. With `Accept: application/problem+json` the same is sent as\n\
    problem details (RFC 9457). Answers with the status 429, 503 and 507 carry `Retry-After`.\n";

/// The catalogue in Markdown: `docs/reference/errors.md`.
pub fn errors_markdown() -> String {
    let entries = ErrorCode::ALL.iter().map(|code| {
        format!("\n## {code}\n\n**{} {}.** {}\n\n{}\n", code.status, reason(*code), code.meaning, code.remedy)
    });
    let parts: Vec<String> = std::iter::once(INTRODUCTION.to_owned()).chain(entries).collect();
    parts.concat()
}

/// The catalogue as a page: where the `type` of problem details points.
pub(crate) fn errors_html() -> String {
    let entries = ErrorCode::ALL.iter().map(|code| {
        format!(
            "<section id=\"{code}\"><h2><code>{code}</code></h2><p><strong>{} {}.</strong> {}</p><p>{}</p></section>\n",
            code.status,
            reason(*code),
            escaped(code.meaning),
            escaped(code.remedy)
        )
    });
    let entries: Vec<String> = entries.collect();
    include_str!("../assets/errors.html").replace("<!-- entries -->", &entries.concat())
}

/// Text as HTML, with what stands in backticks as code.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let pieces = text
        .split('`')
        .enumerate()
        .map(|(index, piece)| if index % 2 == 1 { format!("<code>{piece}</code>") } else { piece.to_owned() });
    let pieces: Vec<String> = pieces.collect();
    pieces.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_anchor() {
        let (markdown, html) = (errors_markdown(), errors_html());
        for code in ErrorCode::ALL {
            assert!(markdown.contains(&format!("\n## {code}\n")), "{code}");
            assert!(html.contains(&format!("id=\"{code}\"")), "{code}");
        }
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escaped("a < b & `c>d`"), "a &lt; b &amp; <code>c&gt;d</code>");
    }
}
