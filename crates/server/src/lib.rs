//! The Tidings binary as a library: configuration, command line, telemetry, wiring, and the life of the process.
//!
//! The rooms, from the door inwards: [`cli`] reads the command line, [`config`] lays the sources of settings over one
//! another, [`wiring`] chooses the adapters behind the ports (the only place that names them), [`serve`] runs the whole
//! product and drains it, [`telemetry`] tells what happens. [`dev`], [`mod@bench`] and [`doctor`] are commands with rooms
//! of their own.

pub mod config;
pub mod crypto;
pub mod telemetry;

mod files;
pub mod wiring;

pub mod serve;

pub mod bench;
pub mod dev;
pub mod doctor;

pub mod cli;
