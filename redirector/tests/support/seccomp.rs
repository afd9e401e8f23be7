//! Filters of system calls, from their names.

use seccompiler::{BpfProgram, TargetArch, compile_from_json};
use serde_json::{Value, json};

/// Allows these, and refuses all others. Sockets it allows of these address families only.
pub fn allow(names: &[String], families: &[i32]) -> BpfProgram {
    let names = names.iter().filter(|name| *name != "socket");
    let mut calls: Vec<_> = names.map(|name| json!({ "syscall": name })).filter(is_known).collect();
    calls.extend(families.iter().map(|family| {
        json!({ "syscall": "socket", "args": [{ "index": 0, "type": "dword", "op": "eq", "val": family }] })
    }));
    filter(&calls, json!({ "errno": libc::EPERM }), json!("allow"))
}

/// Refuses these, and allows all others.
pub fn refuse(names: &[&str]) -> BpfProgram {
    let calls: Vec<_> = names.iter().map(|name| json!({ "syscall": name })).collect();
    filter(&calls, json!("allow"), json!({ "errno": libc::EPERM }))
}

/// Whether there is such a system call on this machine, as far as the library knows. Lists name those of all
/// machines.
fn is_known(call: &Value) -> bool {
    try_filter(std::slice::from_ref(call), json!("allow"), json!({ "errno": libc::EPERM })).is_ok()
}

fn filter(calls: &[Value], otherwise: Value, then: Value) -> BpfProgram {
    try_filter(calls, otherwise, then).unwrap_or_else(|error| panic!("a filter of {calls:?}: {error}"))
}

fn try_filter(calls: &[Value], otherwise: Value, then: Value) -> Result<BpfProgram, seccompiler::Error> {
    let filter = json!({ "mismatch_action": otherwise, "match_action": then, "filter": calls });
    let document = json!({ "process": filter }).to_string();
    let architecture =
        TargetArch::try_from(std::env::consts::ARCH).expect("a machine that seccompiler knows");
    let mut filters = compile_from_json(document.as_bytes(), architecture)?;
    Ok(filters.remove("process").expect("it is called so"))
}
