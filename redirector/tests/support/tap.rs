//! Somebody else's program on the node's interface: copies every packet that it sees to a link of its own, where
//! the test reads it.

use aya::{
    Ebpf,
    programs::{
        LinkOrder, SchedClassifier, TcAttachType,
        tc::{NlOptions, TcAttachOptions},
    },
};
use nix::net::if_::if_nametoindex;
use object::{
    BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, Symbol, SymbolSection},
};

use super::{Netns, World, frames::Wire, kernel::has_tcx};

/// Where the other program is attached, seen from an agent that came before or comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// First of all TCX programs that are there.
    TcxFirst,
    /// Behind all TCX programs that are there.
    TcxLast,
    /// A filter of the clsact qdisc of this priority, of which 1 sees packets first.
    Clsact(u16),
}

impl Place {
    /// Whether this kernel has it.
    pub fn exists(self) -> bool {
        matches!(self, Self::Clsact(_)) || has_tcx()
    }
}

/// The program, and the far end of its link.
pub struct Tap {
    node: Netns,
    ebpf: Option<Ebpf>,
    /// What the program saw.
    pub wire: Wire,
}

impl Tap {
    /// Attaches it to the ingress of the node's interface to the client. Later programs see every packet too.
    pub fn attach(world: &World, place: Place) -> Self {
        Self::attach_with(world, place, TCX_NEXT)
    }

    /// Attaches one that accepts every packet, so that no later program sees any.
    pub fn attach_accepting(world: &World, place: Place) -> Self {
        Self::attach_with(world, place, TCX_PASS)
    }

    fn attach_with(world: &World, place: Place, verdict: i32) -> Self {
        let far = Netns::new("tap");
        world.node.ip(&format!(
            "link add tap type veth peer name tap netns {}
             link set tap addrgenmode none
             link set tap up",
            far.path()
        ));
        far.ip("link set tap addrgenmode none\nlink set tap up");
        if matches!(place, Place::Clsact(_)) {
            // An agent may have made it.
            world.node.try_output("tc qdisc add dev to-client clsact");
        }
        let wire = Wire::open(&far, "tap");
        // aya finds interfaces, and detaches, in the calling thread's namespace.
        let ebpf = world.node.run(|| attach(place, verdict));
        Self { node: world.node.clone(), ebpf: Some(ebpf), wire }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let ebpf = self.ebpf.take();
        self.node.run(|| drop(ebpf));
        // The namespace of its far end takes it along only some time after it is gone, and the next tap has the same name.
        self.node.try_output("ip link delete tap");
    }
}

fn attach(place: Place, verdict: i32) -> Ebpf {
    let tap = if_nametoindex("tap").expect("find the tap");
    let mut ebpf = Ebpf::load(&program(tap, verdict)).expect("load the tap's object");
    let program = ebpf.program_mut("tap").expect("the object has the program");
    let program: &mut SchedClassifier = program.try_into().expect("it is a classifier");
    program.load().expect("load the tap's program");
    let options = match place {
        Place::TcxFirst => TcAttachOptions::TcxOrder(LinkOrder::first()),
        Place::TcxLast => TcAttachOptions::TcxOrder(LinkOrder::last()),
        Place::Clsact(priority) => TcAttachOptions::Netlink(NlOptions { priority, ..NlOptions::default() }),
    };
    program.attach_with_options("to-client", TcAttachType::Ingress, options).expect("attach the tap");
    ebpf
}

/// Verdicts (include/uapi/linux/bpf.h); a clsact filter reads them as TC_ACT_UNSPEC and TC_ACT_OK.
const TCX_NEXT: i32 = -1;
const TCX_PASS: i32 = 0;

/// An ELF object with one program: `bpf_clone_redirect(ctx, tap, 0); return verdict`.
fn program(tap: u32, verdict: i32) -> Vec<u8> {
    let [a, b, c, d] = tap.to_le_bytes();
    let [e, f, g, h] = verdict.to_le_bytes();
    let code: [[u8; 8]; 5] = [
        [0xb7, 2, 0, 0, a, b, c, d],  // r2 = tap
        [0xb7, 3, 0, 0, 0, 0, 0, 0],  // r3 = 0: egress
        [0x85, 0, 0, 0, 13, 0, 0, 0], // call bpf_clone_redirect
        [0xb7, 0, 0, 0, e, f, g, h],  // r0 = verdict
        [0x95, 0, 0, 0, 0, 0, 0, 0],  // exit
    ];
    let code = code.concat();
    let mut object = Object::new(BinaryFormat::Elf, object::Architecture::Bpf, Endianness::Little);
    let section = object.add_section(Vec::new(), b"classifier".to_vec(), SectionKind::Text);
    object.append_section_data(section, &code, 8);
    object.add_symbol(Symbol {
        name: b"tap".to_vec(),
        value: 0,
        size: code.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"Dual MIT/GPL\0", 1);
    object.write().expect("write an ELF object")
}
