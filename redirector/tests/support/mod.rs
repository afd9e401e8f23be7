//! Support for tests in network namespaces: the worlds, and what stands in them.
//!
//! Nothing here has a name outside of this process: namespaces are held by file descriptors and children die with
//! the thread that started them. So tests run side by side, as threads or as processes, and nothing outlives
//! even SIGKILL.
#![allow(dead_code, unused_imports, reason = "every test crate compiles this and uses its own part of it")]

pub mod agent;
mod assertions;
pub mod client;
pub mod command;
pub mod confined;
pub mod datagrams;
pub mod envoy;
pub mod files;
pub mod frames;
pub mod golden;
pub mod http;
pub mod kernel;
pub mod left;
pub mod link;
pub mod napi;
pub mod nat;
pub mod netns;
pub mod openmetrics;
pub mod router;
pub mod seccomp;
pub mod segments;
pub mod server;
pub mod service_manager;
pub mod snapshot;
pub mod summary;
pub mod tags;
pub mod tap;
pub mod tunnel;
pub mod turnover;
pub mod world;

use std::{env, time::Duration};

pub use agent::Agent;
pub use client::{Connection, ask};
pub use envoy::Envoy;
pub use netns::Netns;
pub use server::{Listener, Server};
pub use world::{Hook, World};

/// How long any one event may take. Only a test that fails waits so long; one that was built for an emulated machine, longer.
pub const DEADLINE: Duration =
    Duration::from_secs(if option_env!("REDIRECTOR_EMULATED").is_some() { 90 } else { 15 });

/// How long a connection that nobody is to answer is watched. An answer takes well under a millisecond.
pub const QUIET: Duration = Duration::from_millis(300);

/// Runs a test in a world of its own.
///
/// Where namespaces or programs are not to be had the test is skipped, and says so; under CI it fails.
pub fn in_world(test: impl FnOnce(&World)) {
    in_world_at(Hook::Auto, test);
}

/// Runs a test once for each kind of hook that the kernel has, every time in a world of its own.
pub fn at_each_hook(test: impl Fn(&World)) {
    for hook in [Hook::Tcx, Hook::Clsact] {
        in_world_at(hook, &test);
    }
}

/// Runs a test in a world of its own whose agents attach to hooks of one kind.
pub fn in_world_at(hook: Hook, test: impl FnOnce(&World)) {
    if !nix::unistd::geteuid().is_root() {
        assert!(
            env::var_os("CI").is_none(),
            "these tests need root with CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_BPF"
        );
        println!("skipped: needs root");
        return;
    }
    if hook == Hook::Tcx && !kernel::has_tcx() {
        println!("not at tcx, which this kernel does not have");
        return;
    }
    test(&World::new(hook));
}

/// Whether the whole counts are asked for.
pub fn is_soak() -> bool {
    env::var_os("REDIRECTOR_SOAK").is_some_and(|value| value == "1")
}
