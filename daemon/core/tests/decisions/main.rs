//! Single decisions of the core, each with the one that it would be mistaken for.
//! It refuses to be random: that is for `properties` and `scheduler`.
#![allow(clippy::unwrap_used)]

mod room;
mod seldom;
mod world;
