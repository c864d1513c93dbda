//! The interface through its front door: the router on fakes of every port, one request at a time.

#[path = "it/accounts.rs"]
mod accounts;
#[path = "it/dead_letters.rs"]
mod dead_letters;
#[path = "it/inbox.rs"]
mod inbox;
#[path = "it/notifications.rs"]
mod notifications;
#[path = "it/operation.rs"]
mod operation;
#[path = "it/overload.rs"]
mod overload;
#[path = "it/refusals.rs"]
mod refusals;
#[path = "it/world.rs"]
mod world;
