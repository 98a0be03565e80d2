//! Kills, full disks and broken stores, with the real binaries: what was acknowledged is kept, once.
//! It refuses to touch anything that it did not make.

#![allow(clippy::unwrap_used)]

#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/hard.rs"]
mod hard;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/points.rs"]
mod points;
#[path = "faults/scene.rs"]
mod scene;
#[path = "faults/state.rs"]
mod state;
#[path = "faults/upgrade.rs"]
mod upgrade;
#[path = "world.rs"]
#[allow(dead_code)]
mod world;
