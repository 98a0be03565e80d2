//! What a supervisor finds of runs that another one made: all is told once, and nothing is left.
//! The other one is always gone when the next begins, as the lock of the daemon has it.

use super::*;

#[test]
fn a_running_run_is_found_again_and_its_end_is_told() {
    everywhere(|world| {
        let (fifo, go) = (world.fifo("pid"), world.fifo("go"));
        let script = format!("echo $$ > {}; read word < {}; exit $word", fifo.display(), go.display());
        let run = world.run(1, &["sh", "-c", &script]);
        let pid = number(&fifo);
        assert!(matches!(world.next(), Observed::Executing { pid: told, .. } if told == pid));
        world.stop();
        world.start();
        world.order(Order::Resume(launch(1, &["sh"])));
        world.order(Order::Sweep);
        assert!(matches!(world.next(), Observed::Executing { pid: told, .. } if told == pid));
        // It is known now, and what was told is told again.
        world.order(Order::Resume(launch(1, &["sh"])));
        assert!(matches!(world.next(), Observed::Executing { pid: told, .. } if told == pid));
        fs::write(&go, "9\n").unwrap();
        assert_eq!(world.outcome(run).exit_code, Some(9));
        world.clear(run);
        world.leaves_nothing();
    });
}

#[test]
fn a_run_that_was_found_again_can_be_killed() {
    everywhere(|world| {
        let fifo = world.fifo("pid");
        let script = format!("(setsid sh -c 'echo $$ > {}; exec sleep 100' &) ; sleep 100", fifo.display());
        let run = world.run(1, &["sh", "-c", &script]);
        let daemon = Process::of(number(&fifo)).unwrap().unwrap();
        world.stop();
        world.start();
        world.order(Order::Resume(launch(1, &["sh"])));
        world.order(Order::Signal(run, RunSignal::Kill));
        assert_eq!(world.outcome(run).signal, Some(9));
        assert!(!daemon.is_alive().unwrap());
        world.clear(run);
        world.leaves_nothing();
    });
}

#[test]
fn an_end_that_nobody_saw_is_told_once_the_run_is_looked_for() {
    everywhere(|world| {
        let (fifo, go) = (world.fifo("pid"), world.fifo("go"));
        let script = format!("echo $$ > {}; read word < {}; exit 4", fifo.display(), go.display());
        let run = world.run(1, &["sh", "-c", &script]);
        number(&fifo);
        world.stop();
        let started = world.started(run);
        fs::write(&go, "\n").unwrap();
        wait_gone(started.shim_pid, started.shim_start);
        world.start();
        world.order(Order::Resume(launch(1, &["sh"])));
        assert_eq!(world.outcome(run).exit_code, Some(4));
        // Told again if that is wanted, until it is cleared.
        world.order(Order::Resume(launch(1, &["sh"])));
        assert_eq!(world.outcome(run).exit_code, Some(4));
        world.clear(run);
        world.leaves_nothing();
    });
}

#[test]
fn a_run_whose_record_went_with_the_power_is_lost_and_not_made_again() {
    everywhere(|world| {
        let launch = Box::new(Launch { ran: true, ..*launch(1, &["sh", "-c", "exit 6"]) });
        let run = launch.run;
        world.order(Order::Resume(launch));
        assert!(matches!(world.next(), Observed::Lost(lost) if lost == run));
        world.clear(run);
        world.leaves_nothing();
    });
}

#[test]
fn a_run_that_never_was_is_made_when_it_is_looked_for() {
    everywhere(|world| {
        let launch = launch(1, &["sh", "-c", "exit 6"]);
        let run = launch.run;
        // A start record that is not whole: the power of its writer ended first.
        world.stop();
        world.put_started(run, "{\"boot");
        world.start();
        world.order(Order::Resume(launch));
        assert_eq!(world.outcome(run).exit_code, Some(6));
        world.clear(run);
        world.leaves_nothing();
    });
}

#[test]
fn a_run_whose_shim_was_killed_is_lost_and_nothing_of_it_is_left() {
    everywhere(|world| {
        for (id, restarted) in [(1, false), (2, true)] {
            let fifo = world.fifo(&format!("pid{id}"));
            let script = format!("(setsid sh -c 'echo $$ > {}; exec sleep 100' &) ; sleep 100", fifo.display());
            let run = world.run(id, &["sh", "-c", &script]);
            let daemon = Process::of(number(&fifo)).unwrap().unwrap();
            if restarted {
                world.stop();
            }
            let started = world.started(run);
            assert!(Process { pid: started.shim_pid, start: started.shim_start }.signal(libc::SIGKILL).unwrap());
            if restarted {
                wait_gone(started.shim_pid, started.shim_start);
                world.start();
                world.order(Order::Resume(launch(id, &["sh"])));
            }
            loop {
                match world.next() {
                    Observed::Lost(lost) if lost == run => break,
                    Observed::Executing { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            assert!(!daemon.is_alive().unwrap());
            assert!(!Process { pid: started.pid, start: started.pid_start }.is_alive().unwrap());
            world.clear(run);
        }
        world.leaves_nothing();
    });
}

#[test]
fn a_run_of_another_boot_is_lost_and_nobody_is_killed_for_it() {
    let world = World::new(Wish::None, |_| {});
    let launch = launch(1, &["true"]);
    let run = launch.run;
    let me = Process::of(std::process::id()).unwrap().unwrap();
    let started = Started {
        boot_id: "another-boot".to_owned(),
        shim_pid: me.pid,
        shim_start: me.start,
        pid: me.pid,
        pid_start: me.start,
        cgroup: None,
        at_wall_ms: 1,
        at_boot_ms: 1,
    };
    world.stop();
    world.put_started(run, &started.to_json());
    world.start();
    world.order(Order::Resume(launch));
    assert!(matches!(world.next(), Observed::Lost(lost) if lost == run));
    world.clear(run);
    world.leaves_nothing();
}

#[test]
fn sweeping_ends_what_belongs_to_no_run() {
    everywhere(|world| {
        let Some(subtree) = &world.subtree else { return };
        let group = subtree.join("99-execute-1");
        fs::create_dir(&group).unwrap();
        let mut stray = Command::new("sleep").arg("100").spawn().unwrap();
        fs::write(group.join("cgroup.procs"), stray.id().to_string()).unwrap();
        let fifo = world.fifo("pid");
        let run = world.run(1, &["sh", "-c", &format!("echo $$ > {}; read word < {0}; exit 8", fifo.display())]);
        number(&fifo);
        world.order(Order::Sweep);
        stray.wait().unwrap();
        fs::write(&fifo, "\n").unwrap();
        assert_eq!(world.outcome(run).exit_code, Some(8));
        world.clear(run);
        world.stop();
    });
}
