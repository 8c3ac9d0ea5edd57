//! One machine of the cluster: a set of namespaces around a PID 1 that only sleeps.
//!
//! Every process of the machine joins these namespaces, so killing PID 1 ends all of them at once, as a power cut would.
//! The mount namespace gives each machine its own `/var` and `/run`: programs keep their usual paths, and their mounts and
//! files in `/run` vanish with the machine.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::command::text_of;
use crate::error::{ClusterError, Context, Result, log_tail};
use crate::layout::{Layout, Machine};
use crate::process::{self, Process};

/// Where a machine sees the programs built by [`crate::binaries`].
pub(crate) const PROGRAMS: &str = "/run/jobwarden";

/// The container runtime's socket on a node.
pub(crate) const RUNTIME_SOCKET: &str = "/run/containerd/containerd.sock";

/// How long PID 1 of a machine may take to get ready.
const BOOT_TIMEOUT: Duration = Duration::from_secs(10);

/// What PID 1 does before it sleeps. Arguments: the host name, the programs' folder, the machine's /var.
/// The last mount hides paths below the host's /var, so the programs are mounted before it. Without `--no-mtab` the first
/// mounts would leave a folder in the host's /run. The kernel's boot ID is that of the host, so each boot gets one of its own, which
/// the kubelet reports as `nodeInfo.bootID`.
const INIT: &str = r#"
set -e
mount --no-mtab --make-rshared /
mount --no-mtab -t tmpfs -o mode=755 tmpfs /run
mkdir /run/jobwarden /run/lock
mount --bind "$2" /run/jobwarden
mount --bind "$3" /var
cat /proc/sys/kernel/random/uuid > /run/boot_id
mount --no-mtab --bind /run/boot_id /proc/sys/kernel/random/boot_id
hostname "$1"
touch /run/booted
exec sleep infinity
"#;

/// Boots a machine. Its namespaces are ready when this returns.
pub(crate) fn boot(layout: &Layout, machine: Machine, programs: &Path) -> Result<()> {
    let var = layout.var(machine);
    for folder in ["lib", "log", "tmp"] {
        fs::create_dir_all(var.join(folder)).context(|| format!("creating {}", var.display()))?;
    }
    let run = var.join("run");
    if !run.is_symlink() {
        std::os::unix::fs::symlink("/run", &run).context(|| format!("linking {}", run.display()))?;
    }
    let log = layout.log(machine, "init");
    let mut command = Command::new("setsid");
    command
        .args(["nsenter", &format!("--net={}", layout.netns(machine).display())])
        .args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "--ipc"])
        .args(["tini", "-s", "--", "sh", "-c", INIT, "init", &machine.to_string()])
        .args([programs, &var]);
    let parent = spawn_detached(command, &log)?;
    let start = Instant::now();
    loop {
        if let Some(init) = parent.children().into_iter().find(|child| is_booted(*child)) {
            let record = serde_json::json!({ "pid": init.pid, "started": init.started });
            return fs::write(layout.init_record(machine), record.to_string())
                .context(|| format!("recording the process of {machine}"));
        }
        if !parent.is_alive() || start.elapsed() > BOOT_TIMEOUT {
            return Err(ClusterError::TimedOut {
                problem: format!("{machine} has not booted"),
                waited: start.elapsed(),
                tail: log_tail(&log),
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The machine's PID 1, if the machine is running.
pub(crate) fn init_of(layout: &Layout, machine: Machine) -> Option<Process> {
    let text = fs::read(layout.init_record(machine)).ok()?;
    let process: Process = serde_json::from_slice(&text).ok()?;
    process.is_alive().then_some(process)
}

/// Like [`init_of`], but a machine that is down is an error.
pub(crate) fn running_init_of(layout: &Layout, machine: Machine) -> Result<Process> {
    init_of(layout, machine).ok_or_else(|| ClusterError::MachineDown { machine: machine.to_string() })
}

/// Kills every process of the machine at once.
pub(crate) fn kill(layout: &Layout, machine: Machine) -> Result<()> {
    let Some(init) = init_of(layout, machine) else { return Ok(()) };
    // PID 1 ends only after all other processes have been reaped, and a stopped process reaps nothing.
    resume(layout, machine, &["containerd"])?;
    init.kill()
}

/// Resumes a component that a signal stopped, and the `nsenter` that started it: `nsenter` stops together with its child.
pub(crate) fn resume(layout: &Layout, machine: Machine, component: &[&str]) -> Result<()> {
    let stopped = find(layout, machine, component);
    let parents = stopped.iter().filter_map(|process| process.parent());
    parents.chain(stopped.iter().copied()).try_for_each(|process| process.signal(Signal::SIGCONT))
}

/// Starts a component of the cluster on the machine. Its stdout and stderr go to its log.
pub(crate) fn start(layout: &Layout, machine: Machine, component: &str, arguments: &[String]) -> Result<()> {
    let mut command = Command::new("setsid");
    command.args(enter(running_init_of(layout, machine)?)).args(arguments);
    spawn_detached(command, &layout.log(machine, component)).map(drop)
}

/// The beginning of a command line that runs on the machine: it enters the machine's namespaces.
pub(crate) fn enter(init: Process) -> [String; 8] {
    let target = format!("--target={}", init.pid);
    ["nsenter", &target, "--mount", "--pid", "--uts", "--ipc", "--net", "--"].map(str::to_owned)
}

/// `ctr` with these arguments, to run on a node.
pub(crate) fn ctr(layout: &Layout, node: Machine, arguments: &[&str]) -> Result<Command> {
    let [program, enter @ ..] = enter(running_init_of(layout, node)?);
    let mut command = Command::new(program);
    command.args(enter).args(["ctr", "--address", RUNTIME_SOCKET, "--namespace", "k8s.io"]).args(arguments);
    Ok(command)
}

/// The running processes of a component: those in the machine's PID namespace whose command line begins with these words.
pub(crate) fn find(layout: &Layout, machine: Machine, component: &[&str]) -> Vec<Process> {
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

/// Kills a component. It is no error if the component is not running.
pub(crate) fn stop(layout: &Layout, machine: Machine, component: &[&str]) -> Result<()> {
    find(layout, machine, component).into_iter().try_for_each(Process::kill)
}

/// Starts `command` in the background with its output appended to `log`.
fn spawn_detached(mut command: Command, log: &Path) -> Result<Process> {
    let open =
        || OpenOptions::new().create(true).append(true).open(log).context(|| format!("opening {}", log.display()));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(open()?)
        .stderr(open()?)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .spawn()
        .context(|| format!("starting {}", text_of(&command)))?;
    let pid = i32::try_from(child.id()).expect("the kernel's process IDs fit an i32");
    let process = Process::current(pid);
    // Without a wait it would stay a zombie as long as this process lives.
    std::thread::spawn(move || child.wait());
    process.ok_or_else(|| ClusterError::TimedOut {
        problem: format!("{} exited immediately", text_of(&command)),
        waited: Duration::ZERO,
        tail: log_tail(log),
    })
}

fn is_booted(init: Process) -> bool {
    // `/proc/<pid>/root` is the process' root directory, proc(5).
    Path::new("/proc").join(init.pid.to_string()).join("root").join("run/booted").exists()
}
