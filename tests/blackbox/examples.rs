//! The examples that need nothing but a shell, run as their READMEs say.
//! What they print must be what those show.

use crate::world::World;
use serde_json::json;
use std::path::Path;

/// What a README shows as the output of its script.
fn shown(readme: &Path) -> String {
    let text = std::fs::read_to_string(readme).unwrap();
    let (_, rest) = text.split_once("```text\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_pipeline_prints_what_its_readme_shows() {
    let world = World::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cli/examples/pipeline");
    let qrm = world.program("qrm");
    let mut run = world.at(&folder.join("run.sh"));
    run.env("QRM_BIN", Path::new(qrm.get_program()).parent().unwrap()).env("TMPDIR", world.dir());
    let output = run.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), shown(&folder.join("README.md")), "{output:?}");
    world.run("wait 4");
    let states = ["1", "2", "3", "4"].map(|id| world.show(id)["state"].clone());
    assert_eq!(states, [json!("completed"), json!("completed"), json!("completed"), json!("cancelled")]);
    assert_eq!(world.show("2")["tasks"]["total"], 4);
}
