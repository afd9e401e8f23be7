//! The command lines of what is deployed are ones that this build knows.

use clap::Parser as _;
use serde_json::Value;

use crate::Arguments;

const UNIT: &str = include_str!("../../../deploy/redirector.service");
const DOCKERFILE: &str = include_str!("../../../deploy/Dockerfile");
const MANIFEST: &str = include_str!("../../../deploy/kubernetes.yaml");

#[test]
fn the_units_command_lines_are_known() {
    let lines = UNIT.lines().filter_map(|line| line.strip_prefix("ExecStart")?.split_once('='));
    let lines: Vec<_> = lines.map(|(_, line)| line.split(' ').collect()).collect();
    assert_eq!(lines.len(), 2, "ExecStartPre and ExecStart");
    lines.into_iter().for_each(assert_known);
}

#[test]
fn the_images_command_line_is_known() {
    let list = |instruction| {
        let line = DOCKERFILE.lines().find_map(|line| line.strip_prefix(instruction));
        serde_json::from_str::<Vec<&str>>(line.expect("it is there")).expect("a list")
    };
    assert_known([list("ENTRYPOINT "), list("CMD ")].concat());
}

#[test]
fn the_manifests_command_line_is_known() {
    let documents: Vec<Value> = serde_saphyr::from_multiple(MANIFEST).expect("it is YAML");
    let arguments =
        documents.iter().find_map(|document| document.pointer("/spec/template/spec/containers/0/args"));
    let arguments = arguments.and_then(Value::as_array).expect("a list").iter();
    let arguments = arguments.map(|argument| argument.as_str().expect("a word"));
    assert_known(["redirector"].into_iter().chain(arguments).collect());
}

#[test]
fn the_guides_command_lines_are_known() {
    for guide in [
        include_str!("../../../docs/quick-start.md"),
        include_str!("../../../docs/operations.md"),
        include_str!("../../../README.md"),
    ] {
        // What follows `--` in a line of kubectl's is for the pod.
        let lines = guide.lines().filter_map(|line| line.strip_prefix("# "));
        let lines = lines.map(|line| line.split_once(" -- /").map_or(line, |(_, inside)| inside));
        let lines: Vec<_> = lines.filter(|line| line.starts_with("redirector ")).map(words).collect();
        assert!(!lines.is_empty());
        lines.iter().for_each(|line| assert_known(line.iter().map(String::as_str).collect()));
    }
}

/// The words of a line, some of which are between quotation marks.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().expect("there is one").push(character),
        }
    }
    words
}

#[track_caller]
fn assert_known(line: Vec<&str>) {
    if let Err(error) = Arguments::try_parse_from(&line) {
        panic!("{line:?}: {error}");
    }
}
