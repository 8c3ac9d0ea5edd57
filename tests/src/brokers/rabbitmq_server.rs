//! Debian's RabbitMQ with ports, data and an epmd of its own.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::Command,
};

use jobwarden_testbed::{CONTROL_PLANE, Cluster, NetworkNamespace};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    certificates::Certificates,
    process::{Process, free_port, output, wait_until},
};

/// Where Debian puts the programs, without the wrapper that changes to another user.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";
/// Memory for the broker. It is far more than it needs, and does not depend on the machine.
const ENOUGH_MEMORY: &str = "1GB";
/// Less than any broker needs, which sets off the memory alarm.
const TOO_LITTLE_MEMORY: &str = "0.0000001";

/// The user of the queue.
pub const USER: &str = "ada";
/// The password of the user.
pub const PASSWORD: &str = "Heidelbeere";
/// RabbitMQ's own user.
const GUEST: &str = "guest";
/// The name of the queue.
pub const QUEUE: &str = "orchestrator_queue";

/// A running broker. It is killed when this is dropped.
pub struct RabbitMqServer {
    /// The port without TLS.
    pub port: u16,
    /// The port for TLS, where the server has a certificate.
    pub tls_port: u16,
    server: Process,
    _port_mapper: Process,
    port_mapper_port: u16,
    distribution_port: u16,
    place: Place,
    folder: TempDir,
}

/// The network that a broker is in.
struct Place {
    /// The address that it listens on.
    address: Ipv4Addr,
    /// None for that of this machine.
    namespace: Option<NetworkNamespace>,
}

impl Place {
    fn command(&self, program: &str) -> Command {
        self.namespace.as_ref().map_or_else(|| Command::new(program), |namespace| namespace.program(program))
    }

    fn accepts(&self, address: Ipv4Addr, port: u16) -> bool {
        match &self.namespace {
            Some(namespace) => namespace.connect((address, port).into()).is_ok(),
            None => TcpStream::connect((address, port)).is_ok(),
        }
    }

    /// Waits until the process listens on this port.
    fn wait_for(&self, process: &mut Process, address: Ipv4Addr, port: u16) {
        process.wait_until(&format!("listens on {address}:{port}"), || self.accepts(address, port));
    }
}

impl RabbitMqServer {
    /// Starts a broker with the queue [`QUEUE`] and the user [`USER`], who may do everything.
    pub fn start() -> Self {
        Self::start_at(Place { address: Ipv4Addr::LOCALHOST, namespace: None })
    }

    /// The same inside the cluster's network, on 10.88.0.1, where pods reach it.
    pub fn start_in(cluster: &Cluster) -> Self {
        Self::start_at(Place { address: CONTROL_PLANE, namespace: Some(cluster.network_namespace()) })
    }

    fn start_at(place: Place) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, tls_port, port_mapper_port, distribution_port) =
            (free_port(), free_port(), free_port(), free_port());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let address = place.address;
        let Certificates { ca, certificate, key } = Certificates::issue(folder.path());
        let configuration = format!(
            "listeners.tcp.1 = {address}:{port}\nlisteners.ssl.1 = {address}:{tls_port}\n\
             ssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n\
             load_definitions = {}\nloopback_users = none\n\
             vm_memory_high_watermark.absolute = {ENOUGH_MEMORY}\ndisk_free_limit.absolute = 1MB\n",
            ca.display(),
            certificate.display(),
            key.display(),
            path("definitions.json"),
        );
        // As in ORT Server's own definitions, with a password of our own.
        let definitions = json!({
            "users": [{"name": USER, "password": PASSWORD, "tags": ["administrator"]}],
            "vhosts": [{"name": "/"}],
            "permissions": [{"user": USER, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}],
            "queues": [queue()],
        });
        fs::write(path("rabbitmq.conf"), configuration).expect("written");
        fs::write(path("definitions.json"), definitions.to_string()).expect("written");
        let mut port_mapper = place.command("epmd");
        port_mapper.args(["-address", "127.0.0.1", "-port", &port_mapper_port.to_string()]);
        let mut port_mapper = Process::start(&mut port_mapper, &folder.path().join("epmd.log"));
        place.wait_for(&mut port_mapper, Ipv4Addr::LOCALHOST, port_mapper_port);
        let mut server = Process::start(
            &mut server_command(&place, &folder, port_mapper_port, distribution_port),
            &folder.path().join("server.log"),
        );
        place.wait_for(&mut server, address, port);
        place.wait_for(&mut server, address, tls_port);
        Self { port, tls_port, server, _port_mapper: port_mapper, port_mapper_port, distribution_port, place, folder }
    }

    /// A file in the folder of the broker.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Kills the broker and starts it again with the same data.
    pub fn restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Kills the broker.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts the killed broker with the same data.
    pub fn start_again(&mut self) {
        let mut command = server_command(&self.place, &self.folder, self.port_mapper_port, self.distribution_port);
        self.server = Process::start(&mut command, &self.path("server.log"));
        self.place.wait_for(&mut self.server, self.place.address, self.port);
    }

    /// Sets the memory alarm off, or ends it.
    pub fn memory_alarm(&self, on: bool) {
        if on {
            self.control(&["set_vm_memory_high_watermark", TOO_LITTLE_MEMORY]);
        } else {
            self.control(&["set_vm_memory_high_watermark", "absolute", ENOUGH_MEMORY]);
        }
        let raised = || self.control(&["eval", "rabbit_alarm:get_alarms()."]).contains("memory");
        wait_until(&format!("the memory alarm is {on}"), || raised() == on);
    }

    /// Deletes the queue [`QUEUE`].
    pub fn delete_queue(&self) {
        self.control(&["delete_queue", QUEUE]);
    }

    /// Declares the queue [`QUEUE`] that was deleted.
    pub fn declare_queue(&self) {
        self.import("queue.json", &json!({ "queues": [queue()] }));
    }

    /// Lets the user `guest` in. The user's password is the name, as RabbitMQ has it by default.
    pub fn admit_guest(&self) {
        self.import(
            "guest.json",
            &json!({
                "users": [{"name": GUEST, "password": GUEST, "tags": []}],
                "permissions": [{"user": GUEST, "vhost": "/", "configure": "", "write": ".*", "read": ""}],
            }),
        );
    }

    /// Adds what `definitions` say to what the broker has.
    fn import(&self, name: &str, definitions: &Value) {
        fs::write(self.path(name), definitions.to_string()).expect("written");
        self.control(&["import_definitions", &self.path(name).display().to_string()]);
    }

    /// Changes the password of [`USER`], until the broker restarts.
    pub fn change_password(&self, password: &str) {
        self.control(&["change_password", USER, password]);
    }

    /// How many messages the queue [`QUEUE`] holds.
    pub fn messages(&self) -> usize {
        let listed = self.control(&["--quiet", "list_queues", "--no-table-headers", "name", "messages"]);
        let mut queues = listed.lines().filter_map(|line| line.split_once('\t'));
        let (_, messages) = queues.find(|(name, _)| *name == QUEUE).expect("the queue exists");
        messages.trim().parse().expect("a number")
    }

    fn control(&self, arguments: &[&str]) -> String {
        let mut command = self.place.command(&format!("{PROGRAMS}/rabbitmqctl"));
        environment(&mut command, &self.folder, self.port_mapper_port);
        output(command.args(arguments))
    }
}

/// The queue of ORT Server's orchestrator, as in ORT Server's own definitions.
fn queue() -> Value {
    json!({"name": QUEUE, "vhost": "/", "durable": true, "auto_delete": false, "arguments": {"x-queue-type": "classic"}})
}

/// What the broker and its command line have in common. The home folder holds the cookie with which they know each other.
fn environment(command: &mut Command, folder: &TempDir, port_mapper_port: u16) {
    command
        .env("HOME", folder.path())
        .env("ERL_EPMD_PORT", port_mapper_port.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_NODENAME", "jobwarden@localhost");
}

fn server_command(place: &Place, folder: &TempDir, port_mapper_port: u16, distribution_port: u16) -> Command {
    let mut command = place.command(&format!("{PROGRAMS}/rabbitmq-server"));
    environment(&mut command, folder, port_mapper_port);
    command
        .env("RABBITMQ_CONFIG_FILE", folder.path().join("rabbitmq"))
        .env("RABBITMQ_MNESIA_BASE", folder.path().join("data"))
        .env("RABBITMQ_LOG_BASE", folder.path().join("log"))
        .env("RABBITMQ_LOGS", "-")
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.path().join("plugins"))
        .env("RABBITMQ_DIST_PORT", distribution_port.to_string())
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-noinput -kernel inet_dist_use_interface {127,0,0,1}")
        // The script becomes the broker instead of its parent, so that SIGKILL reaches the broker.
        .env("RABBITMQ_ALLOW_INPUT", "1");
    command
}
