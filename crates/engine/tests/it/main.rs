//! Stories about the engine, against fakes of everything around it. Time stands still and is moved: by the tests what the
//! store goes by, by the runtime what pauses and limits go by.

mod world;

mod delivering;
mod retrying;

mod breakers;
mod sharing;

mod leases;
mod stopping;
mod storing;

mod alerts;
mod chores;
mod events;
