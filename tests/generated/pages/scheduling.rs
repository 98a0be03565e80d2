//! qrm-scheduling(7): what starts when, and why; the words of `qrm explain` come from the description of the protocol.

use crate::roff::Page;
use serde_json::Value;

pub fn page(document: &Value) -> String {
    let mut page = Page::new("qrm-scheduling", 7, "what starts when, and why");
    page.section("DESCRIPTION");
    page.text(
        "Jobs share places (as many as may run at once), cpus, memory and room for files. None of these is promised twice, and memory \
         is not promised that somebody else uses. A job that fits starts at once; of those that do not, the first ones get a \
         planned start, and others start before them only where that delays none of these. The same jobs, history and times give \
         the same plan on every machine. `qrm explain` says of each job what it waits for and until when, `qrm when` of one that \
         is not submitted, and `qrm events` every change of a plan.",
    );
    order(&mut page);
    planning(&mut page);
    queues(&mut page);
    machine(&mut page);
    conflicts(&mut page);
    page.section("REASONS");
    page.text("The `code` of a reason in `qrm --json explain`. They stay what they are; more may be added.");
    let codes = document["components"]["schemas"]["ReasonCode"]["oneOf"].as_array();
    for code in codes.unwrap_or_else(|| panic!("the reasons are not described")) {
        page.item(code["const"].as_str().unwrap(), "", code["description"].as_str().unwrap());
    }
    page.see_also(&[
        "qrm(1)",
        "qrm-explain(1)",
        "qrm-when(1)",
        "qrm-queue(1)",
        "qrm-submit(1)",
        "qrm-config(5)",
        "qrmd-simulate(8)",
    ]);
    page.done()
}

fn order(page: &mut Page) {
    page.section("WHO IS FIRST");
    page.text("Jobs are looked at in the order of their rank, the sum of");
    page.item("priority", "", "0 to 100, times `scheduler.weights.priority`;");
    page.item(
        "age",
        "",
        "the hours since nothing but room was wanting, times `scheduler.weights.age_per_hour`. It has no end, so nobody waits for \
         ever. Where fair shares count, that of an array, beside jobs of others, counts from when its last task started;",
    );
    page.item(
        "fair share",
        "",
        "the share that its user has left, and that its queue has left, each from 0 to 1, times `scheduler.weights.fair_share`. \
         Who used nothing lately has all of it; what was used counts half after seven days. Users weigh what \
         `users.shares` says, queues what their `weight` says.",
    );
    page.text(
        "Equal ranks go by the smaller id. Jobs with `--idle` come after all others. With `--on-conflict queuing`, or in a queue \
         with that setting, priority counts as 50 and each fair share as a half, so that among such jobs age alone decides.",
    );
}

fn planning(page: &mut Page) {
    page.section("PLANNED STARTS");
    page.text(
        "How long a job is expected to run is the longer of the last two runs of its kind, but never more than its time limit; \
         else its time limit, else `scheduler.assumed_time`. So a job with `--time` starts earlier: it fits into gaps.",
    );
    page.text(
        "The first `scheduler.planned_starts` jobs that do not fit get a start in the future, each the earliest at which it, or one \
         of its alternatives (`--or`), fits beside what runs and what was planned before it. Nothing of lower rank delays that, if \
         runs take no longer than expected. All others start as soon as they fit beside these plans. A plan that is a minute away \
         or more is announced by an event, and so is every change of it by more than a minute and a tenth of what is left.",
    );
}

fn queues(page: &mut Page) {
    page.section("QUEUES");
    page.text(
        "A queue is a named line of jobs. It has a weight beside other queues, may bound how many of its jobs run at once and for how \
         long, and has defaults for jobs that do not set them: priority, cpus, memory, time, whether they make room for others, \
         and what is done if they can not start at once. `qrm queue set` makes and changes them, and so does the configuration file. \
         Jobs that name none are in `default`, which is always there.",
    );
}

fn machine(page: &mut Page) {
    page.section("THE MACHINE BESIDE JOBS");
    page.text(
        "A job that asks for memory starts when as much is available on the machine, less `scheduler.memory_reserve` and less what \
         jobs that run asked for and have not used yet: also what jobs without `--mem`, other daemons and other people use is \
         not given to it. Jobs that ask for none start all the same.",
    );
    page.text(
        "While processes wait for memory for more of the time than `scheduler.pressure_memory` says, no more jobs start, but for \
         one when none runs; `scheduler.pressure_cpu` does the same for cpus. Both go by what the kernel tells in /proc/pressure of \
         the last ten seconds, and are over when it is below three quarters of the setting.",
    );
}

fn conflicts(page: &mut Page) {
    page.section("WHEN A JOB CAN NOT START AT ONCE");
    page.text("What is done is said by `--on-conflict`, else by its queue:");
    for (way, what) in [
        ("priority", "It waits, and who ranks higher goes first. This is so where nobody says otherwise."),
        (
            "preemption",
            "And jobs of a lower class that may have to (`--preemptible`, or a queue that says so) make room for it, as soon as \
             they have run for their `--min-run`. The classes are idle, priority below 50, 50 to 74, 75 to 99, and 100. Those \
             go that lose the least work, and no more of them than it takes. Each gets its `--checkpoint-signal`, or what asks it to \
             end, and has its `--grace`; then it waits for its next attempt, which finds what was saved in \
             `QRM_CHECKPOINT_DIR`, or is cancelled or suspended if its queue says so.",
        ),
        ("sharing", "A job that wants the machine for itself runs beside others, if it fits there."),
        (
            "queuing",
            "It waits; its priority counts as 50 and its fair shares as a half, so that among such jobs age alone decides.",
        ),
        (
            "negotiation",
            "It waits, and is offered what it could have instead: to start now with fewer cpus, at its planned start for certain, \
             beside others, or when named jobs have made room. Offers are made once, when a job is submitted alone and only room \
             is wanting: not to arrays, bulks and job files, nor to a job that waits for others, for its begin or for its \
             release. `qrm offer accept` takes an offer; after `scheduler.offer_time` it lapses.",
        ),
    ] {
        page.item(way, "", what);
    }
    page.text("Idle jobs make room for every job that is not idle, whatever its way.");
}
