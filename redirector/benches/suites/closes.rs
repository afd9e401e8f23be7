//! Connections that the server closes, from one address of the client to one of the server's: their 4-tuples come
//! again while the server still has them in TIME_WAIT.

use crate::{
    figures::Table,
    support::{
        Hook, Listener, World,
        turnover::turn_over,
        world::{FAMILIES, PORT, PROXY_PORT},
    },
};

/// A port that no route names.
const DIRECT_PORT: u16 = PORT + 1;

/// Measures and prints.
pub fn run(quick: bool) {
    // More than the client has ports: each 4-tuple comes about twice.
    let count = if quick { 600 } else { 60_000 };
    println!("closes: {count} connections to each destination, one after the other");
    let mut table =
        Table::new(&["destination", "connections", "failed", "per second", "/ direct", "failures"]);
    for family in FAMILIES {
        let world = World::new(Hook::Auto);
        world.client.set_sysctl("ipv4/tcp_tw_reuse", "1");
        world.client.set_sysctl("ipv4/ip_local_port_range", "32768 60999");
        let _direct = world.serve_proxy(Listener::ordinary((family.node(), DIRECT_PORT)).closing());
        let _proxy = world.serve_proxy(Listener::proxy((family.loopback(), PROXY_PORT)).closing());
        let _agent = world.agent(&["web:8080=proxy:15001"]);
        let mut direct_rate = None;
        for (name, address, port) in [
            ("direct", family.node(), DIRECT_PORT),
            ("redirector, foreign", family.service(), PORT),
            ("redirector, local", family.node(), PORT),
            ("direct, again", family.node(), DIRECT_PORT),
        ] {
            let turnover = turn_over(&world.client, (address, port).into(), "proxy", count);
            let direct = *direct_rate.get_or_insert(turnover.rate());
            table.row([
                format!("{family:?} {name}"),
                turnover.count.to_string(),
                turnover.failures.len().to_string(),
                format!("{:.0}", turnover.rate()),
                format!("{:.2}", turnover.rate() / direct),
                turnover.failures.first().cloned().unwrap_or_default(),
            ]);
        }
    }
    println!("\n{table}");
}
