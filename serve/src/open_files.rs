//! The limit on open files, and thereby on connections, of this process.
//!
//! Container runtimes start processes with a soft limit of 1,024, for programs that use select(2), and a far higher hard limit. A
//! program that needs more raises its soft limit itself.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard limit (`RLIMIT_NOFILE`, getrlimit(2)) and returns it.
pub fn raise() -> io::Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard.try_into().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_limit() {
        let limit = raise().expect("a process may raise its soft limit");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limits can be read");
        assert_eq!(soft, hard);
        assert_eq!(u64::try_from(limit).expect("it fits"), hard);
    }
}
