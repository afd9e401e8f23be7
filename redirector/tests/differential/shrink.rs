//! Makes a case that fails smaller, as long as it fails.

use crate::{
    case::Case,
    compare::{self, Difference},
    reference::Packet,
    stage::Stage,
};

/// The smallest case found in which packets after these routes differ, and how.
pub fn shrink(stage: &mut Stage, mut case: Case, difference: Difference) -> (Case, Difference) {
    let end = difference.index.map_or(case.packets.len(), |index| index + 1);
    case.packets.truncate(end);
    let Some((mut case, mut difference)) = fails(stage, &case).map(|difference| (case, difference)) else {
        panic!("differs, but not again: {}", difference.text)
    };
    case.packets.truncate(difference.index.map_or(end, |index| index + 1));
    // By halves, then one by one: first the packets, then the routes, then the bytes.
    let mut step = case.packets.len() / 2;
    while step > 0 {
        let mut begin = 0;
        while begin < case.packets.len() {
            let mut smaller = case.clone();
            smaller.packets.drain(begin..(begin + step).min(case.packets.len()));
            if !keep_if_fails(stage, smaller, &mut case, &mut difference) {
                begin += step;
            }
        }
        step /= 2;
    }
    for index in (0..case.routes.len()).rev() {
        let mut smaller = case.clone();
        smaller.routes.remove(index);
        keep_if_fails(stage, smaller, &mut case, &mut difference);
    }
    for index in 0..case.packets.len() {
        for simpler in simpler(&case.packets[index]) {
            let mut smaller = case.clone();
            smaller.packets[index] = simpler;
            keep_if_fails(stage, smaller, &mut case, &mut difference);
        }
    }
    (case, difference)
}

fn keep_if_fails(stage: &mut Stage, smaller: Case, case: &mut Case, difference: &mut Difference) -> bool {
    match fails(stage, &smaller) {
        Some(found) => {
            (*case, *difference) = (smaller, found);
            true
        }
        None => false,
    }
}

/// How the packets of a case differ, each looked at by itself.
pub fn fails(stage: &mut Stage, case: &Case) -> Option<Difference> {
    stage.publish(case.sets());
    compare::one_by_one(stage, &case.packets).err()
}

/// The same packet with less in it.
fn simpler(packet: &Packet) -> Vec<Packet> {
    let cut = |length: usize| {
        let mut packet = packet.clone();
        packet.bytes.truncate(length);
        packet
    };
    let mut all: Vec<Packet> =
        (1..8).rev().map(|bit| cut(packet.bytes.len() - (packet.bytes.len() >> bit))).collect();
    all.push(Packet { mark: 0, ..packet.clone() });
    all.push(Packet { gso_size: 0, ..packet.clone() });
    all
}
