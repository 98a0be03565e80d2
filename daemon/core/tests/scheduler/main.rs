//! What the scheduler promises, each promise against worlds that are made at random and a scheduler that is naive.
//! It refuses to know processes, clocks and files; that the core's own facts hold together is for `properties`.
#![allow(clippy::unwrap_used)]

mod cases;
mod lab;
mod naive;
mod same;
mod wishes;
