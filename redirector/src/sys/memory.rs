//! Memory that was needed for a while goes back to the kernel. What the programs' types and a hundred thousand routes take while
//! they are read is many times what stays, and glibc keeps it as long as anything of it is in use.

/// Lets all threads take memory from one place: of several, each would keep its own remains. Called before there are threads.
pub fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number, and nobody else is there.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives back what is free.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it touches only what nobody has.
    unsafe {
        libc::malloc_trim(0);
    }
}
