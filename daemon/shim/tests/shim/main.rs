//! The shim as a process: what it runs, what it leaves, what it refuses.
//! Nothing here looks inside; everything goes through the descriptors, the files and the exit status.
#![allow(clippy::unwrap_used)]

mod cleaning;
mod ends;
mod faults;
mod full;
mod group;
mod scene;
mod served;
mod starts;
