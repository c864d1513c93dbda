//! The channels through the front door: real sockets, with catchers in the place of providers.

#[cfg(test)]
mod email;
#[cfg(test)]
mod sms;
#[cfg(test)]
mod support;
#[cfg(test)]
mod webhook;
