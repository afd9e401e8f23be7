//! What a program and those that it calls take of the stack, as older kernels count it: a program that is loaded here could be
//! refused there.
//!
//! Before 6.8 every frame counts as a multiple of 32 bytes, and a chain of calls may have 512 (kernel/bpf/verifier.c,
//! check_max_stack_depth); newer kernels round up to 16 where the programs are compiled to machine code.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
};

use object::{
    File, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, Section, SymbolKind,
};

use crate::VERIFIED;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/redirector"));

/// What a chain of calls may take (include/linux/filter.h, MAX_BPF_STACK), in bytes.
const MOST: u32 = 512;

/// What a frame is rounded up to, in bytes.
const STEP: u32 = 32;

#[test]
fn every_chain_of_calls_fits_the_stack_as_older_kernels_count_it() {
    let functions = Functions::read(OBJECT);
    let chains: Vec<_> = functions.programs().map(|place| functions.deepest(place)).collect();
    let names: BTreeSet<_> = chains.iter().map(|chain| chain.functions[0].name.as_str()).collect();
    assert_eq!(names, VERIFIED.map(|(name, _)| name).into(), "the programs");
    println!("bytes the deepest chain of calls, and the frame of each");
    for chain in &chains {
        println!("{chain}");
    }
    let refused = chains.iter().find(|chain| chain.bytes > MOST);
    assert!(refused.is_none(), "more than {MOST} bytes: {}", refused.expect("there is one"));
}

/// Where a function begins: the section's number, and the offset there in bytes.
type Place = (usize, u64);

/// The functions of an object.
struct Functions(BTreeMap<Place, Function>);

struct Function {
    name: String,
    /// Bytes of the stack.
    frame: u32,
    calls: BTreeSet<Place>,
}

/// A function, one that it calls, and so on.
struct Chain<'a> {
    functions: Vec<&'a Function>,
    /// Bytes of the stack as older kernels count them.
    bytes: u32,
}

impl Functions {
    fn read(object: &[u8]) -> Self {
        let file = File::parse(object).expect("the programs are an ELF object");
        let symbols = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() != 0);
        let functions = symbols.map(|symbol| {
            let index = symbol.section_index().expect("a function is in a section");
            let section = file.section_by_index(index).expect("the section is there");
            let code = section
                .data_range(symbol.address(), symbol.size())
                .expect("read the section")
                .expect("the function is within its section");
            let name = symbol.name().expect("the function has a name").to_owned();
            let calls = calls(&file, &section, symbol.address(), code);
            ((index.0, symbol.address()), Function { name, frame: frame(code), calls })
        });
        Self(functions.collect())
    }

    /// Functions that nobody calls and no library brought along: those of sections of their own.
    fn programs(&self) -> impl Iterator<Item = Place> {
        let called: BTreeSet<_> = self.0.values().flat_map(|function| &function.calls).collect();
        let text = called.first().map(|(section, _)| *section);
        self.0.keys().copied().filter(move |(section, _)| Some(*section) != text)
    }

    /// The chain of calls from here that takes most.
    fn deepest(&self, place: Place) -> Chain<'_> {
        let function = &self.0[&place];
        let behind = function.calls.iter().map(|place| self.deepest(*place)).max_by_key(|chain| chain.bytes);
        let (mut functions, mut bytes) = (vec![function], function.frame.max(1).next_multiple_of(STEP));
        if let Some(behind) = behind {
            functions.extend(behind.functions);
            bytes += behind.bytes;
        }
        Chain { functions, bytes }
    }
}

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        let functions = self.functions.iter().map(|function| format!("{} {}", function.name, function.frame));
        write!(formatter, "{:>5} {}", self.bytes, functions.collect::<Vec<_>>().join(" > "))
    }
}

/// An instruction (Documentation/bpf/standardization/instruction-set.rst). The second half of a long one reads as a load of
/// nothing.
struct Instruction {
    code: u8,
    destination: usize,
    source: usize,
    offset: i16,
    immediate: i32,
}

/// Classes: the lowest three bits of a code.
mod class {
    pub const LDX: u8 = 1;
    pub const ST: u8 = 2;
    pub const STX: u8 = 3;
}
const CALL: u8 = 0x85;
const ADD_IMMEDIATE: u8 = 0x07;
const MOVE_REGISTER: u8 = 0xbf;

/// In the place of a call's source: it is not a helper that is called.
const PSEUDO_CALL: usize = 1;

/// The register that points to the end of the frame.
const FRAME: usize = 10;

/// The instructions of a function, of the byte order that most machines have.
fn instructions(code: &[u8]) -> impl Iterator<Item = Instruction> {
    code.as_chunks().0.iter().map(|&[code, registers, low, high, ref immediate @ ..]: &[u8; 8]| Instruction {
        code,
        destination: (registers & 0xf).into(),
        source: (registers >> 4).into(),
        offset: i16::from_le_bytes([low, high]),
        immediate: i32::from_le_bytes(*immediate),
    })
}

/// What the function at this offset of a section calls.
fn calls(file: &File, section: &Section, begin: u64, code: &[u8]) -> BTreeSet<Place> {
    let relocations: BTreeMap<_, _> = section.relocations().collect();
    let at = iter::successors(Some(begin), |at| Some(at + 8));
    let calls =
        at.zip(instructions(code)).filter(|(_, call)| call.code == CALL && call.source == PSEUDO_CALL);
    calls
        .map(|(at, call)| {
            // In instructions, from the one behind the call, or behind the symbol.
            let distance = (i64::from(call.immediate) + 1) * 8;
            let Some(relocation) = relocations.get(&at) else {
                return (section.index().0, at.strict_add_signed(distance));
            };
            let RelocationTarget::Symbol(symbol) = relocation.target() else { panic!("a call of no symbol") };
            let symbol = file.symbol_by_index(symbol).expect("the symbol is there");
            let index = symbol.section_index().expect("what is called is in a section");
            (index.0, symbol.address().strict_add_signed(distance))
        })
        .collect()
}

/// How deep a function reaches into its frame, by loads, stores, and pointers that it makes: in the order of the code, as the
/// compiler makes such a pointer in one go.
fn frame(code: &[u8]) -> u32 {
    // How far behind the end of the frame a register points, if it does.
    let mut pointers = [None; FRAME + 1];
    pointers[FRAME] = Some(0);
    let mut deepest = 0;
    for Instruction { code, destination, source, offset, immediate } in instructions(code) {
        let behind = |register: usize, bytes: i32| pointers[register].map(|pointer: i32| pointer + bytes);
        let (reached, is_written) = match (code & 7, code) {
            (class::LDX, _) => (behind(source, offset.into()), true),
            (class::ST | class::STX, _) => (behind(destination, offset.into()), false),
            (_, ADD_IMMEDIATE) => (behind(destination, immediate), true),
            (_, MOVE_REGISTER) => (behind(source, 0), true),
            (_, CALL) => {
                pointers[..6].fill(None);
                (None, false)
            }
            (_, _) => (None, true),
        };
        if is_written {
            let is_pointer = matches!(code, ADD_IMMEDIATE | MOVE_REGISTER);
            pointers[destination] = reached.filter(|_| is_pointer);
        }
        deepest = deepest.min(reached.unwrap_or(0));
    }
    deepest.unsigned_abs()
}
