//! Netlink's attributes: a length, a type, a value, and nothing up to the next multiple of four bytes.
//!
//! Numbers of nfnetlink are in wire order, except where a comment says otherwise.

/// The bits of a type that say how its value is to be read (include/uapi/linux/netlink.h, NLA_TYPE_MASK).
const TYPE_MASK: u16 = 0x3fff;
/// NLA_F_NESTED: the value is made of attributes.
const NESTED: u16 = 0x8000;
/// Length of an attribute without its value, in bytes.
const HEADER: usize = 4;

/// Attributes that are being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an attribute.
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (HEADER + value.len()) as u16;
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(HEADER), 0);
        self
    }

    /// Adds a number.
    pub fn with_u32(self, kind: u16, value: u32) -> Self {
        self.with(kind, &value.to_be_bytes())
    }

    /// Adds a text, which ends in a zero byte.
    pub fn with_text(self, kind: u16, text: &str) -> Self {
        self.with(kind, &[text.as_bytes(), &[0]].concat())
    }

    /// Adds attributes as the value of one.
    pub fn with_nested(self, kind: u16, inner: &Self) -> Self {
        self.with(NESTED | kind, &inner.0)
    }

    /// As they go to the kernel.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Attributes that are being read. What is cut short ends them.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Iterator for Reader<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [a, b, c, d, ..] = *self.0 else { return None };
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(HEADER)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & TYPE_MASK, value))
    }
}

impl<'a> Reader<'a> {
    /// The value of the first attribute of a type.
    pub fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The attributes that an attribute is made of; none where it is not there.
    pub fn nested(self, kind: u16) -> Self {
        Self(self.get(kind).unwrap_or_default())
    }

    /// A number.
    pub fn u32(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// A text, without the zero byte at its end.
    pub fn text(self, kind: u16) -> Option<&'a str> {
        text(self.get(kind)?)
    }
}

/// What stands before the first zero byte.
pub fn text(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes.split(|byte| *byte == 0).next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::{Attributes, Reader};

    #[test]
    fn what_is_written_is_read() {
        let inner = Attributes::new().with(1, &[7]).with_u32(2, 0x0102_0304);
        let written = Attributes::new().with_text(3, "name").with_nested(4, &inner).with(5, &[]);
        assert_eq!(written.bytes().len() % 4, 0);
        let read = Reader(written.bytes());
        assert_eq!(read.text(3), Some("name"));
        assert_eq!(read.get(5), Some(&[][..]));
        assert_eq!(read.nested(4).get(1), Some(&[7][..]));
        assert_eq!(read.nested(4).u32(2), Some(0x0102_0304));
        assert_eq!(read.get(1), None, "it is in another");
        assert_eq!(read.count(), 3);
    }

    #[test]
    fn what_is_cut_short_or_lies_about_its_length_ends_the_attributes() {
        let written = Attributes::new().with(1, &[1; 8]).with(2, &[2; 5]);
        for length in 0..written.bytes().len() {
            let read: Vec<_> = Reader(&written.bytes()[..length]).collect();
            let whole = usize::from(length >= 12) + usize::from(length >= 12 + 9);
            assert_eq!(read.len(), whole, "of {length} bytes");
        }
        for length in 0_u16..4 {
            let mut lying = written.bytes().to_vec();
            lying[..2].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(Reader(&lying).count(), 0, "a length of {length}");
        }
    }
}
