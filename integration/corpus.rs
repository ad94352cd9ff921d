//! The corpus of the fuzz targets, replayed: what libFuzzer has once found stays found. The
//! properties are those of the crate `properties`, which the targets call too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The corpus as a whole is bounded: it is part of every clone.
const MAX_CORPUS_BYTES: u64 = 1 << 20;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let directory = corpus().join(target);
    let entries =
        fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let inputs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    assert!(!inputs.is_empty(), "{} has no inputs", directory.display());
    inputs
}

#[track_caller]
fn replay(target: &str) {
    let (_, check) = properties::TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    for input in inputs(target) {
        // Captured by the test, and shown if it fails.
        eprintln!("{}", input.display());
        check(&fs::read(&input).unwrap());
    }
}

#[test]
fn annotations() {
    replay("annotation");
}

#[test]
fn answers_of_the_api() {
    replay("api_answer");
}

#[test]
fn build_ids() {
    replay("build_id");
}

#[test]
fn bus_messages() {
    replay("bus");
}

#[test]
fn choices_of_genie() {
    replay("genie");
}

#[test]
fn configurations() {
    replay("configuration");
}

#[test]
fn definitions() {
    replay("definition");
}

#[test]
fn delegates() {
    replay("delegate");
}

#[test]
fn device_infos() {
    replay("device_info");
}

#[test]
fn manifests() {
    replay("manifest");
}

#[test]
fn multus_caches() {
    replay("multus_cache");
}

#[test]
fn nft_listings() {
    replay("nft");
}

#[test]
fn pod_resources() {
    replay("pod_resources");
}

#[test]
fn prev_results() {
    replay("prev_result");
}

#[test]
fn records() {
    replay("record");
}

#[test]
fn requests() {
    replay("request");
}

#[test]
fn results() {
    replay("result");
}

/// A target is a function, an executable, and a directory of inputs, all of one name.
#[test]
fn every_target_has_its_executable_and_its_corpus() {
    let functions: BTreeSet<String> =
        properties::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let manifest = fs::read_to_string(corpus().with_file_name("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let executables = manifest["bin"].as_array().unwrap().iter();
    let executables: BTreeSet<String> =
        executables.map(|bin| bin["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(executables, functions);
    let directories = fs::read_dir(corpus()).unwrap();
    let directories: BTreeSet<String> =
        directories.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(directories, functions);
    for name in &functions {
        let target =
            fs::read_to_string(corpus().with_file_name("targets").join(format!("{name}.rs")))
                .unwrap();
        assert!(target.contains(&format!("properties::{name}(bytes)")), "{target}");
    }
}

#[test]
fn the_corpus_is_small() {
    let files = properties::TARGETS.iter().flat_map(|(name, _)| inputs(name));
    let bytes: u64 = files.map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes < MAX_CORPUS_BYTES, "{bytes} bytes");
}
