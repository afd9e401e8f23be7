//! What the image makes of notices.

use netlink_packet_route::link::{InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType};

use super::*;
use crate::host::Link;

const BRIDGE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn link(index: u32, name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.link_layer_type = LinkLayerType::Ether;
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn port(index: u32, name: &str, bridge: u32) -> LinkMessage {
    let mut message = link(index, name);
    message.attributes.push(LinkAttribute::Controller(bridge));
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::PortKind(InfoPortKind::Bridge)]));
    message
}

fn bridge(index: u32, mac: [u8; 6]) -> LinkMessage {
    let mut message = link(index, "bridge");
    message.attributes.push(LinkAttribute::Address(mac.to_vec()));
    message
}

fn come(image: &mut Image, message: LinkMessage) {
    image.apply(&RouteNetlinkMessage::NewLink(message));
}

/// What changed, as number, name of what went and name of what is there.
fn changes(image: &mut Image) -> Vec<(u32, Option<String>, Option<String>)> {
    let next = || image.next_change();
    std::iter::from_fn(next)
        .map(|change| (change.index, change.gone, change.now.map(|now| now.name)))
        .collect()
}

fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[test]
fn a_number_that_another_interface_has_got_tells_of_both() {
    let mut image = Image::default();
    come(&mut image, link(7, "old"));
    assert_eq!(changes(&mut image), [(7, None, some("old"))]);
    image.apply(&RouteNetlinkMessage::DelLink(link(7, "old")));
    come(&mut image, link(7, "new"));
    assert_eq!(changes(&mut image), [(7, some("old"), some("new"))]);
    assert!(image.named("old").is_none() && image.named("new").is_some());
}

#[test]
fn a_notice_that_tells_nothing_new_is_no_change_and_one_of_a_bridge_about_its_port_is_none() {
    let mut image = Image::default();
    come(&mut image, link(7, "eth0"));
    changes(&mut image);
    come(&mut image, link(7, "eth0"));
    let mut from_bridge = link(7, "eth0");
    from_bridge.header.interface_family = AddressFamily::Bridge;
    image.apply(&RouteNetlinkMessage::DelLink(from_bridge));
    assert!(!image.has_changed());
    assert!(image.named("eth0").is_some());
}

#[test]
fn interfaces_that_exchange_their_names_are_found_by_them() {
    let mut image = Image::default();
    for message in [link(1, "a"), link(2, "b"), link(1, "between"), link(2, "a"), link(1, "b")] {
        come(&mut image, message);
    }
    let named = |name| image.named(name).map(|interface| interface.index);
    assert_eq!([named("a"), named("b"), named("between")], [Some(2), Some(1), None]);
}

#[test]
fn the_ports_of_a_bridge_change_with_its_address() {
    let mut image = Image::default();
    come(&mut image, bridge(1, BRIDGE_MAC));
    come(&mut image, port(2, "port", 1));
    come(&mut image, link(3, "other"));
    assert_eq!(image.interface(2).map(|port| port.link), Some(Link::BridgePort(BRIDGE_MAC)));
    changes(&mut image);
    come(&mut image, bridge(1, [2, 0, 0, 0, 0, 9]));
    let indices: Vec<_> = changes(&mut image).into_iter().map(|(index, ..)| index).collect();
    assert_eq!(indices, [1, 2]);
    assert_eq!(image.interface(2).map(|port| port.link), Some(Link::BridgePort([2, 0, 0, 0, 0, 9])));
    come(&mut image, link(2, "port"));
    come(&mut image, bridge(1, BRIDGE_MAC));
    assert_eq!(image.interface(2).map(|port| port.link), Some(Link::Ethernet));
}

#[test]
fn what_is_up_comes_before_what_is_down() {
    let mut image = Image::default();
    come(&mut image, link(1, "down"));
    let mut up = link(2, "up");
    up.header.flags = LinkFlags::Up;
    come(&mut image, up);
    assert_eq!(changes(&mut image), [(2, None, some("up")), (1, None, some("down"))]);
}

#[test]
fn an_address_is_here_as_long_as_one_interface_has_it() {
    use netlink_packet_route::address::{AddressAttribute, AddressMessage};
    let address: IpAddr = [192, 0, 2, 1].into();
    let on = |index| {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.attributes.push(AddressAttribute::Local(address));
        message
    };
    let mut image = Image::default();
    let mut expect = |notice, expected: &[(IpAddr, bool)]| {
        image.apply(&notice);
        assert_eq!(image.take_changed_addresses().collect::<Vec<_>>(), expected);
    };
    expect(RouteNetlinkMessage::NewAddress(on(1)), &[(address, true)]);
    expect(RouteNetlinkMessage::NewAddress(on(1)), &[]);
    expect(RouteNetlinkMessage::NewAddress(on(2)), &[(address, true)]);
    expect(RouteNetlinkMessage::DelAddress(on(1)), &[(address, true)]);
    expect(RouteNetlinkMessage::DelAddress(on(2)), &[(address, false)]);
}
