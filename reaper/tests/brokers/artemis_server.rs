//! Apache Artemis with ports and data of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    artifacts,
    certificates::Certificates,
    process::{Process, free_port, output},
};

pub(crate) const USER: &str = "ada";
pub(crate) const PASSWORD: &str = "Heidelbeere";
pub(crate) const QUEUE: &str = "orchestrator_queue";

pub(crate) struct ArtemisServer {
    pub(crate) port: u16,
    pub(crate) tls_port: u16,
    server: Process,
    folder: TempDir,
}

impl ArtemisServer {
    /// Starts a broker with the queue [`QUEUE`], which creates no other queue on its own.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, tls_port) = (free_port(), free_port());
        let certificates = Certificates::issue(folder.path());
        let instance = folder.path().join("instance");
        output(
            Command::new(artifacts::artemis().join("bin/artemis"))
                .args(["create", "--silent", "--user", USER, "--password", PASSWORD, "--require-login"])
                .args(["--host", "127.0.0.1", "--default-port", &port.to_string(), "--queues", QUEUE])
                .args(["--no-web", "--no-amqp-acceptor", "--no-mqtt-acceptor", "--no-stomp-acceptor"])
                .args(["--no-hornetq-acceptor", "--nio", "--no-autotune"])
                .arg(&instance),
        );
        configure(&instance.join("etc/broker.xml"), tls_port, &key_store(&certificates, folder.path()));
        let mut server = Process::start(&mut command(&instance), &folder.path().join("server.log"));
        server.wait_for(port);
        server.wait_for(tls_port);
        Self { port, tls_port, server, folder }
    }

    /// A file in the folder of the broker.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Kills the broker and starts it again with the same data.
    pub(crate) fn restart(&mut self) {
        self.server.kill();
        self.server = Process::start(&mut command(&self.path("instance")), &self.path("server.log"));
        self.server.wait_for(self.port);
    }
}

fn command(instance: &Path) -> Command {
    let mut command = Command::new(instance.join("bin/artemis"));
    // The script becomes the broker. Its usual memory is that of a machine for a broker alone.
    command.arg("run").env("JAVA_ARGS", "-Xms128M -Xmx512M");
    command
}

/// Key and certificate in one file, as the broker's PEM key store wants them.
fn key_store(certificates: &Certificates, folder: &Path) -> PathBuf {
    let read = |path: &Path| fs::read_to_string(path).expect("a PEM file");
    let path = folder.join("key-store.pem");
    fs::write(&path, read(&certificates.key) + &read(&certificates.certificate)).expect("written");
    path
}

/// Changes what the command line cannot set.
fn configure(broker_xml: &Path, tls_port: u16, key_store: &Path) {
    let mut text = fs::read_to_string(broker_xml).expect("a configuration");
    let mut replace = |from: &str, to: &str| {
        assert!(text.contains(from), "{} has no {from}", broker_xml.display());
        text = text.replace(from, to);
    };
    let tls = format!(
        "<acceptors><acceptor name=\"amqps\">tcp://127.0.0.1:{tls_port}?protocols=AMQP;sslEnabled=true;keyStoreType=PEM;keyStorePath={}</acceptor>",
        key_store.display()
    );
    replace("<acceptors>", &tls);
    replace("<auto-create-queues>true", "<auto-create-queues>false");
    replace("<auto-create-addresses>true", "<auto-create-addresses>false");
    // Without it the broker blocks senders on a machine whose disk is nearly full.
    replace("<max-disk-usage>90<", "<max-disk-usage>100<");
    fs::write(broker_xml, text).expect("written");
}
