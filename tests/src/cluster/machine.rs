//! One machine of the cluster: a set of namespaces around a PID 1 that does nothing.
//!
//! Everything that runs on the machine joins these namespaces, so killing PID 1 ends all of it at once, as a power cut
//! would. The mount namespace gives each machine a `/var` and a `/run` of its own: every program keeps its usual paths,
//! and what it mounts or leaves in `/run` vanishes with the machine.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::error::{ClusterError, Doing, Result, log_tail};
use super::layout::{Layout, Machine};
use super::process::{self, Process};

/// Where a machine sees the programs that were built for it.
pub(super) const PROGRAMS: &str = "/run/jobwarden";

/// How long a machine may take to have its PID 1 ready.
const BOOT: Duration = Duration::from_secs(10);

/// What PID 1 prepares before it goes to sleep. Arguments: the host's name, the programs' folder, the machine's /var.
/// The last mount hides paths below the host's /var, so the programs are mounted before it. Without `--no-mtab` the first
/// ones would leave a folder in the host's /run.
const INIT: &str = r#"
set -e
mount --no-mtab --make-rshared /
mount --no-mtab -t tmpfs -o mode=755 tmpfs /run
mkdir /run/jobwarden /run/lock
mount --bind "$2" /run/jobwarden
mount --bind "$3" /var
hostname "$1"
touch /run/booted
exec sleep infinity
"#;

/// Boots a machine; its namespaces are ready when this returns.
pub(super) fn boot(layout: &Layout, machine: Machine, programs: &Path) -> Result<()> {
    let var = layout.var(machine);
    for folder in ["lib", "log", "tmp"] {
        fs::create_dir_all(var.join(folder)).doing(|| format!("making {}", var.display()))?;
    }
    let run = var.join("run");
    if !run.is_symlink() {
        std::os::unix::fs::symlink("/run", &run).doing(|| format!("linking {}", run.display()))?;
    }
    let log = layout.log(machine, "init");
    let mut command = Command::new("setsid");
    command
        .args(["nsenter", &format!("--net={}", layout.netns(machine).display())])
        .args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "--ipc"])
        .args(["tini", "-s", "--", "sh", "-c", INIT, "init", &machine.to_string()])
        .args([programs, &var]);
    let parent = spawn_detached(command, &log)?;
    let begun = Instant::now();
    loop {
        if let Some(init) = parent.children().into_iter().find(|child| is_booted(*child)) {
            let record = serde_json::json!({ "pid": init.pid, "started": init.started });
            return fs::write(layout.init_record(machine), record.to_string())
                .doing(|| format!("recording the process of {machine}"));
        }
        if !parent.is_alive() || begun.elapsed() > BOOT {
            return Err(ClusterError::TimedOut {
                what: format!("{machine} has not booted"),
                waited: begun.elapsed(),
                tail: log_tail(&log),
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The machine's PID 1, if the machine is running.
pub(super) fn init_of(layout: &Layout, machine: Machine) -> Option<Process> {
    let text = fs::read(layout.init_record(machine)).ok()?;
    let process: Process = serde_json::from_slice(&text).ok()?;
    process.is_alive().then_some(process)
}

/// Like [`init_of`], where a machine that is down is an error.
pub(super) fn running_init_of(layout: &Layout, machine: Machine) -> Result<Process> {
    init_of(layout, machine).ok_or_else(|| ClusterError::MachineDown { machine: machine.to_string() })
}

/// Ends everything that runs on the machine at once.
pub(super) fn kill(layout: &Layout, machine: Machine) -> Result<()> {
    let Some(init) = init_of(layout, machine) else { return Ok(()) };
    // PID 1 ends once everybody else has been waited for, which nobody does who is stopped.
    go_on(layout, machine, &["containerd"])?;
    init.kill()
}

/// Lets a component go on that was stopped by a signal, and whoever started it: `nsenter` stops itself along with it.
pub(super) fn go_on(layout: &Layout, machine: Machine, component: &[&str]) -> Result<()> {
    let stopped = find(layout, machine, component);
    let parents = stopped.iter().filter_map(|process| process.parent());
    parents.chain(stopped.iter().copied()).try_for_each(|process| process.signal(Signal::SIGCONT))
}

/// Starts a component of the cluster on the machine. Its stdout and stderr go to its log.
pub(super) fn start(layout: &Layout, machine: Machine, component: &str, arguments: &[String]) -> Result<()> {
    let mut command = Command::new("setsid");
    command.args(enter(running_init_of(layout, machine)?)).args(arguments);
    spawn_detached(command, &layout.log(machine, component)).map(drop)
}

/// A command to run on the machine: the arguments that enter its namespaces.
pub(super) fn enter(init: Process) -> [String; 8] {
    let target = format!("--target={}", init.pid);
    ["nsenter", &target, "--mount", "--pid", "--uts", "--ipc", "--net", "--"].map(str::to_owned)
}

/// The running processes of a component: those in the machine's PID namespace whose command line begins with it.
pub(super) fn find(layout: &Layout, machine: Machine, component: &[&str]) -> Vec<Process> {
    let Some(namespace) = init_of(layout, machine).and_then(|init| init.namespace("pid")) else { return Vec::new() };
    process::all()
        .into_iter()
        .filter(|process| process.namespace("pid") == Some(namespace))
        .filter(|process| {
            let arguments = process::arguments(process.pid);
            arguments.len() >= component.len()
                && arguments.iter().zip(component).all(|(argument, part)| {
                    Path::new(argument).file_name().is_some_and(|name| name.to_str() == Some(part))
                })
        })
        .collect()
}

/// Kills a component, as a crash of that program alone; one that does not run is no error.
pub(super) fn stop(layout: &Layout, machine: Machine, component: &[&str]) -> Result<()> {
    find(layout, machine, component).into_iter().try_for_each(Process::kill)
}

/// Starts `command` in the background with its output appended to `log`.
fn spawn_detached(mut command: Command, log: &Path) -> Result<Process> {
    let open = || OpenOptions::new().create(true).append(true).open(log).doing(|| format!("opening {}", log.display()));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(open()?)
        .stderr(open()?)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .spawn()
        .doing(|| format!("starting {}", super::command::text_of(&command)))?;
    let pid = i32::try_from(child.id()).expect("the kernel's process IDs fit an i32");
    let process = Process::current(pid);
    // Someone has to wait for it, or it stays a zombie for as long as this process lives.
    std::thread::spawn(move || child.wait());
    process.ok_or_else(|| ClusterError::TimedOut {
        what: format!("{} ended at once", super::command::text_of(&command)),
        waited: Duration::ZERO,
        tail: log_tail(log),
    })
}

fn is_booted(init: Process) -> bool {
    // Its root directory, by proc(5).
    Path::new("/proc").join(init.pid.to_string()).join("root").join("run/booted").exists()
}
