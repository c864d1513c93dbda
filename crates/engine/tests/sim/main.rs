//! A simulation of the engine: one thread, a clock that nobody waits for, and a seed that decides everything that happens
//! and everything that goes wrong. What it runs is the real engine; around it are a store, providers and hints that fail,
//! stall, repeat themselves and lose things before and after each step, and a process that dies at any of them.
//!
//! A seed that breaks something is printed with the smallest plan that still does. `TIDINGS_SIM_SEED=<seed>` runs it again.

#[cfg(test)]
mod clock;
#[cfg(test)]
mod trace;

#[cfg(test)]
mod plan;

#[cfg(test)]
mod provider;
#[cfg(test)]
mod wakes;

#[cfg(test)]
mod audit;
#[cfg(test)]
mod mutant;

#[cfg(test)]
mod checks;
#[cfg(test)]
mod world;

#[cfg(test)]
mod explore;

#[cfg(test)]
mod seeds;
