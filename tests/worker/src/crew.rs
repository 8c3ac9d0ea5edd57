//! Child processes that touch memory of their own.

use std::{
    io,
    process::{Child, Command, Stdio},
};

/// Children that live until this is dropped.
pub(crate) struct Crew(Vec<Child>);

impl Crew {
    /// Starts `count` copies of this program that touch `bytes` each and then last.
    pub(crate) fn start(count: u32, bytes: usize) -> io::Result<Self> {
        let mut crew = Self(Vec::new());
        for _ in 0..count {
            let mut command = Command::new("/proc/self/exe");
            command.arg(format!("--touch={bytes}")).arg("--for=1000d").stdin(Stdio::null()).stdout(Stdio::null());
            crew.0.push(command.spawn()?);
        }
        Ok(crew)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have been killed by a test before.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
