//! The queue of the orchestrator, as a sink.

use std::{collections::BTreeSet, path::PathBuf};

use jobwarden_common::names::label;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use serde_json::json;

use super::{
    no_counterpart::warning,
    values::{VariableError, unexpected},
};
use crate::deliver::{BrokerSettings, Credentials, Filter, SinkConfig, Transport};

/// The name of the sink in statuses, metrics and logs.
pub(super) const NAME: &str = "ort-orchestrator";

/// The workers whose Jobs the job monitor looks after (`JobHandler.kt`).
const SELECTED: [&str; 8] =
    ["orchestrator", "config", "analyzer", "advisor", "scanner", "evaluator", "notifier", "reporter"];

/// The names of the transports (`TRANSPORT_NAME` in `transport/*/src/main/kotlin/*Config.kt`).
const RABBITMQ: &str = "rabbitMQ";
const ACTIVEMQ: &str = "activeMQ";
const SERVICE_BUS: &str = "azure-servicebus";

const TYPE: &str = "ORCHESTRATOR_SENDER_TRANSPORT_TYPE";
const SERVER_URI: &str = "ORCHESTRATOR_SENDER_TRANSPORT_SERVER_URI";
const NAMESPACE: &str = "ORCHESTRATOR_SENDER_TRANSPORT_NAMESPACE";
const QUEUE_NAME: &str = "ORCHESTRATOR_SENDER_TRANSPORT_QUEUE_NAME";
const USERNAME: &str = "ORCHESTRATOR_SENDER_TRANSPORT_USERNAME";
const PASSWORD: &str = "ORCHESTRATOR_SENDER_TRANSPORT_PASSWORD";

/// The defaults of ORT Server's `application.conf`.
const DEFAULT_TYPE: &str = ACTIVEMQ;
const DEFAULT_QUEUE: &str = "orchestrator_queue";

/// The longest name of a queue, in bytes (AMQP 0-9-1: a short string).
const LONGEST_QUEUE: usize = 255;

/// What the variables say of the transport.
#[derive(Default)]
pub(super) struct Sender {
    transport: Option<String>,
    server_uri: Option<String>,
    /// The namespace of Azure Service Bus.
    namespace: Option<String>,
    queue: Option<String>,
    username: Option<String>,
    password: Option<String>,
    file: Option<PathBuf>,
}

impl Sender {
    /// Takes a variable whose name begins with `ORCHESTRATOR_SENDER_TRANSPORT_`.
    pub(super) fn take(&mut self, name: &str, part: &str, value: &str, warnings: &mut Vec<String>) {
        let set = || Some(value.to_owned()).filter(|value| !value.is_empty());
        match part {
            "TYPE" => self.transport = set(),
            "SERVER_URI" => self.server_uri = set(),
            "NAMESPACE" => self.namespace = set(),
            "QUEUE_NAME" => self.queue = set(),
            "USERNAME" => self.username = set(),
            "PASSWORD" => self.password = set(),
            _ => warnings.push(warning(name, "jobwarden's sinks have no such setting")),
        }
    }

    /// Takes the paths of the files with secrets, which are separated by commas.
    pub(super) fn secret_files(&mut self, name: &str, value: &str) -> Result<(), VariableError> {
        let mut paths = value.split(',').map(str::trim).filter(|path| !path.is_empty());
        let file = paths.next().map(PathBuf::from);
        if file.is_none() || paths.next().is_some() {
            let expected = "the path of one file, which holds the credentials for the broker";
            return Err(unexpected(name, value, expected));
        }
        self.file = file;
        Ok(())
    }

    /// The sink; `None` if no variable says anything of the transport. `jobs_in` is the namespace of the Jobs.
    pub(super) fn sink(
        self,
        jobs_in: Option<&str>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<SinkConfig>, VariableError> {
        let says_nothing = self.transport.is_none() && self.server_uri.is_none() && self.queue.is_none();
        if says_nothing {
            return Ok(None);
        }
        let kind = self.transport.clone().unwrap_or_else(|| DEFAULT_TYPE.to_owned());
        let credentials = self.credentials(warnings)?;
        let (kind, url, body) = match kind.as_str() {
            RABBITMQ => ("rabbitmq", self.url(true)?, None),
            ACTIVEMQ => ("amqp", self.url(false)?, None),
            SERVICE_BUS => ("amqp", self.service_bus()?, Some("data")),
            other => return Err(unexpected(TYPE, other, expected_transport(other))),
        };
        let queue = self.queue.as_deref().unwrap_or(DEFAULT_QUEUE);
        if queue.len() > LONGEST_QUEUE {
            return Err(unexpected(QUEUE_NAME, queue, format!("a name of at most {LONGEST_QUEUE} bytes")));
        }
        // As in the configuration file, so that everything else has the defaults of any sink.
        let written = json!({
            "name": NAME, "type": kind, "url": url, "queue": queue, "body": body, "credentialsFile": self.file, "format": "ort-server",
        });
        let mut sink: SinkConfig = serde_json::from_value(written).expect("the fields are those of a broker's sink");
        sink.filter = filter(jobs_in);
        if let Transport::RabbitMq(settings) | Transport::Amqp(settings) = &mut sink.transport {
            settings.credentials = credentials;
        }
        Ok(Some(sink))
    }

    /// The address of RabbitMQ, which may have a virtual host, or of Artemis.
    fn url(&self, virtual_host: bool) -> Result<String, VariableError> {
        let why = || "the orchestrator's broker is reached by it, such as amqp://rabbitmq:5672".to_owned();
        let url = self.server_uri.clone().ok_or_else(|| VariableError::Missing { name: SERVER_URI, why: why() })?;
        let expected = if virtual_host {
            "amqp://host:port/virtual-host or amqps://host:port/virtual-host, without credentials and query"
        } else {
            "amqp://host:port or amqps://host:port, without credentials, query and failover"
        };
        let parsed = BrokerSettings::check_url(&url, virtual_host);
        // The value may hold a password.
        let shown = if url.contains('@') { "(hidden: it holds credentials)" } else { url.as_str() };
        parsed.map(|()| url.clone()).map_err(|_| unexpected(SERVER_URI, shown, expected))
    }

    /// The address of Azure Service Bus. ORT Server logs in with what the Azure SDK finds in the environment, for which AMQP alone has no
    /// counterpart; a shared access policy is a user name with a password.
    fn service_bus(&self) -> Result<String, VariableError> {
        let why = || "it is the name of the Azure Service Bus namespace".to_owned();
        let name = self.namespace.as_deref().ok_or_else(|| VariableError::Missing { name: NAMESPACE, why: why() })?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !name.bytes().all(plain) {
            return Err(unexpected(
                NAMESPACE,
                name,
                "a name of letters, digits and dashes, without .servicebus.windows.net",
            ));
        }
        if self.file.is_none() && self.username.is_none() {
            let why = "jobwarden logs in to Azure Service Bus with a shared access policy, whose name is the user name and whose key is the password; a workload identity is not supported";
            return Err(VariableError::Missing { name: USERNAME, why: why.to_owned() });
        }
        Ok(format!("amqps://{name}.servicebus.windows.net"))
    }

    /// User name and password, where no file holds them.
    fn credentials(&self, warnings: &mut Vec<String>) -> Result<Option<Credentials>, VariableError> {
        let (username, password) = match (&self.username, &self.password) {
            (None, None) => return Ok(None),
            (Some(username), Some(password)) => (username.clone(), password.clone()),
            (Some(_), None) => {
                return Err(VariableError::Missing { name: PASSWORD, why: format!("{USERNAME} is set") });
            }
            (None, Some(_)) => {
                return Err(VariableError::Missing { name: USERNAME, why: format!("{PASSWORD} is set") });
            }
        };
        if self.file.is_some() {
            for name in [USERNAME, PASSWORD] {
                warnings.push(warning(name, "the file of TASKS_SECRET_FILES holds the credentials"));
            }
            return Ok(None);
        }
        Ok(Some(Credentials { username, password }))
    }
}

fn expected_transport(given: &str) -> String {
    let why = match given {
        "SQS" => "; jobwarden sends to no queue of Amazon SQS: use an HTTP sink and a receiver of your own",
        "kubernetes" => {
            "; kubernetes starts the orchestrator as a Job for each message, which is no transport for a sink: the orchestrator has to read a queue"
        }
        _ => "",
    };
    format!("{RABBITMQ}, {ACTIVEMQ} or {SERVICE_BUS}{why}")
}

/// Selects the Jobs that the job monitor looks after: those with the label of a worker.
pub(super) fn selector() -> LabelSelector {
    let worker = LabelSelectorRequirement {
        key: label::ORT_WORKER.to_owned(),
        operator: "In".to_owned(),
        values: Some(SELECTED.map(str::to_owned).into()),
    };
    LabelSelector { match_expressions: Some(vec![worker]), match_labels: None }
}

/// Those Jobs, in its namespace.
fn filter(namespace: Option<&str>) -> Filter {
    let namespaces = namespace.map(|name| BTreeSet::from([name.to_owned()]));
    Filter { namespaces, selector: selector(), ..Filter::default() }
}
