//! Changes, one after another: what they write is what the whole compile gives, and at no time a third thing.

use std::collections::HashMap;

use proptest::{collection::vec, prelude::*, sample::select};
use redirector_common::{Flow, Protocol, entries::port_index};

use super::{
    Compiled, Index, Limits, Origin, Route, RouteSets, compile, flow,
    random::{ORIGINS, any_route, packets, target},
    route,
};
use crate::routes::{
    Prefix, Target,
    live::{Change, Delta, Live, Unused},
};

/// What a test does to the routes of its pool.
#[derive(Clone, Debug)]
enum Step {
    /// Adds the route, or takes it away if it is there.
    Toggle(usize),
    /// Gives it another target.
    Retarget(usize, Target),
    /// Leaves an origin with those of its routes that the bits name.
    Replace(Origin, u16),
    /// Takes away what is unused.
    Tidy,
}

fn steps() -> impl Strategy<Value = (Vec<(Origin, Route)>, Vec<Step>)> {
    let pool = vec((select(&ORIGINS[..]), any_route()), 2..12).prop_map(|routes| {
        let named =
            (0..).zip(routes).map(|(i, (origin, route))| (origin, Route { name: format!("r{i}"), ..route }));
        named.collect::<Vec<_>>()
    });
    pool.prop_flat_map(|pool| {
        let index = 0..pool.len();
        let step = prop_oneof![
            6 => index.clone().prop_map(Step::Toggle),
            2 => (index, target()).prop_map(|(index, target)| Step::Retarget(index, target)),
            2 => (select(&ORIGINS[..]), any::<u16>()).prop_map(|(origin, bits)| Step::Replace(origin, bits)),
            1 => Just(Step::Tidy),
        ];
        (Just(pool), vec(step, 1..16))
    })
}

/// The maps as the agent writes them, and the routes as they should be.
struct Scene {
    live: Live,
    maps: Index,
    sets: RouteSets,
    unused: Unused,
    /// Names by slot, of every route that any slot has had since the last tidying.
    names: HashMap<u32, String>,
}

impl Scene {
    fn new() -> Self {
        Self {
            live: Live::new(Limits::default()),
            maps: Index::new(&Compiled::default()),
            sets: RouteSets::new(),
            unused: Unused::default(),
            names: HashMap::new(),
        }
    }

    /// What a step asks for; `None` where it is to tidy.
    fn change(&self, pool: &[(Origin, Route)], step: &Step) -> Option<Change> {
        let has = |origin: &Origin, route: &Route| {
            self.sets.get(origin).is_some_and(|routes| routes.iter().any(|other| other.name == route.name))
        };
        match step {
            Step::Tidy => None,
            Step::Toggle(index) => {
                let (origin, route) = &pool[*index];
                Some(match has(origin, route) {
                    true => Change::new(*origin, vec![route.name.clone()], Vec::new()),
                    false => Change::new(*origin, Vec::new(), vec![route.clone()]),
                })
            }
            Step::Retarget(index, target) => {
                let (origin, route) = &pool[*index];
                let route = Route { target: target.clone(), ..route.clone() };
                // What is no sound route is no test of this.
                let add = Vec::from_iter(route.canonical().ok());
                Some(Change::new(*origin, Vec::new(), add))
            }
            Step::Replace(origin, bits) => {
                let chosen =
                    pool.iter().enumerate().filter(|(i, (of, _))| of == origin && bits >> i & 1 == 1);
                let routes = chosen.map(|(_, (_, route))| route.clone()).collect();
                Some(self.live.replacement(*origin, routes))
            }
        }
    }

    /// The sets as a change leaves them.
    fn after(&self, change: &Change) -> RouteSets {
        let mut sets = self.sets.clone();
        let routes = sets.entry(change.origin).or_default();
        routes.retain(|route| !change.remove.contains(&route.name));
        for route in &change.add {
            match routes.iter_mut().find(|other| other.name == route.name) {
                Some(other) => *other = Route::clone(route),
                None => routes.push(Route::clone(route)),
            }
        }
        sets
    }

    fn tidy(&mut self) {
        let unused = std::mem::take(&mut self.unused);
        for write in removals(&unused) {
            assert!(write.apply(&mut self.maps), "what is unused stands in the maps: {write:?}");
        }
        for slot in &unused.routes {
            self.names.remove(slot);
        }
        self.live.give_back(&unused);
    }

    fn remember_names(&mut self) {
        self.names.extend(self.live.routes().map(|(slot, route)| (slot, route.route.name.clone())));
    }

    fn winner(&self, flow: &Flow) -> Option<&str> {
        self.maps.route(flow).map(|slot| self.names.get(&slot).map_or("nobody's", |name| name))
    }
}

/// A single write.
#[derive(Clone, Debug)]
enum Write {
    Source(Prefix),
    Prefix(Prefix),
    Word(u32, redirector_common::entries::PortWord),
    RemovePrefix(Prefix),
    RemoveSource(Prefix),
}

impl Write {
    /// Whether it found what it takes away.
    fn apply(&self, maps: &mut Index) -> bool {
        match self {
            Self::Source(prefix) => maps.set_source(prefix),
            Self::Prefix(prefix) => maps.set_prefix(prefix),
            Self::Word(index, word) => maps.set_word(*index, *word),
            Self::RemovePrefix(prefix) => return maps.remove_prefix(prefix),
            Self::RemoveSource(prefix) => return maps.remove_source(prefix),
        }
        true
    }
}

/// The writes of a change in their order.
fn writes(delta: &Delta) -> Vec<Write> {
    let sources = delta.sources.iter().copied().map(Write::Source);
    let prefixes = delta.prefixes.iter().copied().map(Write::Prefix);
    let words = delta.words.iter().map(|(index, word)| Write::Word(*index, *word));
    let removed = delta.removed.iter().copied().map(Write::RemovePrefix);
    sources.chain(prefixes).chain(words).chain(removed).collect()
}

fn removals(unused: &Unused) -> Vec<Write> {
    let prefixes = unused.prefixes.iter().copied().map(Write::RemovePrefix);
    prefixes.chain(unused.sources.iter().copied().map(Write::RemoveSource)).collect()
}

fn index_of(packet: &Flow) -> u32 {
    port_index(packet.family, packet.protocol, packet.destination_port)
}

fn all_packets() -> Vec<Flow> {
    [Protocol::Tcp, Protocol::Udp].into_iter().flat_map(packets).map(flow).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_changes_leaves_what_the_whole_compile_gives((pool, steps) in steps()) {
        let mut scene = Scene::new();
        for step in &steps {
            let Some(change) = scene.change(&pool, step) else {
                scene.tidy();
                continue;
            };
            let sets = scene.after(&change);
            let expected = compile(&sets, &Limits::default());
            let before = scene.live.entries();
            let delta = scene.live.plan(std::slice::from_ref(&change)).map(|plan| plan.commit());
            prop_assert_eq!(delta.is_ok(), expected.is_ok(), "{:?}: {:?}", change, expected.err());
            let Ok(delta) = delta else {
                prop_assert_eq!(scene.live.entries(), before);
                continue;
            };
            if scene.unused.is_in_the_way_of(&delta) {
                scene.tidy();
            }
            for write in writes(&delta) {
                prop_assert!(write.apply(&mut scene.maps), "{:?}", write);
            }
            scene.unused.extend(delta.unused);
            scene.sets = sets;
            scene.remember_names();

            let compiled = expected.expect("it was just seen to be");
            let index = Index::new(&compiled);
            for packet in all_packets() {
                let whole = index.route(&packet).map(|slot| compiled.routes[slot as usize].name.as_str());
                prop_assert_eq!(scene.winner(&packet), whole, "{:?}", packet);
                // A port stays steered; it never is where no route was.
                let word = scene.maps.word(&packet);
                prop_assert!(word.is_steered() || !index.word(&packet).is_steered());
                prop_assert_eq!(word.is_forwarded(), index.word(&packet).is_forwarded());
            }
        }
        // In the end nothing is left over.
        scene.tidy();
        let (words, prefixes, sources) = scene.live.entries();
        prop_assert_eq!(scene.maps.len(), [words.len(), prefixes.len(), sources.len()]);
        let usage = scene.live.usage();
        prop_assert_eq!([usage.prefixes, usage.sources], [prefixes.len() as u32, sources.len() as u32]);
        scene.live.unsteer(|_| true).iter().for_each(|(index, word)| scene.maps.set_word(*index, *word));
        let all: Vec<_> = ORIGINS.iter().map(|origin| scene.live.replacement(*origin, Vec::new())).collect();
        let delta = scene.live.plan(&all).expect("nothing is no tie").commit();
        for write in writes(&delta) {
            prop_assert!(write.apply(&mut scene.maps), "{:?}", write);
        }
        scene.unused.extend(delta.unused);
        scene.tidy();
        scene.live.unsteer(|_| true).iter().for_each(|(index, word)| scene.maps.set_word(*index, *word));
        prop_assert_eq!(scene.maps.len(), [0, 0, 0]);
        prop_assert_eq!(scene.live.usage(), Limits { routes: 0, prefixes: 0, sources: 0, proxies: 0 });
    }

    #[test]
    fn a_plan_that_is_not_committed_never_was((pool, steps) in steps(), other in 0_usize..2) {
        let mut scene = Scene::new();
        for step in &steps {
            let Some(change) = scene.change(&pool, step) else { continue };
            let sets = scene.after(&change);
            let before = (scene.live.entries(), scene.live.usage());
            let first = scene.live.plan(std::slice::from_ref(&change)).map(|plan| plan.delta().clone());
            prop_assert_eq!((scene.live.entries(), scene.live.usage()), before);
            // And the same again is the same.
            let second = scene.live.plan(std::slice::from_ref(&change)).map(|plan| plan.delta().clone());
            prop_assert_eq!(first.is_ok(), second.is_ok());
            if other == 0 && let Ok(plan) = scene.live.plan(std::slice::from_ref(&change)) {
                plan.commit();
                scene.sets = sets;
            }
        }
    }
}

/// A proxy whose number is another's too would have its address overwritten, and be gone with the other.
#[test]
fn what_a_refused_change_leads_to_keeps_its_number() {
    let plan = |live: &mut Live, texts: &[&str]| {
        let routes = texts.iter().map(|text| route(text)).collect();
        let change = live.replacement(Origin::Files, routes);
        live.plan(&[change]).map(|plan| plan.commit()).map_err(|_refusals| ())
    };
    for (target, another) in [("proxy:15001", "proxy:15002"), ("interface:a", "interface:b")] {
        let mut live = Live::new(Limits::default());
        let keep = format!("keep:80={target}");
        plan(&mut live, &[&keep]).expect("one route");
        // It ties, in place of the only route that leads there.
        plan(&mut live, &[&format!("tie:81={target}"), "tied:81=pass"]).expect_err("a tie");
        plan(&mut live, &[&keep, &format!("new:90={another}")]).expect("two routes");
        let mut targets: Vec<u32> = live.routes().map(|(_, slot)| slot.entry.target).collect();
        targets.sort_unstable();
        assert_eq!(targets, [0, 1], "{target} and {another}");
    }
}

proptest! {
    // Each looks at the maps after each single write.
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn while_one_route_changes_every_packet_has_the_old_route_or_the_new((pool, steps) in steps()) {
        let mut scene = Scene::new();
        let packets = all_packets();
        for step in &steps {
            if let Some((_, third)) = look_on(&mut scene, &pool, step, &packets, |writes| writes) {
                prop_assert!(false, "{:?}", third);
            }
        }
    }
}

/// Carries out a step write by write; the first look at the maps by which a packet has neither the old route nor the new.
/// Steps that change several routes are carried out route by route: several routes are not one instant.
fn look_on(
    scene: &mut Scene,
    pool: &[(Origin, Route)],
    step: &Step,
    packets: &[Flow],
    order: impl Fn(Vec<Write>) -> Vec<Write>,
) -> Option<(Write, String)> {
    let mut third = None;
    let changes = match (scene.change(pool, step), step) {
        (None, _) => {
            scene.tidy();
            return None;
        }
        (Some(change), Step::Replace(..)) => {
            let origin = change.origin;
            let one = |remove, add| Change { origin, remove, add };
            let remove = change.remove.into_iter().map(|name| one(vec![name], Vec::new()));
            remove.chain(change.add.into_iter().map(|route| one(Vec::new(), vec![route]))).collect()
        }
        (Some(change), _) => vec![change],
    };
    for change in changes {
        let sets = scene.after(&change);
        let old: Vec<Option<String>> =
            packets.iter().map(|packet| scene.winner(packet).map(str::to_owned)).collect();
        let Ok(plan) = scene.live.plan(std::slice::from_ref(&change)) else { continue };
        let delta = plan.commit();
        scene.sets = sets;
        scene.remember_names();
        if scene.unused.is_in_the_way_of(&delta) {
            scene.tidy();
        }
        let Ok(compiled) = compile(&scene.sets, &Limits::default()) else { continue };
        let index = Index::new(&compiled);
        let new = packets
            .iter()
            .map(|packet| index.route(packet).map(|slot| &*compiled.routes[slot as usize].name));
        let new: Vec<Option<&str>> = new.collect();
        for write in order(writes(&delta)) {
            write.apply(&mut scene.maps);
            for ((packet, old), new) in packets.iter().zip(&old).zip(&new) {
                // A word concerns its port alone, and there are very many.
                if matches!(write, Write::Word(index, _) if index != index_of(packet)) {
                    continue;
                }
                let now = scene.winner(packet);
                if now != old.as_deref() && now != *new && third.is_none() {
                    third = Some((write.clone(), format!("{packet:?}: {old:?}, {now:?}, {new:?}")));
                }
            }
        }
        scene.unused.extend(delta.unused);
    }
    third
}

#[test]
fn in_another_order_packets_meet_a_third_route() {
    let routes = ["a:8=drop", "b:10.96.0.0/12:8=pass", "c:10.0.0.0/8:1-8=pass from 10.96.0.0/12"];
    let pool: Vec<_> = routes.iter().map(|text| (Origin::Files, route(text))).collect();
    let packets = all_packets();
    let mut thirds = 0;
    // Backwards is an order too.
    for mask in 1..8_u16 {
        let mut scene = Scene::new();
        for step in [Step::Replace(Origin::Files, mask), Step::Replace(Origin::Files, 7 ^ mask)] {
            let backwards = |writes: Vec<Write>| writes.into_iter().rev().collect();
            thirds += usize::from(look_on(&mut scene, &pool, &step, &packets, backwards).is_some());
        }
    }
    assert!(thirds > 0, "the order makes no difference");
}
