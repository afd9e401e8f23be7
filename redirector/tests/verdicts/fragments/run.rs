//! Fragments that the program is given one after the other, and what of them is written down.

use std::time::Duration;

use aya::maps::{HashMap, MapData};
use redirector::routes::{
    NextHop,
    live::{Delta, Unused},
};
use redirector_common::entries::{FragmentEntry, FragmentKey};

use super::parts::{PAYLOAD, Parts};
use crate::{
    packet::{Packet, Segment},
    stage::{MARK, Stage, write_next_hops},
    table::Expected,
};

/// Runs fragments one after the other, and reports all that differ.
pub struct Run<'a> {
    pub stage: &'a mut Stage,
    identification: u16,
    steps: usize,
    wrong: Vec<String>,
}

impl<'a> Run<'a> {
    /// None yet.
    pub fn new(stage: &'a mut Stage) -> Self {
        Self { stage, identification: 0, steps: 0, wrong: Vec::new() }
    }

    /// A number that no packet of the test has yet.
    pub fn identification(&mut self) -> u16 {
        self.identification += 1;
        self.identification
    }

    /// A packet that is none of those before.
    pub fn parts(&mut self, segment: Segment) -> Parts {
        let identification = self.identification();
        Parts::of(Segment { payload: &PAYLOAD, ..segment }, identification)
    }

    /// The next fragment, and what it is to cause.
    pub fn step(&mut self, name: &str, packet: &Packet, expected: &Expected) {
        self.run(name, packet, 0x10, expected);
    }

    /// The same of one that carries our mark.
    pub fn marked_step(&mut self, name: &str, packet: &Packet, expected: &Expected) {
        self.run(name, packet, MARK, expected);
    }

    fn run(&mut self, name: &str, packet: &Packet, mark: u32, expected: &Expected) {
        self.steps += 1;
        let found =
            self.stage.run("tc_ingress", packet, mark).unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = self.stage.effects(packet, mark, expected);
        if found != expected {
            self.wrong
                .push(format!("step {}, {name}\n  expected {expected:?}\n  found    {found:?}", self.steps));
        }
    }

    /// Fails if one caused anything else.
    pub fn finish(self) {
        println!("{} fragments", self.steps);
        assert!(self.wrong.is_empty(), "{} differ:\n{}", self.wrong.len(), self.wrong.join("\n"));
    }
}

impl Stage {
    /// What is written down.
    pub fn fragments(&mut self) -> HashMap<&mut MapData, FragmentKey, FragmentEntry> {
        let map = self.datapath.ebpf().map_mut("FRAGMENTS").expect("the programs have FRAGMENTS");
        HashMap::try_from(map).expect("FRAGMENTS is a hash")
    }

    /// Has the next hop of a route go, as the agent does, and another interface take its slot at once.
    pub fn replace_next_hop(&mut self, route: &str, interface: &str) {
        let slot = self.target(route);
        let unused = Unused { next_hops: vec![slot], ..Unused::default() };
        self.datapath.remove_unused(&unused).expect("remove the next hop");
        let hop = NextHop { interface: interface.to_owned(), via: None };
        let delta = Delta { next_hops: vec![(slot, hop)], ..Delta::default() };
        self.datapath.apply(&delta).expect("write another next hop");
        write_next_hops(&mut self.datapath);
    }

    /// Makes all that is written down older.
    pub fn age(&mut self, by: Duration) {
        let mut map = self.fragments();
        let entries: Vec<_> = map.iter().collect::<Result<_, _>>().expect("read FRAGMENTS");
        for (key, entry) in entries {
            let time = entry.time.wrapping_sub(by.as_nanos() as u64);
            map.insert(key, FragmentEntry { time, ..entry }, 0).expect("write FRAGMENTS");
        }
    }
}
