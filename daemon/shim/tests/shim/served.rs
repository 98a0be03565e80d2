//! Shims from a fork server are shims like any other, and need neither it nor `qrmd` once they are there.

use std::path::Path;

use qrm_shim::handshake::Report;
use qrm_shim::launch::ForkServer;
use qrm_shim::proc::Process;

use crate::group::trackings;
use crate::scene::{Scene, Shim, hear, program, tell};

/// A server; its end is waited for.
struct Server(Option<ForkServer>);

impl Server {
    fn start() -> Self {
        Self(Some(ForkServer::start(&program(), &[]).unwrap()))
    }

    fn run(&mut self, scene: &Scene) {
        let mut shim = Shim::ask(self.0.as_mut().unwrap(), scene);
        shim.go();
        assert_eq!(shim.report(), Some(Report::Started));
        shim.wait_for_end();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(server) = self.0.take() else { return };
        let pid = server.process().pid;
        drop(server);
        assert_eq!(unsafe { libc::waitpid(pid.cast_signed(), std::ptr::null_mut(), 0) }, pid.cast_signed());
    }
}

#[test]
fn a_copy_does_all_that_a_shim_does() {
    let mut server = Server::start();
    for way in trackings() {
        let script = "ls /proc/self/fd | wc -l; cut -d' ' -f6 /proc/$$/stat | grep -qx $$ && echo own session; \
                      setsid sh -c 'sleep 1000 & '; exit 3";
        let scene = Scene::sh(script).with(|plan| plan.cgroup = way.group.clone());
        server.run(&scene);
        let exit = scene.exit();
        assert_eq!((exit.code, exit.killed_leftovers), (Some(3), 1), "{}", way.name);
        assert_eq!(scene.read("stdout").trim(), "4\nown session");
    }
}

#[test]
fn the_answer_says_what_the_exit_status_would() {
    let mut server = Server::start();
    let scene = Scene::sh("echo ready > up; read line < down");
    let (up, down) = (scene.fifo("up"), scene.fifo("down"));
    let mut ask = |word: &str| {
        let mut shim = Shim::ask(server.0.as_mut().unwrap(), &scene);
        match word {
            "go" => shim.go(),
            _ => shim.no_go(),
        }
        shim
    };
    ask("no").wait_for_end();
    assert_eq!(scene.files(), [""; 0]);
    let mut first = ask("go");
    assert_eq!(hear(&up), "ready\n");
    assert_eq!(ask("go").report(), Some(Report::Held));
    tell(&down, "end\n");
    first.wait_for_end();
    assert_eq!(ask("go").report(), Some(Report::Ran));
}

#[test]
fn a_shim_outlives_its_server_and_a_killed_one_leaves_its_job_to_nobody() {
    for kill_server in [true, false] {
        let mut server = Server::start();
        let scene = Scene::sh("echo ready > up; read line < down; exit 5");
        let (up, down) = (scene.fifo("up"), scene.fifo("down"));
        let mut shim = Shim::ask(server.0.as_mut().unwrap(), &scene);
        shim.go();
        assert_eq!(hear(&up), "ready\n");
        let pid = server.0.as_ref().unwrap().process().pid;
        if kill_server {
            assert!(Process::of(pid).unwrap().unwrap().signal(libc::SIGKILL).unwrap());
        }
        drop(server);
        assert!(shim.process.is_alive().unwrap());
        tell(&down, "end\n");
        shim.wait_for_end();
        assert_eq!(scene.exit().code, Some(5));
    }
}

#[test]
fn a_server_that_is_gone_is_an_error() {
    let mut server = Server::start();
    let process = Process::of(server.0.as_ref().unwrap().process().pid).unwrap().unwrap();
    process.signal(libc::SIGKILL).unwrap();
    let scene = Scene::sh("exit 0");
    let dir = std::fs::File::open(&scene.job_dir).unwrap();
    let fd = std::os::fd::AsFd::as_fd(&dir);
    let given = qrm_shim::launch::Given { plan: fd, handshake: fd, job_dir: fd, run_file: fd, terminal: None };
    assert!(server.0.as_mut().unwrap().spawn(given).is_err());
    assert!(ForkServer::start(Path::new("/no/such/program"), &[]).is_err());
}

#[test]
fn a_waiting_shim_and_its_server_are_small() {
    let mut server = Server::start();
    for served in [true, false] {
        let scene = Scene::sh("echo ready > up; read line < down").with(|plan| {
            plan.env.extend((0..2000).map(|at| format!("VARIABLE_{at}={}", "x".repeat(400)).into_bytes()));
        });
        let (up, down) = (scene.fifo("up"), scene.fifo("down"));
        let mut shim = match served {
            true => Shim::ask(server.0.as_mut().unwrap(), &scene),
            false => scene.start(),
        };
        shim.go();
        assert_eq!((hear(&up).as_str(), shim.report()), ("ready\n", Some(Report::Started)));
        let started = scene.started();
        let command = Process { pid: started.pid, start: started.pid_start };
        assert_eq!(Process::of(started.pid).unwrap(), Some(command));
        assert_eq!(shim.process, Process { pid: started.shim_pid, start: started.shim_start });
        let private = private_dirty(shim.process.pid);
        println!("served {served}: {private} KiB private and dirty");
        assert!(private <= 200);
        tell(&down, "end\n");
        shim.wait_for_end();
    }
    assert!(private_dirty(server.0.as_ref().unwrap().process().pid) <= 200);
}

fn private_dirty(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
