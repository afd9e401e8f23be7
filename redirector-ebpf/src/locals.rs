//! Whether an address is this host's.

use redirector_common::{Address, Family, entries::locals_slot};

use crate::maps::{LOCALS, settings};

/// Whether the address is known as this host's own. The answer `false` may be wrong: nothing may depend on it
/// but the cost.
#[inline(always)]
pub fn contains(family: Family, address: &Address) -> bool {
    let Some(settings) = settings() else { return false };
    LOCALS.get(locals_slot(family, address, settings.locals_seed)).is_some_and(|local| local == address)
}
