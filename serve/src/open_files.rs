//! How many files, and thereby connections, this process may have open.
//!
//! Container runtimes start processes with a soft limit of 1,024, which is there for programs that use select(2), and a hard one that
//! is far higher: whoever needs more raises the soft one himself.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard one (`RLIMIT_NOFILE`, getrlimit(2)), and says what it is then.
pub fn raise() -> io::Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard.try_into().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise().expect("a process may do that");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("it can be read");
        assert_eq!(soft, hard);
        assert_eq!(u64::try_from(limit).expect("it fits"), hard);
    }
}
