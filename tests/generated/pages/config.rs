//! qrm-config(5): every setting, with what it takes, what it is without a word, and what it means.

use crate::roff::Page;

pub fn page() -> String {
    let mut page = Page::new("qrm-config", 5, "the settings of qrm");
    page.section("SYNOPSIS");
    page.text("`$XDG_CONFIG_HOME/qrm/config.toml`, else `~/.config/qrm/config.toml`");
    page.section("DESCRIPTION");
    page.text(
        "A file in TOML with a section for each family of settings. All of them are optional, and so is the file. It is read \
         when the daemon starts, and again with `qrm daemon reload` or SIGHUP.",
    );
    page.text(
        "A setting is what the last of these says: what is built in; the file; a variable of the environment in which the \
         daemon is started; `qrmd --set KEY=VALUE`. The variable of `store.durability` is `QRM_STORE_DURABILITY`: in capitals, with underscores for \
         dots; an empty one is none. `QRM_CONFIG`, or `qrmd --config`, names another file, which must then be there.",
    );
    page.text(
        "A setting that does not exist and a value that can not be meant are errors that name the file, line and column and what was \
         probably meant: no daemon is started, and one that runs goes on as it was. `qrm config check` says all of them, `qrm \
         config show` every setting with where it came from.",
    );
    page.text("Durations are written as `90s`, `15m`, `2h` or `1d12h`, sizes as `512M` or `10G`, in binary units.");
    page.section("SETTINGS");
    for key in qrm_daemon::config::KEYS {
        let reload =
            if key.at_reload { "A reload uses it." } else { "It needs a restart, or `qrm daemon reload --exec`." };
        let text = [
            key.means,
            key.more,
            &format!("Not set, it is `{}`. The variable is `{}`. {reload}", key.default, key.variable()),
        ];
        let text = text.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        page.item(key.name, key.takes, &text);
    }
    page.section("QUEUES");
    page.text(
        "Each `[[queue]]` is a queue, with its `name`: at most 32 of a-z, 0-9, - and _, beginning with a letter or digit. It is there \
         before the first job, and a reload changes it; `qrm queue set` does not. One that the file does not name any more is removed, \
         or, as long as jobs are in it, stays as it is and can be changed as any other. What of `default` is said holds for \
         jobs that name no queue. Queues stand in the file alone: no variable sets them, and neither does `--set`.",
    );
    page.text("Beside the name can be said of a queue:");
    for key in qrm_daemon::config::QUEUE_KEYS {
        page.item(key.name, key.takes, &format!("{} Not said, it is `{}`.", key.means, key.default));
    }
    page.section("EXAMPLE");
    page.example(EXAMPLE);
    page.see_also(&["qrm(1)", "qrmd(8)", "qrm-doctor(1)", "qrm-scheduling(7)"]);
    page.done()
}

const EXAMPLE: &str = r#"[store]
retention = "30d"

[host]
cpus = 14
memory = "56G"

[scheduler]
# What was used lately does not count; priority and age do.
weights = { fair_share = 0 }

[[queue]]
name = "night"
max_running = 4
max_time = "12h"
preemptible = true"#;

#[test]
fn the_example_of_the_page_is_a_configuration() {
    let world = crate::world::World::new();
    let file = world.dir().join("config/qrm/config.toml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, EXAMPLE).unwrap();
    let machine = world.run("--json status").json()["machine"].clone();
    assert_eq!((machine["cpus"].as_u64(), machine["mem_bytes"].as_u64()), (Some(14), Some(56 << 30)));
    assert_eq!(world.run("--json queue list").json()[1]["name"], "night");
    let shown = world.run("--json config show").json();
    let weights = shown["settings"].as_array().unwrap().iter().find(|one| one["key"] == "scheduler.weights");
    assert_eq!(weights.unwrap()["value"], "priority=10,age_per_hour=10,fair_share=0");
}
