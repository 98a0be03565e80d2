//! A schedule as a picture: an SVG without a script, cpus from top to bottom, time from left to right, a colour for each user.
//! It refuses to grow with the log: what is too much to be drawn job by job is drawn as it was at so many instants.

use super::rows::{Bar, bars};
use super::workload::Job;
use qrm_protocol::time::Millis;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::ops::Range;

/// How wide the plot is, in pixels; of a long log as many instants are drawn.
const WIDTH: u32 = 1200;
/// The most rows that a picture of many bars has: together at most 5 MB, and seldom a tenth of that.
const MOST_ROWS: u32 = 256;
/// The most bars that are drawn one by one, each with its words: 2 MB.
const MOST_BARS: usize = 10_000;
/// The most users that have a name below the plot.
const MOST_NAMED: usize = 24;
const LEFT: u32 = 64;
const TOP: u32 = 40;

/// Draws when each job started and ended.
pub fn draw(title: &str, jobs: &[Job], starts: &[u64], cpus: u32) -> String {
    let bars = bars(jobs, starts, cpus);
    let users = Users::of(jobs);
    let end = bars.iter().map(|bar| bar.time.end).max().unwrap_or(1);
    let height = (cpus.saturating_mul(10)).clamp(160, 640);
    let named = users.order.len().min(MOST_NAMED + 1) as u32;
    let (wide, tall) = (LEFT + WIDTH + 24, TOP + height + 64 + named.div_ceil(6) * 20);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide} {tall}\" width=\"{wide}\" height=\"{tall}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n<title>{title}</title>\n\
         <rect width=\"{wide}\" height=\"{tall}\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{title}</text>\n\
         <rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{WIDTH}\" height=\"{height}\" fill=\"#f4f4f4\"/>\n"
    );
    if bars.len() <= MOST_BARS {
        one_by_one(&mut svg, &bars, jobs, &users, Scale { end, cpus, height });
    } else {
        at_instants(&mut svg, &bars, jobs, &users, Scale { end, cpus, height });
    }
    axes(&mut svg, Scale { end, cpus, height });
    legend(&mut svg, &users, TOP + height + 64);
    svg += "</svg>\n";
    svg
}

/// How times and cpus become pixels.
#[derive(Clone, Copy)]
struct Scale {
    end: u64,
    cpus: u32,
    height: u32,
}

/// Users in the order of the cpu time that they used, the largest first.
struct Users {
    order: Vec<(Option<u32>, f64)>,
    place: HashMap<Option<u32>, usize>,
}

impl Users {
    fn of(jobs: &[Job]) -> Self {
        let mut used: BTreeMap<Option<u32>, u128> = BTreeMap::new();
        for job in jobs {
            *used.entry(job.user).or_default() += u128::from(job.holds.cpus) * u128::from(job.run_ms);
        }
        let all: u128 = used.values().sum();
        let mut order: Vec<_> = used.into_iter().collect();
        order.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let place = order.iter().enumerate().map(|(place, (user, _))| (*user, place)).collect();
        Self { order: order.into_iter().map(|(user, used)| (user, used as f64 / all as f64)).collect(), place }
    }
}

fn name(user: Option<u32>) -> String {
    user.map_or_else(|| "nobody known".to_owned(), |user| format!("user {user}"))
}

/// Neighbours in the order are far from each other on the wheel of colours: each is a golden angle further.
fn colour(place: usize) -> String {
    let hue = (place as f64 * 137.508) % 360.0 / 60.0;
    let lightness = [0.45, 0.62, 0.34][place / 8 % 3];
    let chroma = 0.65 * (1.0 - (2.0 * lightness - 1.0_f64).abs());
    let second = chroma * (1.0 - (hue % 2.0 - 1.0).abs());
    let (r, g, b) = match hue as u32 {
        0 => (chroma, second, 0.0),
        1 => (second, chroma, 0.0),
        2 => (0.0, chroma, second),
        3 => (0.0, second, chroma),
        4 => (second, 0.0, chroma),
        _ => (chroma, 0.0, second),
    };
    let byte = |part: f64| ((part + lightness - chroma / 2.0) * 255.0).round() as u8;
    format!("#{:02x}{:02x}{:02x}", byte(r), byte(g), byte(b))
}

/// Writing into a text does not fail.
macro_rules! put {
    ($svg:expr, $($word:tt)*) => { writeln!($svg, $($word)*).ok() };
}

/// Each job as a shape of its own that says what it is.
fn one_by_one(svg: &mut String, bars: &[Bar], jobs: &[Job], users: &Users, scale: Scale) {
    let across = f64::from(WIDTH) / scale.end as f64;
    let down = f64::from(scale.height) / f64::from(scale.cpus);
    // Lines between jobs, as long as there is room for lines.
    let line = if bars.len() <= 1000 { " stroke=\"#fff\" stroke-width=\".5\"" } else { "" };
    put!(svg, "<g transform=\"translate({LEFT} {TOP})\"{line}>");
    let mut bars = bars.iter().peekable();
    while let Some(first) = bars.next() {
        let job = &jobs[first.job];
        let mut path = String::new();
        let mut bar = first;
        loop {
            let (x, y) = (bar.time.start as f64 * across, f64::from(bar.rows.start) * down);
            // Whatever ran can be seen.
            let (w, h) = ((job.run_ms as f64 * across).max(0.3), bar.rows.len() as f64 * down);
            write!(path, "M{x:.2} {y:.2}h{w:.2}v{h:.2}h-{w:.2}z").ok();
            match bars.next_if(|next| next.job == first.job) {
                Some(next) => bar = next,
                None => break,
            }
        }
        let colour = colour(users.place[&job.user]);
        let waited = Millis(first.time.start - job.submit_ms);
        put!(
            svg,
            "<path fill=\"{colour}\" d=\"{path}\"><title>job {}, {}, {} cpus: waited {waited}, ran {}</title></path>",
            job.number,
            name(job.user),
            job.holds.cpus,
            Millis(job.run_ms)
        );
    }
    *svg += "</g>\n";
}

/// Who had which cpu, at the middle of each column of pixels.
fn at_instants(svg: &mut String, bars: &[Bar], jobs: &[Job], users: &Users, scale: Scale) {
    let rows = scale.cpus.min(MOST_ROWS);
    let cpu = |row: u32| ((u64::from(row) * 2 + 1) * u64::from(scale.cpus) / (u64::from(rows) * 2)) as u32;
    let at = |column: u32| ((u128::from(column) * 2 + 1) * u128::from(scale.end) / (u128::from(WIDTH) * 2)) as u64;
    // Columns and rows whose middle is in a range.
    let columns = |time: &Range<u64>| {
        below(WIDTH, |column| at(column) < time.start)..below(WIDTH, |column| at(column) < time.end)
    };
    let within = |cpus: &Range<u32>| below(rows, |row| cpu(row) < cpus.start)..below(rows, |row| cpu(row) < cpus.end);
    let mut lines: Vec<Vec<(Range<u32>, usize)>> = vec![Vec::new(); rows as usize];
    // In the order of their starts, so that each row goes from left to right.
    for bar in bars {
        let columns = columns(&bar.time);
        if columns.is_empty() {
            continue;
        }
        let user = users.place[&jobs[bar.job].user];
        for row in within(&bar.rows) {
            let line = &mut lines[row as usize];
            match line.last_mut() {
                Some((last, same)) if *same == user && last.end == columns.start => last.end = columns.end,
                _ => line.push((columns.clone(), user)),
            }
        }
    }
    let mut paths = vec![String::new(); users.order.len()];
    let mut close = |(columns, user): (Range<u32>, usize), rows: Range<u32>| {
        let (x, y, w, h) = (columns.start, rows.start, columns.len(), rows.len());
        write!(paths[user], "M{x} {y}h{w}v{h}h-{w}z").ok();
    };
    // What is the same in the next row is one shape.
    let mut open: BTreeMap<(u32, u32, usize), u32> = BTreeMap::new();
    for (row, line) in (0..).zip(&lines) {
        let mut next = BTreeMap::new();
        for (columns, user) in line {
            let key = (columns.start, columns.end, *user);
            next.insert(key, open.remove(&key).unwrap_or(row));
        }
        for ((start, end, user), since) in std::mem::replace(&mut open, next) {
            close((start..end, user), since..row);
        }
    }
    for ((start, end, user), since) in open {
        close((start..end, user), since..rows);
    }
    let down = f64::from(scale.height) / f64::from(rows);
    put!(svg, "<g transform=\"translate({LEFT} {TOP}) scale(1 {down:.4})\" shape-rendering=\"crispEdges\">");
    for (place, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
        put!(svg, "<path fill=\"{}\" d=\"{path}\"><title>{}</title></path>", colour(place), name(users.order[place].0));
    }
    *svg += "</g>\n";
}

/// How many of the first so many there are, up to the first that is not.
fn below(count: u32, is: impl Fn(u32) -> bool) -> u32 {
    let (mut from, mut until) = (0, count);
    while from < until {
        let middle = from + (until - from) / 2;
        if is(middle) { from = middle + 1 } else { until = middle }
    }
    from
}

/// What is between two marks of the time: at most a dozen of them.
fn time_step(end: u64) -> u64 {
    const MINUTE: u64 = 60_000;
    const DAY: u64 = 24 * 60 * MINUTE;
    let short = [1, 10, 100, 1_000, 5_000, 10_000, 30_000].into_iter();
    let minutes = [1, 2, 5, 10, 30, 60, 120, 360, 720].into_iter().map(|count| count * MINUTE);
    let days = (0..).flat_map(|power| [1, 2, 5].map(|count| 10_u64.saturating_pow(power).saturating_mul(count * DAY)));
    let mut steps = short.chain(minutes).chain(days);
    steps.find(|step| end / step <= 12).unwrap_or(end)
}

fn axes(svg: &mut String, scale: Scale) {
    let Scale { end, cpus, height } = scale;
    let (bottom, right) = (TOP + height, LEFT + WIDTH);
    let step = time_step(end);
    *svg += "<g stroke=\"#000\" stroke-opacity=\".15\">\n";
    let x = |at: u64| f64::from(LEFT) + f64::from(WIDTH) * (at as f64 / end as f64);
    let times = || (0..=end / step).map(|count| count * step);
    for at in times() {
        put!(svg, "<path d=\"M{:.2} {TOP}V{}\"/>", x(at), bottom + 6);
    }
    let every = (0..).map(|power| 1_u32 << power).find(|every| cpus / every <= 8).unwrap_or(cpus);
    let y = |cpu: u32| f64::from(TOP) + f64::from(height) * f64::from(cpu) / f64::from(cpus);
    let marks = || (0..=cpus / every).map(|count| count * every);
    for cpu in marks() {
        put!(svg, "<path d=\"M{} {:.2}H{right}\"/>", LEFT - 6, y(cpu));
    }
    *svg += "</g>\n<g text-anchor=\"middle\">\n";
    for at in times() {
        let label = if at == 0 { "0".to_owned() } else { Millis(at).to_string() };
        // `5d00h` is as long as five days are.
        let label = ["00h", "00m", "00s"].iter().find_map(|none| label.strip_suffix(none)).unwrap_or(&label);
        put!(svg, "<text x=\"{:.2}\" y=\"{}\">{label}</text>", x(at), bottom + 20);
    }
    put!(svg, "<text x=\"{}\" y=\"{}\">since the first submit</text>", LEFT + WIDTH / 2, bottom + 38);
    *svg += "</g>\n<g text-anchor=\"end\">\n";
    for cpu in marks() {
        put!(svg, "<text x=\"{}\" y=\"{:.2}\">{cpu}</text>", LEFT - 10, y(cpu) + 4.0);
    }
    let middle = TOP + height / 2;
    put!(
        svg,
        "<text x=\"18\" y=\"{middle}\" transform=\"rotate(-90 18 {middle})\" text-anchor=\"middle\">cpus</text>\n</g>"
    );
}

fn legend(svg: &mut String, users: &Users, top: u32) {
    let six = |place: usize| (LEFT + (place % 6) as u32 * (WIDTH / 6), top + (place / 6) as u32 * 20);
    for (place, (user, part)) in users.order.iter().take(MOST_NAMED).enumerate() {
        let (x, y) = six(place);
        put!(svg, "<rect x=\"{x}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{}\"/>", y - 10, colour(place));
        put!(svg, "<text x=\"{}\" y=\"{y}\">{}, {:.1} %</text>", x + 18, name(*user), part * 100.0);
    }
    if let Some(more) = users.order.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        let (x, y) = six(MOST_NAMED);
        put!(svg, "<text x=\"{x}\" y=\"{y}\">and {more} more users</text>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::fifo;
    use crate::simulate::workload::Amount;
    use crate::simulate::workload::tests::job;

    /// So many jobs by as many users as there are colours for, and then some.
    fn many(count: u64, cpus: u32) -> (Vec<Job>, Vec<u64>) {
        let one = |number: u64| {
            let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            let job = job(number * 40, 1 + mixed % 997, 1000, 1 + (mixed >> 10) as u32 % (cpus / 3).max(1));
            Job { number, user: Some((mixed >> 20) as u32 % 400), ..job }
        };
        let jobs: Vec<Job> = (0..count).map(one).collect();
        let starts = fifo::schedule(&jobs, Amount { cpus, memory: 0 });
        (jobs, starts)
    }

    /// Every element is closed by the one that opened it.
    #[track_caller]
    fn well_formed(svg: &str) {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let (tag, text) = tag.split_once('>').expect("a tag ends");
            assert!(!text.contains('>') && !text.contains('&') && !tag.contains('&'), "{tag}");
            match (tag.strip_prefix('/'), tag.split_whitespace().next()) {
                (Some(name), _) => assert_eq!(open.pop(), Some(name)),
                (None, Some(name)) if !tag.ends_with('/') => open.push(name),
                _ => {}
            }
        }
        assert!(open.is_empty(), "{open:?}");
        assert!(svg.starts_with("<svg xmlns=") && !svg.contains("script"));
    }

    #[test]
    fn each_job_of_a_few_is_there_with_its_words() {
        let jobs = [job(0, 10, 10, 3), Job { user: None, number: 9, ..job(1, 5, 5, 2) }];
        let svg = draw("easy", &jobs, &[0, 10_000], 4);
        well_formed(&svg);
        assert!(svg.contains("<title>job 1, user 1, 3 cpus: waited 0ms, ran 10s</title>"), "{svg}");
        assert!(svg.contains("<title>job 9, nobody known, 2 cpus: waited 9.0s, ran 5.0s</title>"), "{svg}");
        // Of 1,200 pixels for 15 s, and 160 for four cpus.
        assert!(svg.contains("d=\"M0.00 0.00h800.00v120.00h-800.00z\""), "{svg}");
        assert!(svg.contains("d=\"M800.00 0.00h400.00v80.00h-400.00z\""), "{svg}");
        assert!(svg.contains(">user 1, 75.0 %</text>"), "{svg}");
    }

    #[test]
    fn many_jobs_make_no_large_file() {
        for (count, cpus, most) in [(9_000, 64, 3 << 20), (40_000, 64, 3 << 20), (40_000, 5_000, 6 << 20)] {
            let (jobs, starts) = many(count, cpus);
            let svg = draw("easy", &jobs, &starts, cpus);
            well_formed(&svg);
            assert!(svg.len() < most, "{} bytes of {count} jobs", svg.len());
        }
    }

    #[test]
    fn a_long_log_is_drawn_as_it_was_at_each_instant() {
        // Two users have the halves of the machine, one of them for the first half of the time.
        let one = |number: u64| {
            let user = number % 2;
            let job = job(number / 2, 1, 1, 2);
            Job { user: Some(user as u32), ..job }
        };
        let jobs: Vec<Job> =
            (0..24_000).map(one).filter(|job| job.user == Some(0) || job.submit_ms < 6_000_000).collect();
        let starts: Vec<u64> = jobs.iter().map(|job| job.submit_ms).collect();
        assert!(bars(&jobs, &starts, 4).len() > MOST_BARS);
        let svg = draw("fifo", &jobs, &starts, 4);
        well_formed(&svg);
        assert!(svg.contains("d=\"M0 0h1200v2h-1200z\"><title>user 0<"), "{svg}");
        assert!(svg.contains("d=\"M0 2h600v2h-600z\"><title>user 1<"), "{svg}");
    }

    #[test]
    fn neighbours_have_colours_of_their_own() {
        let colours: Vec<String> = (0..48).map(colour).collect();
        let mut different = colours.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), colours.len());
        assert!(colours.iter().all(|colour| colour.len() == 7 && colour.starts_with('#')));
    }

    #[test]
    fn marks_are_few_and_round() {
        for (end, step) in [(1, 1), (15_000, 5_000), (3_600_000, 300_000), (86_400_000, 7_200_000), (u64::MAX, 0)] {
            let found = time_step(end);
            assert!(end / found <= 12 && (step == 0 || found == step), "{end}: {found}");
        }
        let amount = Amount { cpus: 1, memory: 0 };
        let holds = Job { holds: amount, ..job(0, 1, 1, 1) };
        well_formed(&draw("fifo", &[holds], &[0], 1));
    }
}
