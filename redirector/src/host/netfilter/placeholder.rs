//! What is asked of netfilter, until `host/netfilter` can answer: every answer here is that there is nothing.

use anyhow::Result;

use super::NetfilterMode;

/// Removes our table; whether there was one.
///
/// # Errors
///
/// The kernel's.
pub fn remove_table() -> Result<bool> {
    Ok(false)
}

/// What our table does, if it is there.
///
/// # Errors
///
/// The kernel's.
pub fn table_installed() -> Result<Option<NetfilterMode>> {
    Ok(None)
}

/// The chains of others that translate addresses.
///
/// # Errors
///
/// The kernel's.
pub fn nat_present() -> Result<Vec<String>> {
    Ok(Vec::new())
}

/// The chains at INPUT whose policy is to drop.
///
/// # Errors
///
/// The kernel's.
pub fn dropping_inputs() -> Result<Vec<String>> {
    Ok(Vec::new())
}

/// The rules of others that set or read bits of a mark.
///
/// # Errors
///
/// The kernel's.
pub fn mark_users(_mask: u32) -> Result<Vec<String>> {
    Ok(Vec::new())
}

/// The virtual services of IPVS.
pub fn ipvs_services() -> Vec<String> {
    Vec::new()
}
