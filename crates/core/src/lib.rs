//! The domain of Tidings: types, states, decisions as pure functions, the ports, and the use cases.
//!
//! Nothing here knows a database, a socket, HTTP or a runtime. Time, ids and randomness are passed in.
//! Everything else in the workspace points at this crate.
//!
//! # Words
//!
//! One word per thing, in the API, columns, log fields and metrics alike.
//!
//! | word | meaning |
//! |---|---|
//! | tenant | an isolated customer of one installation; `default` when a credential names none |
//! | user | a person or service that is told things (`targetUserId`), with contacts |
//! | channel | a way to reach somebody: `email`, `sms`, `webhook`, `in-app` (an open set) |
//! | provider | one service behind a channel: `smtp`, `twilio` |
//! | request | one call of the API; its notifications share a `request_id` |
//! | notification | one thing told to one user on one channel; its public id is the `messageId` |
//! | attempt | one try of one provider: when, how long, what was answered, the verdict |
//! | destination | what attempts of one queue have in common: the host, relay or account they go to |
//! | routing key | `notification.<channel>.<category>` |
//! | job | a notification that is due now or later; claimed under a lease, then settled |
//! | lease | a worker's exclusive, expiring right to one attempt, guarded by a fencing token |
//! | dead letter | a notification that used up its attempts or was refused for good |
//! | journal | the append-only record of what happened to a notification |
//! | stream | a durable, gaplessly numbered log that clients follow: a user's inbox |
//! | receipt | delivered up to n, read up to n, per stream |

pub mod id;
pub mod time;

pub mod error;

pub mod access;
pub mod contact;
pub mod draft;
pub mod idempotency;
pub mod notification;
pub mod routing;
pub mod user;

pub mod breaker;
pub mod delivery;
pub mod fairness;
pub mod journal;
pub mod overload;
pub mod rate;
pub mod retention;
pub mod retry;

pub mod ports;

pub mod services;

#[doc(hidden)]
#[cfg(any(test, fuzzing))]
pub mod fuzz;
