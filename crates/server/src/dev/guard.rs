//! Who may look at the dev page: this machine, through a page of our own.
//!
//! The page hands out a token and can move the clock. A web site in the same browser must not reach it: not by a name of
//! its own that resolves to this machine (DNS rebinding), nor by a request across sites.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

/// The names of this machine that nobody else can have.
const OUR_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Styles within a mail are part of what its reader sees, and the frame of a mail takes this policy over from the page.
/// Of scripts only our own run; HTML goes nowhere but into that frame, by the one policy for trusted types.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; \
     img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; \
     require-trusted-types-for 'script'; trusted-types sandboxed-mail";

const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Lets requests pass that come from this machine and from no other site, and gives every answer its headers.
pub(crate) async fn only_from_here(request: Request, next: Next) -> Response {
    let verdict = judge(request.method(), request.uri(), request.headers());
    let mut response = match verdict {
        Ok(()) => next.run(request).await,
        Err(why) => (StatusCode::FORBIDDEN, why).into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Lets requests pass that name this machine, and not a name that somebody else can point at it.
pub(crate) async fn only_by_our_names(request: Request, next: Next) -> Response {
    match host(request.uri(), request.headers()) {
        Some(host) if OUR_NAMES.contains(&without_port(host)) => next.run(request).await,
        _ => {
            (StatusCode::FORBIDDEN, "Tidings in development is reached as localhost or 127.0.0.1 only").into_response()
        }
    }
}

fn judge(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), &'static str> {
    let host = host(uri, headers).ok_or("The dev page wants exactly one host")?;
    if !OUR_NAMES.contains(&without_port(host)) {
        return Err("The dev page is reached as localhost or 127.0.0.1 only");
    }
    let fetch_site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if !matches!(fetch_site, None | Some(b"same-origin" | b"none")) && !is_visit(method, uri, headers) {
        return Err("The dev page takes no requests of other sites");
    }
    let own_origin = format!("http://{host}");
    match headers.get(ORIGIN) {
        Some(origin) if !method.is_safe() && origin.as_bytes() != own_origin.as_bytes() => {
            Err("The dev page takes no requests of other origins")
        }
        _ => Ok(()),
    }
}

/// Whether somebody followed a link to the page itself, which shows a link's author nothing.
fn is_visit(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let navigates = headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
    let document = headers.get("sec-fetch-dest").is_some_and(|destination| destination == "document");
    method == Method::GET && uri.path() == "/dev" && navigates && document
}

/// The host that the client means: the header of HTTP/1.1, the authority of HTTP/2.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut named = headers.get_all(HOST).iter();
    match (named.next(), named.next()) {
        (Some(host), None) => host.to_str().ok(),
        (None, _) => uri.authority().map(http::uri::Authority::as_str),
        (Some(_), Some(_)) => None,
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(method: &Method, path: &str, pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        judge(method, &path.parse().unwrap(), &headers).is_ok()
    }

    #[test]
    fn only_names_of_this_machine_are_served() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080"] {
            assert!(passes(&Method::GET, "/dev/session.json", &[("host", host)]), "{host}");
        }
        for host in [
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8080",
            "0.0.0.0:8080",
            "",
            "localhost:8080:1",
        ] {
            assert!(!passes(&Method::GET, "/dev/session.json", &[("host", host)]), "{host}");
        }
        assert!(!passes(&Method::GET, "/dev/session.json", &[]));
        assert!(!passes(&Method::GET, "/dev/session.json", &[("host", "localhost"), ("host", "evil.example")]));
    }

    #[test]
    fn other_sites_reach_nothing_but_the_page_by_a_link() {
        for site in ["cross-site", "same-site"] {
            let pairs = [
                ("host", "localhost:8080"),
                ("sec-fetch-site", site),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
            ];
            assert!(passes(&Method::GET, "/dev", &pairs), "{site}");
            assert!(!passes(&Method::GET, "/dev/session.json", &pairs), "{site}");
            assert!(!passes(&Method::POST, "/dev/clock", &pairs), "{site}");
            assert!(!passes(&Method::GET, "/dev", &pairs[..2]), "{site}");
        }
        assert!(passes(
            &Method::POST,
            "/dev/clock",
            &[("host", "localhost:8080"), ("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8080")]
        ));
    }

    #[test]
    fn an_unsafe_request_names_our_origin_or_none() {
        let post = |origin| passes(&Method::POST, "/dev/clock", &[("host", "localhost:8080"), ("origin", origin)]);
        assert!(post("http://localhost:8080"));
        assert!(!post("http://localhost:3000") && !post("https://evil.example") && !post("null"));
        assert!(passes(&Method::POST, "/dev/clock", &[("host", "localhost:8080")]));
    }
}
