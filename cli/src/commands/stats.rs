//! `qrm stats`: what a job uses, or the machine, now and during the last minutes.
//! It refuses to go on looking; that is for who asks again.

use crate::Context;
use crate::again::{Stopped, ask};
use crate::complete::running_first;
use crate::render::gauge::{bar, hundredths, line, percent};
use crate::render::job::{tone, when};
use crate::render::{Out, Tone, clean};
use qrm_protocol::amount::Bytes;
use qrm_protocol::error::Error;
use qrm_protocol::ids::JobRef;
use qrm_protocol::method::{HostStats, HostStatsParams, HostStatsReply, JobStats, JobStatsParams, JobStatsReply};
use qrm_protocol::sample::{HostSample, JobSample, MemoryFrom, MountView, Pressure};
use qrm_protocol::time::Millis;

/// What the machine uses, or a job, now and during the last five minutes.
///
/// Samples are taken while jobs run or somebody looks, as often as monitor.interval says (see qrm-config(5)), and are kept in
/// memory: those of a job while it runs. Of a job that has ended, what it used in all is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A job as 12, a task of an array as 12.3; without one, the machine.
    #[arg(value_name = "ID", add = running_first())]
    id: Option<JobRef>,
}

/// The widest line of the last minutes, and the bars, so that all of it fits into 80 columns.
const LINE: usize = 30;
const BAR: usize = 24;

pub(crate) fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    match args.id {
        None => host(context),
        Some(id) => job(context, id),
    }
}

fn host(context: &Context) -> Result<u8, Error> {
    let look = |after| {
        ask(context, Stopped::Fails, move |mut client| {
            client.call::<HostStats>(&HostStatsParams { samples: true, after })
        })
    };
    let mut reply = look(None)?;
    // How busy cpus are is known from the second sample on; it comes a moment after the first.
    if reply.now.cpu_permille.is_none() {
        reply = look(Some(reply.now.number))?;
    }
    match context.out.json {
        true => context.out.document(&reply),
        false => context.out.print(&machine(&context.out, &reply)),
    }
    Ok(0)
}

fn job(context: &Context, id: JobRef) -> Result<u8, Error> {
    let look = |after| {
        ask(context, Stopped::Fails, move |mut client| {
            client.call::<JobStats>(&JobStatsParams { id, samples: true, after })
        })
    };
    let mut reply = look(None)?;
    if let Some(now) = reply.now.filter(|now| now.cpu_ms.is_some() && now.cpu_permille.is_none()) {
        reply = look(Some(now.number))?;
    }
    match context.out.json {
        true => context.out.document(&reply),
        false => context.out.print(&of_job(&context.out, &reply)),
    }
    Ok(0)
}

/// Lines that begin with what they are about.
struct Lines<'a> {
    out: &'a Out,
    text: String,
}

impl Lines<'_> {
    fn put(&mut self, key: &str, value: &str) {
        let key = self.out.tone(Tone::Quiet, &format!("{key:<12}"));
        self.text += format!("{key} {value}").trim_end();
        self.text.push('\n');
    }

    /// With a picture before it, on a terminal.
    fn drawn(&mut self, key: &str, picture: &str, columns: usize, value: &str) {
        match self.out.terminal {
            true => {
                let empty = " ".repeat(columns.saturating_sub(picture.chars().count()));
                self.put(key, &format!("{}{empty}  {value}", self.out.tone(Tone::Busy, picture)));
            }
            false => self.put(key, value),
        }
    }
}

fn machine(out: &Out, reply: &HostStatsReply) -> String {
    let HostStatsReply { now, mounts, samples, .. } = reply;
    let mut lines = Lines { out, text: String::new() };
    let all = now.cpus * 1000;
    let busy = now.cpu_permille.unwrap_or(0);
    let said = now.cpu_permille.map_or_else(
        || format!("{} cpus", now.cpus),
        |busy| format!("{} of {} cpus, {}", hundredths(busy), now.cpus, percent(busy / now.cpus.max(1))),
    );
    lines.drawn("cpu", &bar(busy, all, BAR), BAR, &said);
    let used = now.memory_total_bytes.saturating_sub(now.memory_available_bytes);
    let (total, available) = (Bytes(now.memory_total_bytes), Bytes(now.memory_available_bytes));
    let said = format!("{} of {total}, {available} available", Bytes(used));
    lines.drawn("memory", &bar(used, total.0, BAR), BAR, &said);
    if now.swap_total_bytes > 0 {
        let said = format!("{} of {}", Bytes(now.swap_used_bytes), Bytes(now.swap_total_bytes));
        lines.drawn("swap", &bar(now.swap_used_bytes, now.swap_total_bytes, BAR), BAR, &said);
    }
    for mount in mounts {
        of_mount(&mut lines, mount);
    }
    let loads = [now.load_1m_permille, now.load_5m_permille, now.load_15m_permille].map(hundredths);
    lines.put("load", &format!("{} {} {}  over 1, 5 and 15 minutes", loads[0], loads[1], loads[2]));
    lines.put("pressure", &pressures(now));
    if out.terminal && samples.len() > 1 {
        let values = |of: fn(&HostSample) -> u64| samples.iter().map(of).collect::<Vec<_>>();
        let cpu = line(&values(|sample| sample.cpu_permille.unwrap_or(0)), all, LINE);
        let of_memory = |sample: &HostSample| sample.memory_total_bytes.saturating_sub(sample.memory_available_bytes);
        let memory = line(&values(of_memory), now.memory_total_bytes, LINE);
        let span = samples[samples.len() - 1].at.since(samples[0].at);
        lines.put("", &out.tone(Tone::Quiet, &format!("the last {span}")));
        lines.put("cpu", &out.tone(Tone::Busy, &cpu));
        lines.put("memory", &out.tone(Tone::Busy, &memory));
    }
    lines.text
}

fn of_mount(lines: &mut Lines<'_>, mount: &MountView) {
    let path = clean(&mount.path);
    match (mount.total_bytes, mount.used_bytes, mount.available_bytes, &mount.error) {
        (Some(total), Some(used), Some(available), _) => {
            let said = format!("{} of {}, {} available", Bytes(used), Bytes(total), Bytes(available));
            lines.drawn(&path, &bar(used, total, BAR), BAR, &said);
        }
        (.., error) => {
            let why = error.as_deref().map(clean).unwrap_or_default();
            let why = lines.out.tone(Tone::Bad, &why);
            lines.put(&path, &why);
        }
    }
}

/// What the kernel tells of waiting; where it tells nothing, that.
fn pressures(now: &HostSample) -> String {
    let of = |name: &str, pressure: Option<Pressure>| {
        pressure.map(|pressure| format!("{name} {}", percent(pressure.some_permille)))
    };
    let all = [of("cpu", now.cpu_pressure), of("memory", now.memory_pressure), of("disk", now.io_pressure)];
    let all: Vec<String> = all.into_iter().flatten().collect();
    match all.is_empty() {
        true => "not told by this kernel".to_owned(),
        false => format!("{}  of 10 seconds waited for", all.join(", ")),
    }
}

fn of_job(out: &Out, reply: &JobStatsReply) -> String {
    let mut lines = Lines { out, text: String::new() };
    let state = out.tone(tone(reply.state), reply.state.word());
    lines.put("job", &format!("{}  {}  {state}", reply.id, clean(&reply.name)));
    match &reply.now {
        Some(now) => running(&mut lines, reply, now),
        None => ended(&mut lines, reply),
    }
    lines.text
}

fn running(lines: &mut Lines<'_>, reply: &JobStatsReply, now: &JobSample) {
    let values = |of: fn(&JobSample) -> Option<u64>| reply.samples.iter().filter_map(of).collect::<Vec<_>>();
    if let Some(permille) = now.cpu_permille {
        let seen = values(|sample| sample.cpu_permille);
        let said = format!("{} of {} cpus", hundredths(permille), reply.cpus);
        lines.drawn("cpu", &line(&seen, u64::from(reply.cpus) * 1000, LINE), LINE, &said);
    }
    if let Some(bytes) = now.memory_bytes {
        let limit = reply.mem_bytes.filter(|limit| limit.0 > 0);
        let of = limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
        let peak = now.peak_memory_bytes.map(|peak| format!(", peak {}", Bytes(peak))).unwrap_or_default();
        let seen = values(|sample| sample.memory_bytes);
        let top = limit.map_or(now.peak_memory_bytes.unwrap_or(0), |limit| limit.0);
        lines.drawn("memory", &line(&seen, top, LINE), LINE, &format!("{}{of}{peak}", Bytes(bytes)));
    }
    let disk = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), |bytes| Bytes(bytes).to_string());
    if now.read_bytes.is_some() || now.written_bytes.is_some() {
        lines.put("disk", &format!("{} read, {} written", disk(now.read_bytes), disk(now.written_bytes)));
    }
    lines.put("cpu time", &now.cpu_ms.map_or_else(|| "-".to_owned(), |ms| Millis(ms).to_string()));
    if let Some(pids) = now.pids {
        lines.put("pids", &format!("{pids}  processes and threads"));
    }
    let mut notes = vec![format!("at {}, every {}", when(now.at), Millis(reply.interval_ms))];
    if now.memory_from == Some(MemoryFrom::Processes) {
        notes.push("memory is the sum of its processes".to_owned());
    }
    if now.incomplete {
        notes.push("it has more processes than were looked at".to_owned());
    }
    lines.put("sampled", &notes.join("; "));
}

fn ended(lines: &mut Lines<'_>, reply: &JobStatsReply) {
    let usage = &reply.usage;
    let is_over = reply.state.is_terminal();
    if let Some(ms) = usage.cpu_ms {
        lines.put("cpu time", &Millis(ms).to_string());
    }
    if let Some(bytes) = usage.peak_memory_bytes {
        let of = reply.mem_bytes.filter(|limit| limit.0 > 0).map(|limit| format!(" of {limit}")).unwrap_or_default();
        lines.put("peak memory", &format!("{}{of}", Bytes(bytes)));
    }
    let note = match (is_over, usage.cpu_ms.is_some()) {
        (true, true) => "it has ended: this is what it used in all, for samples are kept only while a job runs",
        (true, false) => "it has ended, and nothing is known of what it used",
        (false, _) => "it ends just now",
    };
    lines.put("", &lines.out.tone(Tone::Quiet, note));
}
