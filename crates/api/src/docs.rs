//! `GET /docs`: the interface to read and to try, and the pages beside it.
//!
//! Plain files, no framework, no inline script or style: they work under the policy that guards every page.

use std::future::{Ready, ready};
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};

use crate::errors_doc::errors_html;
use crate::headers::PAGE_POLICY;
use crate::openapi::openapi_json;

const HTML: &str = "text/html; charset=utf-8";

static DESCRIPTION: LazyLock<String> = LazyLock::new(openapi_json);
static ERRORS: LazyLock<String> = LazyLock::new(errors_html);

/// From the address that people type to the page.
pub(crate) fn go_to_docs() -> Ready<Redirect> {
    ready(Redirect::temporary("/docs"))
}

/// The page.
pub(crate) fn show_docs() -> Ready<Response> {
    ready(file(HTML, include_str!("../assets/docs.html")))
}

/// Its script.
pub(crate) fn docs_script() -> Ready<Response> {
    ready(file("text/javascript; charset=utf-8", include_str!("../assets/docs.js")))
}

/// Its style.
pub(crate) fn docs_style() -> Ready<Response> {
    ready(file("text/css; charset=utf-8", include_str!("../assets/docs.css")))
}

/// The catalogue of errors.
pub(crate) fn show_errors() -> Ready<Response> {
    ready(file(HTML, &ERRORS))
}

/// This description of the interface.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operation",
    security(()),
    responses((status = 200, description = "An `OpenAPI` 3.1 document"))
)]
pub(crate) fn show_openapi() -> Ready<Response> {
    ready(file("application/json", &DESCRIPTION))
}

/// A file that is part of the program. A browser asks again each time, for the next version may differ.
fn file(content_type: &'static str, text: &'static str) -> Response {
    let headers = [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-cache"), (CONTENT_SECURITY_POLICY, PAGE_POLICY)];
    (headers, Bytes::from_static(text.as_bytes())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_need_nothing_inline_and_nothing_from_elsewhere() {
        for page in [include_str!("../assets/docs.html"), errors_html().as_str()] {
            for forbidden in ["<script>", "<style", " style=", " onclick=", "http://", "https://", "javascript:"] {
                assert!(!page.contains(forbidden), "{forbidden}");
            }
        }
        let script = include_str!("../assets/docs.js");
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
            assert!(!script.contains(sink), "{sink}");
        }
    }
}
