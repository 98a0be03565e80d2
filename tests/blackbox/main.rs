//! The real binaries, used as a person, a script or a hostile client would use them.
//! Nothing here looks inside: what counts is what is printed, kept and left behind.
#![allow(clippy::unwrap_used)]

mod activation;
mod arrays;
mod attach;
mod bad_input;
mod beside;
mod bulk;
mod checkpoint;
mod cleanup;
mod clients;
mod complete;
mod config;
mod control;
mod crowding;
mod dependencies;
mod doctor;
mod events;
mod example_clients;
mod examples;
mod exec;
mod explain;
mod files;
mod hands;
mod hostile;
mod identity;
mod install;
mod job_files;
mod limits;
mod lists;
mod log_stream;
mod logs;
mod manager;
mod order;
mod permissions;
mod placing;
mod queues;
mod retry;
mod run;
mod schema;
mod scratch;
mod scripts;
mod simulate;
mod stages;
mod stats;
mod stop;
mod submit;
mod system;
mod terminals;
mod users;
mod wait_cancel;
mod watched;
#[path = "world.rs"]
mod world;

use world::World;

#[test]
fn a_job_runs_is_logged_and_accounted_for() {
    let world = World::new();
    let id = world.submit("--name greet", "echo hello; echo oops >&2; exit 4");
    let job = world.ended(&id);
    assert_eq!((job["state"].as_str(), job["exit_code"].as_i64()), (Some("failed"), Some(4)));
    let logs = world.run(&format!("logs {id}"));
    assert_eq!((logs.out.as_str(), logs.err.as_str()), ("hello\n", "oops\n"));
}
