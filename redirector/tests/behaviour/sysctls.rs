//! Settings of the host that redirection meets, and does not change.

use crate::support::{
    Connection, Listener, World, at_each_hook, in_world,
    snapshot::Snapshot,
    turnover::turn_over,
    world::{FAMILIES, PORT, PROXY_PORT},
};

#[test]
fn syn_cookies_lead_to_the_proxy_and_older_connections_go_on() {
    at_each_hook(|world| {
        let _real = world.real_server(PORT);
        let mut older: Vec<_> = FAMILIES
            .into_iter()
            .map(|family| {
                Connection::open(&world.client, (family.server(), PORT).into()).expect("connect before")
            })
            .collect();
        let listeners = || FAMILIES.map(|family| Listener::proxy((family.loopback(), PROXY_PORT)).closing());
        let proxy = listeners().map(|listener| world.serve_proxy(listener));
        // Every SYN is answered by a cookie, of which nothing is kept.
        world.node.set_sysctl("ipv4/tcp_syncookies", "2");
        let agent = world.agent(&["all:8080=proxy:15001"]);
        for family in FAMILIES {
            for address in [family.service(), family.node()] {
                let turnover = turn_over(&world.client, (address, PORT).into(), "proxy", 500);
                assert!(turnover.failures.is_empty(), "{address}: {:#?}", turnover.failures);
                older.iter_mut().for_each(Connection::assert_echoes);
            }
        }
        assert_eq!(proxy.each_ref().map(|server| server.accepted()), [1000, 1000]);
        let summary = agent.stop();
        assert_eq!([summary.connections("all"), summary.lost("all")], [2000, 0]);
        assert_eq!(summary.packets("steered", "syn-cookie"), 1000, "one for each foreign destination");
        assert!(summary.packets("passed", "not-new") > 0, "what is older is told from cookies");
    });
}

#[test]
fn a_dual_stack_listener_takes_syn_cookies_of_both_families() {
    at_each_hook(|world| {
        let any = std::net::Ipv6Addr::UNSPECIFIED;
        let _proxy = world.serve_proxy(Listener::proxy((any, PROXY_PORT)).dual_stack().closing());
        world.node.set_sysctl("ipv4/tcp_syncookies", "2");
        let agent = world.agent(&["all:8080=proxy:15001"]);
        for family in FAMILIES {
            let turnover = turn_over(&world.client, (family.service(), PORT).into(), "proxy", 100);
            assert!(turnover.failures.is_empty(), "{:#?}", turnover.failures);
        }
        assert_eq!(agent.stop().packets("steered", "syn-cookie"), 200);
    });
}

#[test]
fn reverse_path_filters_and_marks_of_any_setting_let_connections_through() {
    at_each_hook(|world| {
        let _proxy = world.proxy();
        let agent = world.agent(&["all:8080=proxy:15001"]);
        for scope in ["all", "to-client"] {
            for src_valid_mark in ["0", "1"] {
                for rp_filter in ["0", "1", "2"] {
                    for fwmark in ["0", "1"] {
                        println!(
                            "{scope}: src_valid_mark={src_valid_mark} rp_filter={rp_filter}, \
                             tcp_fwmark_accept=fwmark_reflect={fwmark}"
                        );
                        world.node.set_sysctl(&format!("ipv4/conf/{scope}/src_valid_mark"), src_valid_mark);
                        world.node.set_sysctl(&format!("ipv4/conf/{scope}/rp_filter"), rp_filter);
                        for name in ["ipv4/tcp_fwmark_accept", "ipv4/fwmark_reflect", "ipv6/fwmark_reflect"] {
                            world.node.set_sysctl(name, fwmark);
                        }
                        assert_connections_go_both_ways(world);
                    }
                }
            }
            world.node.set_sysctl(&format!("ipv4/conf/{scope}/src_valid_mark"), "0");
            world.node.set_sysctl(&format!("ipv4/conf/{scope}/rp_filter"), "0");
        }
        assert_eq!(agent.stop().lost("all"), 0);
    });
}

#[test]
fn no_sysctl_is_changed_and_no_conntrack_begins() {
    at_each_hook(|world| {
        let before = Snapshot::take(&world.node).sysctls();
        let _proxy = world.proxy();
        let agent = world.agent(&["all:8080=proxy:15001"]);
        assert_connections_go_both_ways(world);
        before.assert_unchanged(&Snapshot::take(&world.node).sysctls());
        let tracked =
            world.node.run(|| std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count"));
        assert!(
            tracked.is_err() || tracked.is_ok_and(|count| count.trim() == "0"),
            "no connection is tracked"
        );
        agent.stop();
        before.assert_unchanged(&Snapshot::take(&world.node).sysctls());
    });
}

#[track_caller]
fn assert_connections_go_both_ways(world: &World) {
    for family in FAMILIES {
        for address in [family.service(), family.node()] {
            let to = (address, PORT).into();
            let mut connection = Connection::open(&world.client, to)
                .unwrap_or_else(|error| panic!("{to} is not answered: {error}"));
            assert_eq!(connection.answer.name, "proxy");
            assert_eq!(connection.answer.destination, to);
            connection.assert_echoes();
        }
    }
}

#[test]
fn a_host_without_forwarding_or_a_way_to_the_destination_steers_all_the_same() {
    in_world(|world| {
        world.node.set_sysctl("ipv4/ip_forward", "0");
        world.node.set_sysctl("ipv6/conf/all/forwarding", "0");
        world.node.ip("route delete default via 10.0.3.2\nroute delete default via 2001:db8:3::2");
        let _proxy = world.proxy();
        let _agent = world.agent(&["all:8080=proxy:15001"]);
        assert_connections_go_both_ways(world);
    });
}
