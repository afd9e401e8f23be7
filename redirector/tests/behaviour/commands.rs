//! `redirector check`, `status` and `cleanup` beside the firewalls and the NAT of others.

use crate::support::{
    at_each_hook,
    command::paste,
    in_world,
    snapshot::Snapshot,
    world::{FAMILIES, PORT},
};

#[test]
fn nat_firewalls_and_marks_of_others_are_told() {
    in_world(|world| {
        let node = &world.node;
        node.output("nft add table inet filter");
        node.output("nft add chain inet filter input { type filter hook input priority 0 ; policy drop ; }");
        let check = world.redirector("check");
        check.assert_code(0).assert_says(&["WARN", "input-drop", "nftables: inet filter input"]);
        let fix =
            check.line(&["fix: nft insert rule inet filter input meta mark"]).expect("the rule is named");
        paste(node, fix.trim_start().trim_start_matches("fix: "));
        node.output("nft add table ip nat");
        node.output("nft add chain ip nat prerouting { type nat hook prerouting priority -100 ; }");
        node.output("nft add chain ip nat postrouting { type filter hook postrouting priority 0 ; }");
        node.output("nft add rule ip nat postrouting meta mark set 0x6000");
        let check = world.redirector("check");
        check
            .assert_code(0)
            .assert_says(&[
                "OK",
                "nat-present",
                "NAT, which the agent keeps away",
                "nftables: ip nat prerouting",
            ])
            .assert_says(&["WARN", "mark-overlap", "nftables: ip nat postrouting"]);
    });
}

#[test]
fn the_table_against_nat_is_told_and_taken_away() {
    at_each_hook(|world| {
        let node = &world.node;
        let _proxy = world.proxy();
        node.output("nft add table ip nat");
        node.output("nft add chain ip nat prerouting { type nat hook prerouting priority -100 ; }");
        let before = Snapshot::take(node);
        let agent = world.agent(&["all:8080=proxy:15001"]);
        for family in FAMILIES {
            world.assert_reaches((family.service(), PORT), "proxy");
        }
        world.redirector("status").assert_code(0).assert_says(&[
            "OK",
            "netfilter",
            "table redirector (identity)",
        ]);
        agent.kill();
        world.redirector("cleanup").assert_code(0);
        before.assert_unchanged(&Snapshot::take(node));
    });
}
