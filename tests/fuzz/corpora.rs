//! The corpora of the fuzz targets as ordinary tests: every file of them, and changes of those.
//! It refuses to know what must hold; that is in `properties.rs`.

// A test's failure is its report.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

mod properties;

use properties::Property;

struct Corpus {
    name: &'static str,
    holds: Property,
    files: Vec<(PathBuf, Vec<u8>)>,
}

static CORPORA: LazyLock<Vec<Corpus>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let read = |(name, holds): (&'static str, Property)| {
        let folder = folder.join(name);
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "{} is empty", folder.display());
        let files = paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
        Corpus { name, holds, files }
    };
    properties::ALL.into_iter().map(read).collect()
});

/// Each file, with whether it was taken. Its name is in the output of a test that fails.
fn all(name: &str) {
    let corpus = CORPORA.iter().find(|c| c.name == name).unwrap();
    let mut taken = 0;
    for (path, bytes) in &corpus.files {
        println!("{}", path.display());
        taken += usize::from((corpus.holds)(bytes));
    }
    assert!(taken > 0, "nothing of the corpus '{name}' is taken, so that little of the reader is seen");
    assert!(taken < corpus.files.len(), "nothing of the corpus '{name}' is refused");
}

#[test]
fn frames_never_end_the_process_and_read_back_as_written() {
    all("frame");
}

#[test]
fn filters_never_end_the_process_and_negate_cleanly() {
    all("filter");
}

#[test]
fn jobs_never_end_the_process_and_read_back_as_written() {
    all("job");
}

#[test]
fn plans_never_end_the_process_and_read_back_as_written() {
    all("plan");
}

#[test]
fn snapshots_never_end_the_process_and_read_back_as_written() {
    all("snapshot");
}

#[test]
fn every_corpus_has_a_property_and_every_property_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let names = |folder: &str, rest: &str| -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.map(|name| name.trim_end_matches(rest).to_owned()).collect();
        names.sort();
        names
    };
    let mut properties: Vec<&str> = properties::ALL.iter().map(|(name, _)| *name).collect();
    properties.sort_unstable();
    assert_eq!(names(folder.join("corpus").to_str().unwrap(), ""), properties);
    assert_eq!(names(folder.join("targets").to_str().unwrap(), ".rs"), properties);
}

/// A small change of a file.
#[derive(Clone, Debug)]
enum Change {
    Set(usize, u8),
    Insert(usize, u8),
    Cut(usize, usize),
    Repeat(usize, usize),
    Digits(usize, u64),
}

fn change() -> impl Strategy<Value = Change> {
    let syntax = prop::sample::select(b"\"\\{}[],:=<>~!.-%0\0\n\xff ".to_vec());
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<usize>(), syntax).prop_map(|(at, byte)| Change::Insert(at, byte)),
        (any::<usize>(), 0usize..40).prop_map(|(at, len)| Change::Cut(at, len)),
        (any::<usize>(), 0usize..40).prop_map(|(at, len)| Change::Repeat(at, len)),
        (any::<usize>(), prop_oneof![Just(0), Just(u64::MAX), Just(i64::MAX as u64), any::<u64>()])
            .prop_map(|(at, number)| Change::Digits(at, number)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let place = |at: usize| at % (bytes.len() + 1);
        match *change {
            Change::Set(at, byte) => {
                let at = place(at);
                if let Some(old) = bytes.get_mut(at) {
                    *old = byte;
                }
            }
            Change::Insert(at, byte) => bytes.insert(place(at), byte),
            Change::Cut(at, len) => drop(bytes.drain(place(at)..(place(at) + len).min(bytes.len()))),
            Change::Repeat(at, len) => {
                let part = bytes[place(at)..(place(at) + len).min(bytes.len())].to_vec();
                bytes.splice(place(at)..place(at), part);
            }
            // Another number where one is: few random changes would keep a text well-formed.
            Change::Digits(at, number) => {
                let from = place(at);
                let Some(first) = (from..bytes.len()).find(|i| bytes[*i].is_ascii_digit()) else { continue };
                let last = (first..bytes.len()).find(|i| !bytes[*i].is_ascii_digit()).unwrap_or(bytes.len());
                bytes.splice(first..last, number.to_string().into_bytes());
            }
        }
    }
    bytes
}

proptest! {
    // What is found is kept as a file of the corpus, and not as a seed of this generator.
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_corpora_never_end_the_process_either(
        corpus in 0..properties::ALL.len(),
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let corpus = &CORPORA[corpus];
        let bytes = &file.get(&corpus.files).1;
        // The fuzzer has time for long ones.
        prop_assume!(bytes.len() < 16_384);
        let bytes = changed(bytes.clone(), &changes);
        (corpus.holds)(&bytes);
    }
}
