//! Stories told through the front door: a real server on a real directory, a real mail server, a real HTTP receiver.

#[cfg(test)]
mod harness;

#[cfg(test)]
mod access;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod batch;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod breakers;
#[cfg(test)]
mod canaries;
#[cfg(test)]
mod channels;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod dead_letters;
#[cfg(test)]
mod dev;
#[cfg(test)]
mod follow;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod inbox;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod operation;
#[cfg(test)]
mod retries;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod specification;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod users;
#[cfg(test)]
mod wakes;
