//! What settings are, where they come from, and what of them can not be meant.
//! It refuses to start a daemon.

use super::*;

fn load(text: &str, vars: &[(&str, &str)], set: &[&str]) -> Result<Config, Vec<Mistake>> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    let sources = Sources { file: Some(file), set: set.iter().map(|word| (*word).to_owned()).collect(), system: false };
    sources.load(&|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).into()))
}

#[test]
fn a_flag_wins_over_the_environment_that_over_the_file_and_the_file_over_what_is_built_in() {
    let text = "[store]\ndurability = \"relaxed\"\nretention = \"30d\"\n\n[host]\ncpus = 3\nmemory = \"2G\"\n";
    let variables = [("QRM_STORE_RETENTION", "1d"), ("QRM_HOST_MEMORY", "3G")];
    let config = load(text, &variables, &["host.memory=4G"]).unwrap();
    assert_eq!((config.durability, config.cpus), (Durability::Relaxed, Some(3)));
    assert_eq!((config.retention, config.memory), (Millis(86_400_000), Some(Bytes(4 << 30))));
    let view = config.view();
    let origin = |key: &str| view.iter().find(|one| one.key == key).unwrap().origin.clone();
    assert!(origin("host.cpus").ends_with("config.toml:6"), "{}", origin("host.cpus"));
    assert_eq!(origin("store.retention"), "QRM_STORE_RETENTION");
    assert_eq!(origin("host.memory"), "--set");
    assert_eq!(origin("supervision.cgroup"), "built in");
    assert_eq!(load("", &[], &[]).unwrap(), Config::default());
}

#[test]
fn what_is_shown_of_a_setting_is_what_sets_it() {
    for (key, value) in KEYS.iter().zip([
        "relaxed",
        "2d",
        "3",
        "512M",
        "5G",
        "2G",
        "3G",
        "hard",
        "2h",
        "0",
        "priority=1,age_per_hour=2,fair_share=3",
        "2m",
        "12.5%",
        "90%",
        "/s",
        "77",
        "4G",
        "v2",
        "a,@b",
        "c",
        "own",
        "7",
        "a=2,b=3",
        "250ms",
        "/,/var/tmp",
    ]) {
        let config = load("", &[(&key.variable(), value)], &[]).unwrap();
        let shown = config.view().into_iter().find(|one| one.key == key.name).unwrap();
        assert_eq!(shown.value, value, "{}", key.name);
        assert_ne!(shown.value, shown.default, "{}", key.name);
        let again = load("", &[], &[&format!("{}={}", key.name, shown.value)]).unwrap();
        assert_eq!((key.get)(&again), value);
    }
    for shown in Config::default().view() {
        assert_eq!(shown.value, shown.default, "{}", shown.key);
    }
}

#[test]
fn weights_are_a_table_and_what_is_absent_in_it_is_built_in() {
    let config = load("[scheduler]\nweights = { fair_share = 0 }\n", &[], &[]).unwrap();
    assert_eq!(config.weights, Weights { fair_share: 0, ..Weights::default() });
    let again = load("[scheduler.weights]\nfair_share = 0\n", &[], &[]).unwrap();
    assert_eq!(again.weights, config.weights);
    assert!(again.origin("scheduler.weights").unwrap().to_string().ends_with("config.toml:1"));
    assert_eq!(Config::default().policy(BTreeMap::new()), Policy::default());
}

#[test]
fn what_is_shown_of_a_queue_is_what_it_is() {
    let all = "name = \"all\"\nweight = 3\nmax_running = 4\nmax_time = \"12h\"\npreemptible = true\non_preempt = \"suspend\"\n\
               on_conflict = \"queuing\"\npriority = \"low\"\ncpus = 2\nmem = \"1.5G\"\ntime = \"90m\"\n";
    let text = format!("[[queue]]\n{all}\n[[queue]]\nname = \"plain\"\nmax_running = 0\nmem = \"none\"\n");
    let config = load(&text, &[], &[]).unwrap();
    let spec = config.queues()[&"all".parse().unwrap()].clone();
    assert_eq!(
        (spec.weight, spec.max_running, spec.max_time_ms, spec.preemptible),
        (3, Some(4), Some(Millis(12 * 3_600_000)), true)
    );
    assert_eq!(
        (spec.cpus, spec.mem_bytes, spec.time_limit_ms),
        (Some(2), Some(Bytes(3 << 29)), Some(Millis(5_400_000)))
    );
    assert_eq!(spec.priority.map(|priority| priority.get()), Some(25));
    assert_eq!((spec.on_preempt.word(), spec.on_conflict.word()), ("suspend", "queuing"));
    let view = config.view();
    let shown = |key: &str| view.iter().find(|one| one.key == key).unwrap().clone();
    assert_eq!((shown("queue.plain").value.as_str(), shown("queue.plain").default.as_str()), ("weight=1", "none"));
    assert!(shown("queue.plain").origin.ends_with("config.toml:14"), "{}", shown("queue.plain").origin);
    let value = shown("queue.all").value;
    assert_eq!(value.split(',').count(), QUEUE_KEYS.len(), "{value}");
    // It would be the same queue, written so.
    let written: Vec<String> = value
        .split(',')
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap();
            let plain = value.parse::<u64>().is_ok() || value == "true";
            if plain { format!("{key} = {value}\n") } else { format!("{key} = \"{value}\"\n") }
        })
        .collect();
    let again = load(&format!("[[queue]]\nname = \"all\"\n{}", written.concat()), &[], &[]).unwrap();
    assert_eq!(again.queues()[&"all".parse().unwrap()], spec);
}

#[test]
fn everything_that_can_not_be_meant_is_named_with_its_place_and_the_nearest_key() {
    for (text, says, hint) in [
        (
            "[store]\n\n  durablity = \"full\"",
            "config.toml:3:3: there is no setting 'store.durablity'",
            "did you mean store.durability?",
        ),
        ("[store]\ndurability = \"fast\"", "config.toml:2:14: store.durability: 'fast' is neither", ""),
        ("cpus = 3", "config.toml:1:1: 'cpus' stands outside", "sections are"),
        ("[host]\ncpus = [1]", "config.toml:2:8: 'host.cpus' takes a number from 1", ""),
        ("[users]\nadmins = [1]", "config.toml:2:10: 'users.admins' takes a list of strings", ""),
        ("[users]\nadmins = [\"a b\"]", "config.toml:2:10: users.admins: 'a b' is neither", ""),
        ("[users]\nprivacy = \"closed\"", "neither \"open\" nor \"own\"", ""),
        ("[host\n", "config.toml:1:", ""),
        ("[host]\ncpus = 0", "not a number of cpus", ""),
        ("[hots]\n", "there is no setting 'hots.*'", ""),
        ("[store]\nretention = true", "config.toml:2:13: 'store.retention' takes a duration", ""),
        (
            "[scheduler]\nweights = { priority = 1, prioritty = 2 }",
            "config.toml:2:27: scheduler.weights: there is no weight 'prioritty'; did you mean priority?",
            "",
        ),
        (
            "[scheduler.weights]\nage_per_hour = -1",
            "config.toml:2:1: scheduler.weights: age_per_hour: '-1' is not a",
            "",
        ),
        ("[scheduler]\nplanned_starts = 257", "config.toml:2:18: scheduler.planned_starts: '257' is not a", ""),
        ("[scheduler]\noffer_time = \"500ms\"", "'500ms' is not from 1s to 1d", ""),
        ("[users]\nshares = [\"@lab=2\"]", "config.toml:2:10: users.shares: '@lab' is a group", ""),
        ("[[queues]]\nname = \"a\"", "config.toml:1:3: there is no [[queues]]", "did you mean [[queue]]?"),
        ("[queue]\nname = \"a\"", "config.toml:1:2: each queue is a table of its own", "write [[queue]]"),
        ("[[queue]]\nweight = 2", "config.toml:1:1: this queue has no name", "write name"),
        ("[[queue]]\nname = \"A\"", "config.toml:2:8: 'A' can not be the name of a queue", ""),
        (
            "[[queue]]\nname = \"a\"\nmax_runing = 4",
            "config.toml:3:1: there is no 'max_runing' of a queue",
            "did you mean max_running?",
        ),
        ("[[queue]]\nname = \"a\"\nmax_time = \"12\\u2009h\"", "config.toml:3:12: max_time: '12", ""),
        ("[[queue]]\nname = \"a\"\ncpus = [1]", "config.toml:3:8: 'cpus' takes a number", ""),
        ("[[queue]]\nname = \"a\"\non_preempt = \"stop\"", "on_preempt: 'stop' is not requeue, cancel", ""),
        (
            "[[queue]]\nname = \"a\"\n\n[[queue]]\nname = \"b\"\nmax_time = \"1h\"\ntime = \"2h\"",
            "config.toml:4:1: queue b: a time limit of 2h00m is more than max_time of 1h00m",
            "",
        ),
        (
            "[[queue]]\nname = \"a\"\n\n[[queue]]\nname = \"a\"",
            "config.toml:5:8: two queues are named 'a'",
            "config.toml:1",
        ),
    ] {
        let mistakes = load(text, &[], &[]).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
        assert!(mistakes[0].message.contains(says), "{text}: {mistakes:?}");
        assert!(mistakes[0].hint.clone().unwrap_or_default().contains(hint), "{text}");
    }
    let mistakes = load("[host]\ncpus = 0\n[store]\nx = 1\n", &[("QRM_HOST_MEMORY", "many")], &["a", "b=1"]);
    let mistakes = mistakes.unwrap_err();
    let lines: Vec<Option<u64>> = mistakes.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [Some(2), Some(4), None, None, None]);
    assert!(refusal(&mistakes).hint.unwrap().contains("4 more"));
    let queue = load("", &[], &["queue.night.weight=2"]).unwrap_err();
    assert!(queue[0].message.contains("queues are set in the file alone"), "{queue:?}");
    let missing = Sources { file: Some("/nowhere/c.toml".into()), ..Sources::default() };
    assert!(missing.load(&|_| None).is_err());
}
