//! The routes of the dev page, all on one screen, and its files.

use std::sync::Arc;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::dev::controls::{advance_clock, script_next_webhook, show_session};
use crate::dev::events::wait_for_events;
use crate::dev::guard::only_from_here;
use crate::dev::stage::Stage;

const INDEX: &str = include_str!("../../assets/dev/index.html");
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The files of the page: name, type, text.
const FILES: [(&str, &str, &str); 8] = [
    ("page.css", CSS, include_str!("../../assets/dev/page.css")),
    ("page.js", SCRIPT, include_str!("../../assets/dev/page.js")),
    ("api.js", SCRIPT, include_str!("../../assets/dev/api.js")),
    ("dom.js", SCRIPT, include_str!("../../assets/dev/dom.js")),
    ("caught.js", SCRIPT, include_str!("../../assets/dev/caught.js")),
    ("clock.js", SCRIPT, include_str!("../../assets/dev/clock.js")),
    ("followed.js", SCRIPT, include_str!("../../assets/dev/followed.js")),
    ("send.js", SCRIPT, include_str!("../../assets/dev/send.js")),
];

/// All routes of the dev page. Each is guarded.
pub(crate) fn router(stage: Arc<Stage>) -> Router {
    Router::new()
        .route("/dev", get(show_page))
        .route("/dev/session.json", get(show_session))
        .route("/dev/events", get(wait_for_events))
        .route("/dev/clock", post(advance_clock))
        .route("/dev/next-webhook", post(script_next_webhook))
        .route("/dev/{file}", get(send_file))
        .route_layer(middleware::from_fn(only_from_here))
        .with_state(stage)
}

async fn show_page() -> Response {
    ([(CONTENT_TYPE, HTML)], INDEX).into_response()
}

async fn send_file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, _, _)| *known == name) {
        Some((_, kind, text)) => ([(CONTENT_TYPE, *kind)], *text).into_response(),
        None => (StatusCode::NOT_FOUND, "There is no such file").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_has_nothing_inline() {
        let scripts: String = FILES.iter().filter(|(_, kind, _)| *kind == SCRIPT).map(|(_, _, text)| *text).collect();
        for (name, _, _) in FILES {
            assert!(
                INDEX.contains(&format!("/dev/{name}")) || scripts.contains(&format!("\"./{name}\"")),
                "nothing loads {name}"
            );
        }
        for inline in ["<style", "style=", "onclick=", "javascript:", "<script>"] {
            assert!(!INDEX.contains(inline), "{inline}");
        }
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!scripts.contains(sink), "{sink} would let a payload become markup");
        }
    }
}
