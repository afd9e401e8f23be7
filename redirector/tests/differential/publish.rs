//! Puts routes into the maps, by the changes that the agent writes, and tells the reference of them.

use std::collections::HashMap;

use aya::maps::{Array, MapData};
use redirector::{
    host::{self, Link},
    routes::{Origin, Proxy, Route, Target},
};
use redirector_common::{
    Family,
    entries::{PortWord, port_index},
};

use crate::{
    generate::interface,
    reference::{Action, Rule},
    stage::Stage,
};

impl Stage {
    /// Puts these routes in place of those that there are. What ties is left out. Returns what is there now.
    pub fn publish(&mut self, sets: Vec<(Origin, Vec<Route>)>) -> Vec<(Origin, Route)> {
        let words = std::mem::take(&mut self.led_to_itself);
        self.datapath.set_words(&words).expect("write PORTS");
        for (origin, mut routes) in sets {
            let delta = loop {
                let change = self.live.replacement(origin, routes.clone());
                match self.live.plan(&[change]) {
                    Ok(plan) => break plan.commit(),
                    Err(refusals) => {
                        routes.pop().unwrap_or_else(|| panic!("no routes are refused: {refusals:?}"));
                    }
                }
            };
            self.datapath.apply(&delta).expect("write the routes");
            // No packet is on its way.
            self.datapath.remove_unused(&delta.unused).expect("remove what is unused");
            self.live.give_back(&delta.unused);
        }
        let interfaces = host::interfaces().expect("list interfaces");
        let hop =
            interfaces.into_iter().find(|candidate| candidate.name == interface::HOP).expect("it is there");
        let named = |name: &str| match name {
            interface::HOP => Some(hop.clone()),
            // The programs only know that it has no Ethernet header.
            interface::BARE => Some(host::Interface { link: Link::Layer3, ..hop.clone() }),
            _ => None,
        };
        self.datapath.set_next_hops(named).expect("write the next hops");
        let proxies: HashMap<_, _> = self.live.proxies().map(|(proxy, slot)| (*proxy, slot)).collect();
        let slot_of = |route: &Route| match route.target {
            Target::Proxy(at) => proxies[&Proxy { protocol: route.protocol, at }],
            _ => 0,
        };
        let routes = self.live.routes();
        self.host.rules.replace(routes.map(|(slot, s)| (s.origin, slot, &*s.route, slot_of(&s.route))));
        self.host.rules.to_itself = None;
        if self.setting.own_port {
            self.lead_own_port();
        }
        self.live.routes().map(|(_, slot)| (slot.origin, (*slot.route).clone())).collect()
    }

    /// What the compiler never writes: a route names its own proxy's port. The programs do not rely on that.
    fn lead_own_port(&mut self) {
        let rules = &self.host.rules.rules;
        let own_port = |rule: &Rule| match rule.action {
            Action::Proxy { address, .. } => Some(address.port),
            _ => None,
        };
        let Some(index) = rules.iter().position(|rule| own_port(rule).is_some()) else { return };
        let Some(port) = own_port(&rules[index]) else { return };
        let map = self.datapath.ebpf().map_mut("PORTS").expect("the programs have PORTS");
        let mut map: Array<&mut MapData, PortWord> = Array::try_from(map).expect("PORTS is an array");
        for family in [Family::V4, Family::V6] {
            let place = port_index(family, rules[index].protocol, port);
            self.led_to_itself.push((place, map.get(&place, 0).expect("read PORTS")));
            let word = PortWord::direct(rules[index].slot).with_steered();
            map.set(place, word, 0).expect("write PORTS");
        }
        self.host.rules.to_itself = Some(index);
    }
}
