//! Keeps a program's memory near to what it uses.

#[cfg(target_env = "gnu")]
use std::ffi::c_int;

/// `M_ARENA_MAX` of mallopt(3), glibc.
#[cfg(target_env = "gnu")]
const ARENA_MAX: c_int = -8;

/// How many heaps the C library may keep. Its default is eight for each core, and what one thread
/// frees in its own heap is of no use to the others.
#[cfg(target_env = "gnu")]
const MAX_ARENAS: c_int = 2;

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library has no safe face for it")]
unsafe extern "C" {
    fn mallopt(parameter: c_int, value: c_int) -> c_int;
}

/// Makes the threads of this process share few heaps; to be called first in `main`.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library has no safe face for it")]
pub fn share_heaps() {
    // SAFETY: mallopt(3) takes two numbers by value, may be called at any time, and answers 0 for a
    // parameter that it does not know.
    unsafe { mallopt(ARENA_MAX, MAX_ARENAS) };
}

/// Only glibc keeps a heap for each thread.
#[cfg(not(target_env = "gnu"))]
pub fn share_heaps() {}
