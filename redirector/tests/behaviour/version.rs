//! Which build this is, and what shells need to complete its command line.

use crate::support::{World, in_world};

#[test]
fn version_says_what_build_it_is_for_people_and_for_programs() {
    in_world(|world: &World| {
        let version = world.redirector("version");
        version.assert_code(0).assert_says(&["redirector", env!("CARGO_PKG_VERSION")]);
        version.assert_says(&["map layout", "1"]);
        let json = world.redirector("version -o json");
        let document: serde_json::Value = serde_json::from_str(&json.assert_code(0).stdout).expect("JSON");
        assert_eq!(document["version"], 1);
        assert_eq!(document["redirector"], env!("CARGO_PKG_VERSION"));
        assert_eq!(document["map_layout"], redirector_common::entries::LAYOUT_VERSION);
    });
}

#[test]
fn bash_completes_commands_and_flags() {
    in_world(|world: &World| {
        for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
            let script = world.redirector(&format!("completion {shell}"));
            script.assert_code(0);
            assert!(script.stdout.contains("cleanup") && script.stdout.contains("dry-run"), "{shell}");
        }
        let script = world.redirector("completion bash").stdout;
        // As bash asks: the words, the place of the one that is not complete, and the one before it.
        for (words, expected) in [("redirector cle", "cleanup"), ("redirector cleanup --dry", "--dry-run")] {
            let words: Vec<_> = words.split(' ').collect();
            let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
            let ask = format!(
                "{script}\nCOMP_WORDS=({}) COMP_CWORD={}\n_redirector redirector {last} {before}\necho \"${{COMPREPLY[@]}}\"",
                words.join(" "),
                words.len() - 1
            );
            let output = world.node.command("bash").args(["-c", &ask]).output().expect("run bash");
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{output:?}");
        }
        world.redirector("completion tcsh").assert_code(2);
    });
}
