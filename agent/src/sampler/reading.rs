//! Reads the figures of one process.

use std::{io::Read as _, sync::Arc};

use procfs::{
    FromRead as _, ProcError, ProcResult,
    process::{Process, Stat},
};

use super::process_sample::{ProcessKey, ProcessSample};
use crate::cgroup::Container;

/// Units of the kernel's figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Units {
    page_bytes: u64,
    ticks_per_second: u64,
}

impl Units {
    pub(super) fn of_this_kernel() -> Self {
        Self { page_bytes: procfs::page_size(), ticks_per_second: procfs::ticks_per_second().max(1) }
    }
}

/// The last figures of a process; by default all are 0 and the process is alive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    started: u64,
    alive: bool,
    cpu_ms: u64,
    rss_bytes: u64,
    hwm_bytes: u64,
    /// Page faults since the start of the process.
    faults: u64,
}

impl Default for Reading {
    fn default() -> Self {
        Self { started: 0, alive: true, cpu_ms: 0, rss_bytes: 0, hwm_bytes: 0, faults: 0 }
    }
}

impl Reading {
    /// Reads a process; `last` is its previous reading.
    pub(super) fn of(process: &Process, last: Option<Self>, units: &Units) -> ProcResult<Self> {
        let stat = stat(process)?;
        let mut now = Self {
            started: stat.starttime,
            // A zombie with other threads has only lost its main thread.
            alive: !matches!(stat.state, 'Z' | 'X') || stat.num_threads > 1,
            cpu_ms: stat.utime.saturating_add(stat.stime).saturating_mul(1000) / units.ticks_per_second,
            // The same figure as in statm.
            rss_bytes: stat.rss.saturating_mul(units.page_bytes),
            hwm_bytes: last.map_or(0, |last| last.hwm_bytes),
            faults: stat.minflt.saturating_add(stat.majflt),
        };
        let unchanged = last.is_some_and(|last| last.faults == now.faults && last.rss_bytes >= now.rss_bytes);
        if now.alive && !unchanged {
            now.hwm_bytes = hwm_bytes(&file(process, "status")?).max(now.hwm_bytes).max(now.rss_bytes);
        }
        Ok(now)
    }

    pub(super) fn sample(self, pid: i32, container: &Arc<Container>) -> ProcessSample {
        let Self { started, alive, cpu_ms, rss_bytes, hwm_bytes, faults: _ } = self;
        let process = ProcessKey { pid, started };
        ProcessSample { container: Arc::clone(container), process, alive, cpu_ms, rss_bytes, hwm_bytes }
    }
}

/// `/proc/<pid>/cgroup`.
pub(super) fn cgroup(process: &Process) -> ProcResult<String> {
    Ok(String::from_utf8_lossy(&file(process, "cgroup")?).into_owned())
}

/// `VmHWM` in `/proc/<pid>/status`; 0 for a process without memory of its own. `status()` of procfs fails if the name of the
/// process is not UTF-8, and any process may give itself such a name. The kernel escapes line breaks in names, so no name can
/// imitate this line.
fn hwm_bytes(status: &[u8]) -> u64 {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"VmHWM:"));
    let kib = line.and_then(|line| str::from_utf8(line).ok()?.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.map_or(0, |kib: u64| kib.saturating_mul(1024))
}

/// `/proc/<pid>/stat`. procfs panics on one that is not `<pid> (<name>) <state> …`.
fn stat(process: &Process) -> ProcResult<Stat> {
    let content = file(process, "stat")?;
    if !is_stat(&content) {
        return Err(ProcError::Incomplete(None));
    }
    Stat::from_read(content.as_slice())
}

fn is_stat(content: &[u8]) -> bool {
    let is = |byte: u8| move |other: &u8| *other == byte;
    let (Some(start), Some(end)) = (content.iter().position(is(b'(')), content.iter().rposition(is(b')'))) else {
        return false;
    };
    let pid = content[..start].strip_suffix(b" ").unwrap_or_default();
    let state = content.get(end + 1..).and_then(|after| after.strip_prefix(b" ")?.first());
    let has_pid = !pid.is_empty() && pid.iter().all(u8::is_ascii_digit);
    has_pid && start < end && state.is_some_and(u8::is_ascii_graphic)
}

fn file(process: &Process, name: &str) -> ProcResult<Vec<u8>> {
    let mut content = Vec::with_capacity(2048);
    process.open_relative(name)?.read_to_end(&mut content)?;
    Ok(content)
}
