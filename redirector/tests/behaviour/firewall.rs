//! What the agent reads of netfilter, and tables of its name that it did not make.

use redirector::host::{
    Netfilter, NetfilterMode,
    netfilter::{dropping_inputs, ipvs_services, mark_users, nat_present, remove_table, table_installed},
};

use crate::support::{
    Netns, in_world,
    nat::TOOLS,
    world::{FAMILIES, PORT},
};

const MARK: u32 = 0x2000;

#[test]
fn nat_is_named_after_its_tool_and_our_own_is_not_nat() {
    for tool in TOOLS {
        in_world(|world| {
            let node = &world.node;
            let present = || node.run(nat_present).expect("look for NAT");
            assert_eq!(present(), [""; 0]);
            let _agent = world.agent_beside_nat("identity", &["8080=proxy:15001"]);
            assert_eq!(present(), [""; 0]);
            for (count, family) in (1..).zip(FAMILIES) {
                tool.translate(node, (family.service(), PORT).into(), (family.server(), PORT).into());
                let present = present();
                assert_eq!(present.len(), count, "{present:?}");
                assert!(present.contains(&tool.name(family).to_owned()), "{present:?}");
            }
        });
    }
    in_world(|world| {
        // NAT of what leaves is none of our business; without a rule it is NAT all the same.
        world.node.output("nft add table ip other");
        world.node.output("nft add chain ip other out { type nat hook postrouting priority 100 ; }");
        assert_eq!(world.node.run(nat_present).expect("look for NAT"), [""; 0]);
        world.node.output("nft add table inet other");
        world.node.output("nft add chain inet other in { type nat hook prerouting priority 0 ; }");
        world.node.output("iptables-legacy -t nat -L -n");
        let present = world.node.run(nat_present).expect("look for NAT");
        assert_eq!(present, ["nftables: inet other in", "iptables-legacy: ip nat"]);
        assert_eq!(world.node.run(ipvs_services), [""; 0]);
    });
}

#[test]
fn chains_that_refuse_input_are_named() {
    in_world(|world| {
        let node = &world.node;
        let dropping = || node.run(dropping_inputs).expect("look for policies");
        node.output("iptables-nft -P FORWARD DROP");
        node.output("nft add table inet fw");
        node.output("nft add chain inet fw in { type filter hook input priority 0 ; policy accept ; }");
        node.output("nft add table bridge fw");
        node.output("nft add chain bridge fw in { type filter hook input priority 0 ; policy drop ; }");
        assert_eq!(dropping(), [""; 0]);
        node.output("ip6tables-nft -P INPUT DROP");
        assert_eq!(dropping(), ["ip6tables-nft: ip6 filter INPUT"]);
        node.output("nft chain inet fw in { policy drop ; }");
        assert_eq!(dropping().len(), 2, "{:?}", dropping());
        assert!(dropping().contains(&"nftables: inet fw in".to_owned()));
        node.output("nft flush ruleset");

        // A last rule that refuses everything is as good as a policy.
        let nftables = ("nftables: inet fw in", "nft add rule inet fw in");
        let iptables = ("iptables-nft: ip filter INPUT", "iptables-nft -A INPUT");
        for ((name, add), refusal, refuses) in [
            (nftables, "drop", true),
            (nftables, "counter reject with icmpx type admin-prohibited", true),
            (nftables, "tcp dport 22 drop", false),
            (nftables, "accept", false),
            (iptables, "-j REJECT", true),
            (iptables, "-j DROP", true),
            (iptables, "-p tcp -j REJECT", false),
            (iptables, "-m mark --mark 1 -j DROP", false),
        ] {
            node.output("nft add table inet fw");
            node.output("nft add chain inet fw in { type filter hook input priority 0 ; }");
            node.output(&format!("{add} {refusal}"));
            assert_eq!(dropping(), if refuses { vec![name] } else { Vec::new() }, "{add} {refusal}");
            node.output("nft flush ruleset");
        }
        node.output("nft add table inet fw");
        node.output("nft add chain inet fw in { type filter hook input priority 0 ; }");
        node.output("nft add rule inet fw in drop");
        node.output("nft insert rule inet fw in accept");
        node.output("nft add rule inet fw in accept");
        assert_eq!(dropping(), [""; 0], "the last rule decides");
    });
}

#[test]
fn rules_that_use_our_bit_of_the_mark_are_found_and_no_others() {
    let rows: &[(bool, &str)] = &[
        (true, "nft add rule inet t c meta mark & 0x2000 == 0x2000 accept"),
        (true, "nft add rule inet t c meta mark & 0xff00 == 0x0200 accept"),
        (true, "nft add rule inet t c meta mark 0x1 accept"),
        (true, "nft add rule inet t c meta mark { 0x1, 0x2 } accept"),
        (true, "nft add rule inet t c meta mark 0x1-0x2 accept"),
        (true, "nft add rule inet t c meta mark set 0x1"),
        (true, "nft add rule inet t c meta mark set meta mark or 0x2000"),
        (true, "nft add rule inet t c meta mark set meta mark and 0xff"),
        (true, "nft add rule inet t c meta mark set ct mark"),
        (true, "nft add rule inet t c ct mark & 0x2000 == 0x0 accept"),
        (true, "nft add rule inet t c ct mark set meta mark"),
        (true, "nft add rule inet t c meta mark set meta mark xor 0x2000"),
        (false, "nft add rule inet t c meta mark & 0x4000 == 0x4000 accept"),
        (false, "nft add rule inet t c meta mark set meta mark or 0x4000"),
        (false, "nft add rule inet t c meta mark set meta mark xor 0x8000"),
        (false, "nft add rule inet t c meta mark set meta mark and 0xffffbfff"),
        (false, "nft add rule inet t c ct mark set ct mark or 0x80000"),
        (false, "nft add rule inet t c meta l4proto 6 accept"),
        (false, "nft add rule inet t c meta priority set 0x2000"),
        (true, "iptables-nft -t mangle -A PREROUTING -m mark --mark 0x1 -j ACCEPT"),
        (true, "iptables-nft -t mangle -A PREROUTING -m mark --mark 0x2000/0x2000 -j ACCEPT"),
        (true, "iptables-nft -t mangle -A PREROUTING -j MARK --set-mark 0x1"),
        (true, "ip6tables-nft -t mangle -A PREROUTING -j MARK --set-xmark 0x0/0xf000"),
        (true, "iptables-nft -t mangle -A PREROUTING -j CONNMARK --restore-mark"),
        (true, "iptables-nft -t mangle -A PREROUTING -m connmark --mark 0x2000/0x2000"),
        // kube-proxy's and Tailscale's.
        (false, "iptables-nft -t mangle -A PREROUTING -j MARK --or-mark 0x4000"),
        (false, "iptables-nft -t mangle -A PREROUTING -j MARK --set-xmark 0x40000/0xff0000"),
        (false, "ip6tables-nft -t mangle -A PREROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN"),
        (false, "iptables-nft -t mangle -A PREROUTING -m connmark --mark 0x80000/0xff0000"),
        (
            false,
            "iptables-nft -t mangle -A PREROUTING -j CONNMARK --restore-mark --nfmask 0xff0000 --ctmask 0xff0000",
        ),
    ];
    in_world(|world| {
        let node = &world.node;
        let _agent = world.agent_beside_nat("notrack", &["8080=proxy:15001"]);
        for (uses, rule) in rows {
            node.output("nft add table inet t");
            node.output("nft add chain inet t c { type filter hook prerouting priority -150 ; }");
            node.output(rule);
            let users = node.run(|| mark_users(MARK)).expect("look for users of the mark");
            let expected = match rule.split(' ').next() {
                _ if !uses => Vec::new(),
                Some("nft") => vec!["nftables: inet t c"],
                Some("iptables-nft") => vec!["iptables-nft: ip mangle PREROUTING"],
                _ => vec!["ip6tables-nft: ip6 mangle PREROUTING"],
            };
            assert_eq!(users, expected, "{rule}");
            node.output("nft flush ruleset");
        }
    });
}

#[test]
fn a_table_of_somebody_else_with_our_name_is_left_alone_and_told() {
    in_world(|world| {
        world.node.output("nft add table ip redirector");
        let theirs = world.node.output("nft list ruleset");
        for mode in [NetfilterMode::Identity, NetfilterMode::Notrack] {
            let error = world.node.run(|| Netfilter::install(mode, MARK, true).err().expect("it is taken"));
            assert!(format!("{error:#}").contains("nft table ip redirector is not ours"), "{error:#}");
        }
        assert_eq!(installed(&world.node), None);
        assert!(!world.node.run(remove_table).expect("nothing is ours"));
        assert_eq!(world.node.output("nft list ruleset"), theirs);
    });
}

#[test]
fn a_table_that_outlives_its_agent_is_repaired_taken_over_and_cleaned_up() {
    in_world(|world| {
        let node = &world.node;
        let install =
            |mode| node.run(move || Netfilter::install(mode, MARK, false)).expect("install a table");
        let rules = || node.output("nft -a list ruleset");
        drop(install(NetfilterMode::Notrack));
        assert_eq!(installed(node), Some(NetfilterMode::Notrack));
        // The next agent's takes its place.
        let mut netfilter = install(NetfilterMode::Identity);
        assert_eq!(installed(node), Some(NetfilterMode::Identity));
        let whole = node.output("nft list ruleset");

        for harm in ["flush ruleset", "delete table ip6 redirector", "flush chain ip redirector identity"] {
            node.output(&format!("nft {harm}"));
            assert_ne!(node.output("nft list ruleset"), whole);
            node.run(|| netfilter.repair()).expect("repair the table");
            assert_same_tables(&node.output("nft list ruleset"), &whole);
        }
        let repaired = rules();
        node.run(|| netfilter.repair()).expect("there is nothing to repair");
        assert_eq!(rules(), repaired, "what is whole is left alone");

        drop(netfilter);
        assert_eq!(installed(node), Some(NetfilterMode::Identity));
        assert!(node.run(remove_table).expect("remove the table"));
        assert!(!node.run(remove_table).expect("there is none"));
        assert_eq!(node.output("nft list ruleset"), "");
    });
}

#[test]
fn the_table_of_a_living_agent_is_seen_and_not_cleaned_up() {
    for (mode, installed_as) in [("identity", NetfilterMode::Identity), ("notrack", NetfilterMode::Notrack)] {
        in_world(|world| {
            let _agent = world.agent_beside_nat(mode, &["8080=proxy:15001"]);
            assert_eq!(installed(&world.node), Some(installed_as));
            assert!(!world.node.run(remove_table).expect("it has an owner"));
            assert_eq!(installed(&world.node), Some(installed_as));
        });
    }
}

/// A firewall that lets in nothing but answers: the one rule that steering needs, in each tool.
#[test]
fn behind_an_input_policy_of_drop_one_rule_lets_steered_connections_in() {
    let established = "-m conntrack --ctstate ESTABLISHED,RELATED";
    let marked = "-m mark --mark 0x2000/0x2000";
    for tool in ["iptables-nft", "iptables-legacy", "nft"] {
        println!("{tool}");
        in_world(|world| {
            let _proxy = world.proxy();
            let node = &world.node;
            if tool == "nft" {
                node.output("nft add table inet fw");
                node.output("nft add chain inet fw in { type filter hook input priority 0 ; policy drop ; }");
                node.output("nft add rule inet fw in ct state established,related accept");
            } else {
                for tool in [tool.to_owned(), tool.replacen("ip", "ip6", 1)] {
                    node.output(&format!("{tool} -A INPUT {established} -j ACCEPT"));
                    node.output(&format!("{tool} -P INPUT DROP"));
                }
            }
            let agent = world.agent_beside_nat("auto", &["all:8080=proxy:15001"]);
            let destinations = || FAMILIES.into_iter().flat_map(|family| [family.service(), family.node()]);
            destinations().for_each(|address| world.assert_silent((address, PORT)));
            if tool == "nft" {
                node.output("nft add rule inet fw in meta mark & 0x2000 == 0x2000 accept");
            } else {
                for tool in [tool.to_owned(), tool.replacen("ip", "ip6", 1)] {
                    node.output(&format!("{tool} -A INPUT {marked} -j ACCEPT"));
                }
            }
            destinations().for_each(|address| world.assert_reaches((address, PORT), "proxy"));
            assert!(agent.stop().lost("all") >= 4, "what the firewall dropped shows as lost");
        });
    }
}

fn installed(netns: &Netns) -> Option<NetfilterMode> {
    netns.run(table_installed).expect("look for our table")
}

/// Compares two lists of tables, whose order is that of their making.
#[track_caller]
fn assert_same_tables(one: &str, other: &str) {
    let tables = |text: &str| {
        let mut tables: Vec<String> = text.split("\n}\n").map(str::to_owned).collect();
        tables.sort();
        tables
    };
    assert_eq!(tables(one), tables(other));
}
