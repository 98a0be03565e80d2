//! qrmd-simulate(8): its options from its own tree, and what its report and its picture are.

use crate::roff::Page;

pub fn page() -> String {
    let mut daemon = qrm_daemon::command();
    daemon.build();
    let command = daemon.find_subcommand("simulate").unwrap().clone();
    let mut text = Vec::new();
    let version = env!("CARGO_PKG_VERSION");
    let man = clap_mangen::Man::new(command.name("qrmd-simulate").bin_name("qrmd simulate"));
    let man = man.section("8").title("QRMD-SIMULATE").source(format!("qrm {version}"));
    man.render_title(&mut text).unwrap();
    man.render_name_section(&mut text).unwrap();
    man.render_synopsis_section(&mut text).unwrap();
    man.render_description_section(&mut text).unwrap();
    man.render_options_section(&mut text).unwrap();
    man.render_extra_section(&mut text).unwrap();
    let mut page = Page::of(String::from_utf8(text).unwrap());
    page.section("THE REPORT");
    page.text("It is on standard output, a line for each figure. In JSON it is one object; times are in milliseconds:");
    for (name, what) in REPORT {
        page.item(name, "", what);
    }
    page.section("THE PICTURE");
    page.text(
        "An SVG without a script. Each job has the lowest cpus that are free when it starts, and the colour of its user; the names \
         below go by cpu time. Up to ten thousand shapes are drawn one by one, and each says which job it is, how long it waited \
         and ran. Of more jobs it is drawn who had which cpu at 1,200 instants, so that the file is a few megabytes at most.",
    );
    page.section("NOTES");
    page.text(
        "`--policy qrm` is the scheduler of this daemon itself, with all settings as they are built in, on a machine on which \
         nobody else uses anything. No daemon and no state has to do with it. It runs at most 1,000 jobs at once. \
         A log has at most 1,000,000 jobs.",
    );
    page.text(
        "Two schedules that differ little in the beginning can differ much in the end. A single figure of a single log says less than \
         the same figure at several loads.",
    );
    page.see_also(&["qrmd(8)", "qrm-scheduling(7)", "qrm-config(5)"]);
    page.done()
}

const REPORT: [(&str, &str); 14] = [
    ("policy, fair_share, planned_starts", "How it was replayed; the last two of qrm alone."),
    ("cpus, memory_bytes", "The machine; no memory if that is not counted."),
    ("jobs, users", "How many were scheduled, and of how many users."),
    (
        "dropped",
        "How many were not: `too_large`, `never_ran`, and `parts` of jobs that have a line as a whole (status 2 to 4).",
    ),
    ("cut", "How many ran for longer than they requested, and were ended then."),
    ("unasked", "How many requested no time."),
    (
        "log_load",
        "The work of the jobs, processors by run time, over cpus by the time between the first submit and the last.",
    ),
    ("stretched", "What times of submits were multiplied by, with `--load`."),
    ("makespan_ms", "From the first submit to the last end."),
    ("wait_ms", "From submit to start: `mean`, `p95` and `max`."),
    ("bounded_slowdown", "The same of wait and run over the run, or over ten seconds if it was shorter; at least 1."),
    ("utilisation", "The part of the cpus in use over the makespan."),
    (
        "largest_wait_over_fair_share",
        "The mean wait of a user's jobs over that of all: `ratio`, for the `user` with the largest.",
    ),
    ("took_ms", "How long it took to make the schedule."),
];
