//! Processes that end with the test or benchmark that started them.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long a broker may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// A process that is killed when this is dropped.
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `command` with its output in the file `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let name = format!("{} (see {})", command.get_program().display(), log.display());
        let output = File::options().create(true).append(true).open(log).expect("a log file");
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            // A Ctrl-C of the terminal would reach it before the test has read what it wrote.
            .process_group(0);
        let child = command.spawn().map_err(|error| format!("{name}: {error}")).expect("the program starts");
        Self { child, name }
    }

    /// Waits until something listens on `port`.
    pub fn wait_for(&mut self, port: u16) {
        self.wait_until(&format!("listens on port {port}"), || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    }

    /// Waits until the process does what `what` says.
    pub fn wait_until(&mut self, what: &str, condition: impl Fn() -> bool) {
        let name = self.name.clone();
        wait_until(&format!("{name} {what}"), || {
            let ended = self.child.try_wait().expect("a child of this process");
            assert!(ended.is_none(), "{name} ended: {ended:?}");
            condition()
        });
    }

    /// Ends the process with SIGKILL: it can write and say nothing more.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child of this process");
        self.child.wait().expect("a child of this process");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until `condition` holds. There is no event to wait for in another program.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A port that nothing listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// The output of a command that must succeed.
pub fn output(command: &mut Command) -> String {
    let output = command.output().map_err(|error| format!("{command:?}: {error}")).expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}: {stdout}{stderr}", command.get_program().display());
    stdout
}

/// How many threads of this process have such a name (of at most 15 bytes).
pub fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    // A thread may end while its name is read.
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|found| found.trim_end() == name).count()
}
