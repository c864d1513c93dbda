//! Stories about faults: the real program as a process, broken on purpose, and a ledger that says what came of it.

#[cfg(test)]
mod load;
#[cfg(test)]
mod program;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod verbs;

#[cfg(test)]
mod clients;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod crash_points;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod fairness;
#[cfg(test)]
mod huge;
#[cfg(test)]
mod kit;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod names;
#[cfg(test)]
mod overload;
#[cfg(test)]
mod poison;
#[cfg(test)]
mod power;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod signals;
