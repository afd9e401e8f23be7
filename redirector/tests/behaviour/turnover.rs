//! Connections that the proxy closes, one after the other: their 4-tuples come again while the proxy still has them
//! in TIME_WAIT.

use crate::support::{
    Listener, World, at_each_hook, in_world, is_soak,
    turnover::{Turnover, turn_over},
    world::{FAMILIES, PORT, PROXY_PORT},
};

#[test]
fn connections_that_the_proxy_closes_never_fail() {
    at_each_hook(|world| {
        reuse_ports(world);
        let _proxy = FAMILIES
            .map(|family| world.serve_proxy(Listener::proxy((family.loopback(), PROXY_PORT)).closing()));
        let agent = world.agent(&["all:8080=proxy:15001"]);
        for family in FAMILIES {
            for (kind, address) in [("foreign", family.service()), ("local", family.node())] {
                let turnover = turn_over(&world.client, (address, PORT).into(), "proxy", count());
                report(&format!("{family:?}, {kind} destination"), &turnover);
            }
        }
        let summary = agent.stop();
        assert_eq!(summary.connections("all"), u64::from(4 * count()), "none was tried twice");
        assert_eq!([summary.unavailable("all"), summary.lost("all")], [0, 0]);
    });
}

/// The rate is a matter of the whole count: on a busy machine a small one says nothing.
#[test]
fn connections_that_the_proxy_closes_are_as_many_as_to_a_direct_listener() {
    if !is_soak() {
        println!("skipped: the rate is compared with REDIRECTOR_SOAK=1");
        return;
    }
    /// In turns, and the best of each counts: others use this machine too.
    const ROUNDS: u32 = 6;
    for family in FAMILIES {
        in_world(|world| {
            reuse_ports(world);
            let _direct = world.serve_proxy(Listener::ordinary((family.node(), PORT + 1)).closing());
            let _proxy = world.serve_proxy(Listener::proxy((family.loopback(), PROXY_PORT)).closing());
            let _agent = world.agent(&["all:8080=proxy:15001"]);
            let cases = [
                ("direct", family.node(), PORT + 1),
                ("foreign", family.service(), PORT),
                ("local", family.node(), PORT),
            ];
            let mut best = [0.0_f64; 3];
            for _ in 0..ROUNDS {
                for ((case, address, port), best) in cases.into_iter().zip(&mut best) {
                    let turnover =
                        turn_over(&world.client, (address, port).into(), "proxy", count() / ROUNDS);
                    *best = best.max(report(&format!("{family:?}, {case}"), &turnover));
                }
            }
            let [direct, foreign, local] = best;
            println!("{family:?}: direct {direct:.0}/s, foreign {foreign:.0}/s, local {local:.0}/s");
            assert!(
                foreign.min(local) >= 0.8 * direct,
                "steered connections are less than 0.8 of direct ones"
            );
        });
    }
}

/// How many connections to each destination.
pub fn count() -> u32 {
    if is_soak() { 60_000 } else { 3_000 }
}

/// Has the client use each of few ports many times.
pub fn reuse_ports(world: &World) {
    let ports = if is_soak() { "32768 60999" } else { "40000 40499" };
    world.client.set_sysctl("ipv4/ip_local_port_range", ports);
    world.client.set_sysctl("ipv4/tcp_tw_reuse", "1");
}

/// Prints what became of them, asserts that none failed, and returns their rate.
#[track_caller]
pub fn report(what: &str, turnover: &Turnover) -> f64 {
    let rate = turnover.rate();
    println!("{what}: {} connections, {} failed, {rate:.0}/s", turnover.count, turnover.failures.len());
    assert!(turnover.failures.is_empty(), "{what}: of {}: {:#?}", turnover.count, turnover.failures);
    rate
}
