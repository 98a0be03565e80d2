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
    page.section("EXAMPLE");
    page.example(EXAMPLE);
    page.see_also(&["qrm(1)", "qrmd(8)", "qrm-doctor(1)"]);
    page.done()
}

const EXAMPLE: &str = "[store]\nretention = \"30d\"\n\n[host]\ncpus = 14\nmemory = \"56G\"";

#[test]
fn the_example_of_the_page_is_a_configuration() {
    let world = crate::world::World::new();
    let file = world.dir().join("config/qrm/config.toml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, EXAMPLE).unwrap();
    let machine = world.run("--json status").json()["machine"].clone();
    assert_eq!((machine["cpus"].as_u64(), machine["mem_bytes"].as_u64()), (Some(14), Some(56 << 30)));
}
