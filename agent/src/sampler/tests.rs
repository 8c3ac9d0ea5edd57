//! Against a fake proc file system of regular files.

use tempfile::TempDir;

use super::*;

const IN_POD: &str = "0::/kubepods/pod0a1b2c3d-1111-2222-3333-444455556666/3f1c4b0a9d8e7f6a5b4c3d2e1f00112233445566778899aabbccddeeff001122\n";
const OUTSIDE: &str = "0::/system.slice/containerd.service\n";

/// The figures of a process in a fake `/proc`.
#[derive(Clone, Copy)]
struct Figures {
    state: char,
    threads: u32,
    faults: u64,
    user_ticks: u64,
    started: u64,
    rss_pages: u64,
    hwm_kib: u64,
}

const FIGURES: Figures =
    Figures { state: 'S', threads: 1, faults: 100, user_ticks: 250, started: 7, rss_pages: 10, hwm_kib: 80 };

struct Proc(TempDir);

impl Proc {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a place for files"))
    }

    fn sampler(&self) -> Sampler {
        Sampler::new(self.0.path().to_owned())
    }

    fn put(&self, pid: i32, cgroup: &str, figures: Figures) {
        let dir = self.0.path().join(pid.to_string());
        fs::create_dir_all(&dir).expect("a folder");
        let Figures { state, threads, faults, user_ticks, started, rss_pages, hwm_kib } = figures;
        // proc_pid_stat(5), with a name that is hard to parse.
        let stat = format!(
            "{pid} (a) S 1 (b\u{fffd}) {state} 1 1 1 0 -1 4194560 {faults} 0 0 0 {user_ticks} 50 0 0 20 0 {threads} 0 \
             {started} 1000000 {rss_pages} 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
        );
        let mut status = b"Name:\t\xff\xfe VmHWM: 1 kB\nUmask:\t0022\n".to_vec();
        status.extend(format!("VmHWM:\t{hwm_kib:>8} kB\nVmRSS:\t       4 kB\n").into_bytes());
        for (name, content) in [("cgroup", cgroup.as_bytes()), ("stat", stat.as_bytes()), ("status", &status)] {
            fs::write(dir.join(name), content).expect("a file");
        }
    }

    fn remove(&self, pid: i32) {
        fs::remove_dir_all(self.0.path().join(pid.to_string())).expect("it exists");
    }

    fn replace(&self, pid: i32, file: &str, content: &str) {
        fs::write(self.0.path().join(pid.to_string()).join(file), content).expect("it exists");
    }
}

fn pids(sample: &Sample) -> Vec<i32> {
    let mut pids: Vec<_> = sample.processes.iter().map(|process| process.process.pid).collect();
    pids.sort_unstable();
    pids
}

#[test]
fn a_sample_contains_only_processes_of_pods_with_their_figures() {
    let proc = Proc::new();
    proc.put(1, OUTSIDE, FIGURES);
    proc.put(42, IN_POD, FIGURES);
    fs::create_dir(proc.0.path().join("sys")).expect("a folder");
    let sample = proc.sampler().sample().expect("it can be listed");
    assert_eq!((sample.visited, sample.unreadable), (2, 0));
    assert_eq!(pids(&sample), [42]);
    let seen = &sample.processes[0];
    assert_eq!(seen.process, ProcessKey { pid: 42, started: 7 });
    assert_eq!(seen.container.pod.as_str(), "0a1b2c3d-1111-2222-3333-444455556666");
    assert!(seen.alive);
    assert_eq!(seen.cpu_ms, 300 * 1000 / procfs::ticks_per_second());
    assert_eq!(seen.rss_bytes, 10 * procfs::page_size());
    assert_eq!(seen.hwm_bytes, 80 * 1024);
}

#[test]
fn an_ended_process_is_not_in_the_sample() {
    let proc = Proc::new();
    proc.put(42, IN_POD, FIGURES);
    let mut sampler = proc.sampler();
    assert_eq!(pids(&sampler.sample().expect("it can be listed")), [42]);
    proc.remove(42);
    assert!(pids(&sampler.sample().expect("it can be listed")).is_empty());
}

#[test]
fn a_process_that_ends_while_it_is_read_is_not_in_the_sample() {
    let proc = Proc::new();
    proc.put(42, IN_POD, FIGURES);
    fs::remove_file(proc.0.path().join("42/stat")).expect("it exists");
    let sample = proc.sampler().sample().expect("it can be listed");
    assert_eq!((pids(&sample), sample.unreadable), (vec![], 0));
}

#[test]
fn a_process_that_cannot_be_read_keeps_its_last_figures() {
    let proc = Proc::new();
    proc.put(42, IN_POD, FIGURES);
    let mut sampler = proc.sampler();
    let before = sampler.sample().expect("it can be listed");
    for unreadable in ["garbage", "42 (a)", "42 (a)\u{fffd}", "(a) S", "42 \u{fffd}(a) S", "42 )a( S"] {
        proc.replace(42, "stat", unreadable);
        let after = sampler.sample().expect("it can be listed");
        assert_eq!(after.unreadable, 1);
        assert_eq!(after.processes[0].process, before.processes[0].process);
        assert_eq!(after.processes[0].rss_bytes, before.processes[0].rss_bytes);
    }
}

#[test]
fn absurd_figures_are_kept_within_what_can_be_counted() {
    let proc = Proc::new();
    proc.put(
        42,
        IN_POD,
        Figures { user_ticks: u64::MAX, faults: u64::MAX, rss_pages: u64::MAX, hwm_kib: u64::MAX, ..FIGURES },
    );
    let sample = proc.sampler().sample().expect("it can be listed");
    let seen = &sample.processes[0];
    assert_eq!(
        (seen.cpu_ms, seen.rss_bytes, seen.hwm_bytes),
        (u64::MAX / procfs::ticks_per_second(), u64::MAX, u64::MAX)
    );
}

#[test]
fn a_zombie_is_not_alive_unless_it_has_other_threads() {
    let proc = Proc::new();
    proc.put(42, IN_POD, Figures { state: 'Z', ..FIGURES });
    proc.put(43, IN_POD, Figures { state: 'Z', threads: 3, ..FIGURES });
    let sample = proc.sampler().sample().expect("it can be listed");
    let mut alive: Vec<_> = sample.processes.iter().map(|seen| (seen.process.pid, seen.alive)).collect();
    alive.sort_unstable();
    assert_eq!(alive, [(42, false), (43, true)]);
}

#[test]
fn the_status_of_a_process_without_page_faults_is_not_read_again() {
    let proc = Proc::new();
    proc.put(42, IN_POD, FIGURES);
    let mut sampler = proc.sampler();
    sampler.sample().expect("it can be listed");
    proc.put(42, IN_POD, Figures { hwm_kib: 999, ..FIGURES });
    assert_eq!(sampler.sample().expect("it can be listed").processes[0].hwm_bytes, 80 * 1024);
    proc.put(42, IN_POD, Figures { hwm_kib: 999, faults: 101, ..FIGURES });
    assert_eq!(sampler.sample().expect("it can be listed").processes[0].hwm_bytes, 999 * 1024);
}

#[test]
fn a_process_that_is_moved_into_a_container_is_found_by_the_next_sample() {
    let proc = Proc::new();
    proc.put(42, OUTSIDE, FIGURES);
    let mut sampler = proc.sampler();
    assert!(pids(&sampler.sample().expect("it can be listed")).is_empty());
    proc.replace(42, "cgroup", IN_POD);
    assert_eq!(pids(&sampler.sample().expect("it can be listed")), [42]);
}

#[test]
fn processes_outside_pods_are_checked_at_increasing_but_bounded_intervals() {
    let proc = Proc::new();
    proc.put(42, OUTSIDE, FIGURES);
    let mut sampler = proc.sampler();
    for _ in 0..200 {
        sampler.sample().expect("it can be listed");
    }
    proc.replace(42, "cgroup", IN_POD);
    let found_after = (1..1000).find(|_| !sampler.sample().expect("it can be listed").processes.is_empty());
    let found_after = found_after.expect("it is checked again");
    assert!((2..=MAX_PAUSE).contains(&found_after), "{found_after}");
}

#[test]
fn a_later_process_with_the_same_pid_is_checked_immediately() {
    let proc = Proc::new();
    proc.put(42, OUTSIDE, FIGURES);
    let mut sampler = proc.sampler();
    for _ in 0..10 {
        sampler.sample().expect("it can be listed");
    }
    // Another folder of the same name has another inode as long as the old folder exists.
    fs::rename(proc.0.path().join("42"), proc.0.path().join("old")).expect("it exists");
    proc.put(42, IN_POD, FIGURES);
    assert_eq!(pids(&sampler.sample().expect("it can be listed")), [42]);
}

#[test]
fn a_missing_proc_file_system_is_an_error() {
    let proc = Proc::new();
    let missing = proc.0.path().join("missing");
    let error = Sampler::new(missing).sample().expect_err("it does not exist");
    assert!(error.to_string().starts_with("cannot list "));
}

#[test]
fn the_real_proc_can_be_sampled() {
    let sample = Sampler::new("/proc".into()).sample().expect("Linux");
    assert!(sample.visited > 0);
}
