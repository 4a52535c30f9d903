//! Settings that keep a program's memory close to what it uses.

#[cfg(target_env = "gnu")]
use std::ffi::c_int;

/// `M_ARENA_MAX` of mallopt(3), glibc.
#[cfg(target_env = "gnu")]
const ARENA_MAX: c_int = -8;

/// How many heaps the C library may keep. Its default is eight for each core, and what one thread
/// frees in its own heap is of no use to the others.
#[cfg(target_env = "gnu")]
const MAX_ARENAS: c_int = 2;

/// `M_MMAP_THRESHOLD` of mallopt(3), glibc.
#[cfg(target_env = "gnu")]
const MMAP_THRESHOLD: c_int = -3;

/// What is as large as this goes back to the system when it is freed. By default the C library
/// raises this limit, up to 32 MiB, to the largest block that was freed; what lies between blocks
/// in use is then kept.
#[cfg(target_env = "gnu")]
const LARGE_BYTES: c_int = 1 << 20;

/// `M_TRIM_THRESHOLD` of mallopt(3), glibc.
#[cfg(target_env = "gnu")]
const TRIM_THRESHOLD: c_int = -1;

/// So much may be free at the end of a heap. The default is 128 KiB once the limit above is set:
/// then heaps shrink and grow all the time.
#[cfg(target_env = "gnu")]
const FREE_BYTES: c_int = 4 << 20;

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library has no safe face for it")]
unsafe extern "C" {
    fn mallopt(parameter: c_int, value: c_int) -> c_int;
}

/// Makes the threads of this process share few heaps, which keep no large blocks; to be called
/// first in `main`.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library has no safe face for it")]
pub fn share_heaps() {
    let limits =
        [(ARENA_MAX, MAX_ARENAS), (MMAP_THRESHOLD, LARGE_BYTES), (TRIM_THRESHOLD, FREE_BYTES)];
    for (parameter, value) in limits {
        // SAFETY: mallopt(3) takes two numbers by value, may be called at any time, and answers 0
        // for a parameter that it does not know.
        unsafe { mallopt(parameter, value) };
    }
}

/// Only glibc keeps a heap for each thread.
#[cfg(not(target_env = "gnu"))]
pub fn share_heaps() {}

/// What the buffers that the MySQL driver keeps may be: so many, each with so many bytes. By
/// default it keeps 128 of up to 4 MiB, and all of them grow to the largest row in time.
const DRIVER_BUFFERS: [(&str, &str); 2] =
    [("MYSQL_ASYNC_BUFFER_POOL_CAP", "32"), ("MYSQL_ASYNC_BUFFER_SIZE_CAP", "131072")];

/// Makes the MySQL driver keep few and small buffers, unless the environment says otherwise; to be
/// called in `main` before any thread is there.
#[expect(unsafe_code, reason = "the driver is told by its environment alone")]
pub fn limit_driver_buffers() {
    for (name, value) in DRIVER_BUFFERS {
        if std::env::var_os(name).is_none() {
            // SAFETY: only this thread is there, so none reads the environment meanwhile.
            unsafe { std::env::set_var(name, value) };
        }
    }
}
