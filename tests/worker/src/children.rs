//! Child processes that touch memory of their own.

use std::{
    io,
    process::{Child, Command, Stdio},
};

/// Child processes that run until this is dropped.
pub(crate) struct Children(Vec<Child>);

impl Children {
    /// Starts `count` copies of this program, each of which touches `bytes` and keeps running.
    pub(crate) fn start(count: u32, bytes: usize) -> io::Result<Self> {
        let mut children = Self(Vec::new());
        for _ in 0..count {
            let mut command = Command::new("/proc/self/exe");
            command.arg(format!("--touch={bytes}")).arg("--for=1000d").stdin(Stdio::null()).stdout(Stdio::null());
            children.0.push(command.spawn()?);
        }
        Ok(children)
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // A test may have killed it already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
