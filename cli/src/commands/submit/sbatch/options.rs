//! The options of Slurm's sbatch, which of them have values, and what each can mean here.
//! It refuses to read values.

/// Whether an option has a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Value,
    /// Only after `=`.
    Maybe,
}
use Takes::{Maybe, Nothing, Value};

/// What an option means here.
#[derive(Clone, Copy)]
pub(super) enum Means {
    Array,
    Begin,
    Chdir,
    Comment,
    Cpus,
    Deadline,
    Dependency,
    Disk,
    Error,
    Exclusive,
    Export,
    Hold,
    Input,
    JobName,
    Memory,
    MemoryPerCpu,
    Nice,
    /// Several of these would be several machines or processes.
    One(&'static str),
    Requeue,
    NoRequeue,
    OpenMode,
    Output,
    Partition,
    /// It takes back what asks for the whole machine.
    Shared,
    Signal,
    Tasks,
    Time,
    /// What it asks for is so here anyway.
    Fine,
    /// Nothing, and why.
    No(&'static str),
}

const GPUS: Means = Means::No("GPUs are not counted yet");
const PLACE: Means = Means::No("there is one machine here");
const ACCOUNT: Means = Means::No("there are none here");
const MAIL: Means = Means::No("no mail is sent; qrm wait tells when it ends");
const LAYOUT: Means = Means::No("cpus are counted, not chosen");

/// sbatch(1), without what it has only for the command line.
pub(super) const OPTIONS: &[(&str, Option<char>, Takes, Means)] = &[
    ("account", Some('A'), Value, ACCOUNT),
    ("array", Some('a'), Value, Means::Array),
    ("begin", Some('b'), Value, Means::Begin),
    ("chdir", Some('D'), Value, Means::Chdir),
    ("clusters", Some('M'), Value, PLACE),
    ("comment", None, Value, Means::Comment),
    ("constraint", Some('C'), Value, PLACE),
    ("contiguous", None, Nothing, Means::Fine),
    ("core-spec", Some('S'), Value, LAYOUT),
    ("cores-per-socket", None, Value, LAYOUT),
    ("cpu-freq", None, Value, LAYOUT),
    ("cpus-per-gpu", None, Value, GPUS),
    ("cpus-per-task", Some('c'), Value, Means::Cpus),
    ("deadline", None, Value, Means::Deadline),
    ("dependency", Some('d'), Value, Means::Dependency),
    ("distribution", Some('m'), Value, LAYOUT),
    ("error", Some('e'), Value, Means::Error),
    ("exclude", Some('x'), Value, PLACE),
    ("exclusive", None, Maybe, Means::Exclusive),
    ("export", None, Value, Means::Export),
    ("get-user-env", None, Maybe, Means::No("it has the environment of its submitter")),
    ("gpu-bind", None, Value, GPUS),
    ("gpus", Some('G'), Value, GPUS),
    ("gpus-per-node", None, Value, GPUS),
    ("gpus-per-task", None, Value, GPUS),
    ("gres", None, Value, GPUS),
    ("gres-flags", None, Value, GPUS),
    ("hint", None, Value, LAYOUT),
    ("hold", Some('H'), Nothing, Means::Hold),
    ("input", Some('i'), Value, Means::Input),
    ("job-name", Some('J'), Value, Means::JobName),
    ("kill-on-invalid-dep", None, Value, Means::No("what can never run is cancelled")),
    ("licenses", Some('L'), Value, Means::No("there are no licences here")),
    ("mail-type", None, Value, MAIL),
    ("mail-user", None, Value, MAIL),
    ("mem", None, Value, Means::Memory),
    ("mem-bind", None, Value, LAYOUT),
    ("mem-per-cpu", None, Value, Means::MemoryPerCpu),
    ("mem-per-gpu", None, Value, GPUS),
    ("mincpus", None, Value, LAYOUT),
    ("nice", None, Maybe, Means::Nice),
    ("no-kill", Some('k'), Maybe, Means::Fine),
    ("no-requeue", None, Nothing, Means::NoRequeue),
    ("nodelist", Some('w'), Value, PLACE),
    ("nodes", Some('N'), Value, Means::One("there is one machine here")),
    ("ntasks", Some('n'), Value, Means::Tasks),
    ("ntasks-per-core", None, Value, LAYOUT),
    ("ntasks-per-node", None, Value, Means::Tasks),
    ("ntasks-per-socket", None, Value, LAYOUT),
    ("open-mode", None, Value, Means::OpenMode),
    ("output", Some('o'), Value, Means::Output),
    ("overcommit", Some('O'), Nothing, Means::No("cpus are not promised twice")),
    ("oversubscribe", Some('s'), Nothing, Means::Shared),
    ("parsable", None, Nothing, Means::Fine),
    ("partition", Some('p'), Value, Means::Partition),
    ("priority", None, Value, Means::No("priorities are 0 to 100 here; use #QRM")),
    ("profile", None, Value, Means::No("qrm show tells what a job used")),
    ("propagate", None, Maybe, Means::No("it has the limits of the daemon")),
    ("qos", Some('q'), Value, ACCOUNT),
    ("quiet", Some('Q'), Nothing, Means::Fine),
    ("requeue", None, Nothing, Means::Requeue),
    ("reservation", None, Value, Means::No("there are no reservations yet")),
    ("signal", None, Value, Means::Signal),
    ("sockets-per-node", None, Value, LAYOUT),
    ("switches", None, Value, PLACE),
    ("threads-per-core", None, Value, LAYOUT),
    ("time", Some('t'), Value, Means::Time),
    ("time-min", None, Value, Means::No("its time limit is not shortened")),
    ("tmp", None, Value, Means::Disk),
    ("verbose", Some('v'), Nothing, Means::Fine),
    ("wait", Some('W'), Nothing, Means::No("qrm wait waits for a job")),
    ("wckey", None, Value, ACCOUNT),
];

/// An option as it is typed.
pub(super) struct Given {
    /// Long, or one character.
    pub(super) name: String,
    is_long: bool,
    pub(super) value: Option<String>,
    pub(super) shown: String,
    pub(super) shown_before_value: String,
}

impl Given {
    /// The option of a word, if it is one.
    pub(super) fn of(typed: &str) -> Option<Self> {
        if let Some(long) = typed.strip_prefix("--").filter(|long| !long.is_empty()) {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value.to_owned())));
            let shown = format!("--{name}");
            return Some(Self {
                name: name.to_owned(),
                is_long: true,
                value,
                shown_before_value: format!("{shown}="),
                shown,
            });
        }
        let short = typed.strip_prefix('-').filter(|short| !short.is_empty())?;
        let (name, value) = short.split_at(short.chars().next().map_or(0, char::len_utf8));
        let shown = format!("-{name}");
        let value = Some(value.to_owned()).filter(|value| !value.is_empty());
        Some(Self { name: name.to_owned(), is_long: false, value, shown_before_value: format!("{shown} "), shown })
    }

    /// What it is for Slurm, with its arity and what it means here.
    pub(super) fn known(&self) -> Option<&'static (&'static str, Option<char>, Takes, Means)> {
        OPTIONS.iter().find(|(long, short, ..)| {
            if self.is_long { *long == self.name } else { short.is_some_and(|short| self.name.chars().eq([short])) }
        })
    }
}
