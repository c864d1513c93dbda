//! The HTTP interface.
//!
//! A request passes one middleware ([`router`] puts it there): it gets a correlation id and a span, is counted and
//! timed, and its answer gets the headers that every answer carries. A handler then extracts (who asks comes before what
//! they send: nothing of a body is read for somebody without a token), calls one service of the core and maps the
//! result. It holds no rule of the domain and does not know which store is behind the ports.
//!
//! What clients were promised: the bodies of the seed, byte for byte, with a stable `code` beside them; the same problem
//! as `application/problem+json` for those who ask for it; nothing about the inside in a 500; and no difference between
//! what does not exist and what is somebody else's.

mod api;
mod routes;

mod auth;
mod dead_letters;
mod inbox;
mod notifications;
mod users;

mod docs;
mod errors_doc;
mod health;
mod metrics;
mod openapi;

mod body;
mod caller;
mod context;
mod cursor;
mod door;
mod error;
mod headers;
mod idempotency;
mod observe;
mod path;
mod peer;
mod query;
mod wire;

pub mod server;
pub mod token;

#[doc(hidden)]
#[cfg(any(test, fuzzing))]
pub mod fuzz;

pub use api::{Config, Services};
pub use auth::password::{HashError, hash as hash_password};
pub use errors_doc::errors_markdown;
pub use health::Gate;
pub use metrics::Metrics;
pub use openapi::openapi_json;
pub use routes::{metrics_router, router};
