//! What the webhook tells the sidecar, all of it in environment variables.

use std::{path::PathBuf, time::Duration};

use jobwarden_common::names::{SERVICE_ACCOUNT_DIR, sidecar_env as env};
use rustls::pki_types::ServerName;
use thiserror::Error;

use crate::trust::{Bundle, BundleError};

/// Time between beats where nobody says otherwise.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

/// Whom to beat to, and how.
#[derive(Debug)]
pub(crate) struct Config {
    /// `host:port` to dial.
    pub(crate) address: String,
    /// The name that the reaper's certificate must carry.
    pub(crate) server_name: ServerName<'static>,
    /// Whom to trust until the reaper sends something newer.
    pub(crate) bundle: Bundle,
    /// Time between beats, before jitter, until the reaper says otherwise.
    pub(crate) interval: Duration,
    /// Where the kubelet keeps the pod-bound token.
    pub(crate) token_file: PathBuf,
}

/// Why the environment makes no configuration.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error("{} must be set and not empty: the webhook sets it when it adds this container", .0.join(", "))]
    Missing(Vec<&'static str>),
    #[error("{}={given:?} must be host:port, such as 10.96.0.7:8444", env::REAPER_ADDRESS)]
    Address { given: String },
    #[error("{}={given:?} must be a DNS name or an IP address", env::REAPER_NAME)]
    ServerName { given: String },
    #[error("{}={given:?} must be a number of milliseconds above 0", env::INTERVAL_MS)]
    Interval { given: String },
    #[error("{} must be a CA bundle in PEM, but {problem}", env::CA)]
    Bundle { problem: BundleError },
}

impl Config {
    /// Reads the configuration from `lookup`, which gives the value of an environment variable.
    pub(crate) fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let given = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let (Some(address), Some(name), Some(ca)) =
            (given(env::REAPER_ADDRESS), given(env::REAPER_NAME), given(env::CA))
        else {
            let required = [env::REAPER_ADDRESS, env::REAPER_NAME, env::CA];
            return Err(ConfigError::Missing(required.into_iter().filter(|name| given(name).is_none()).collect()));
        };
        if !is_host_and_port(&address) {
            return Err(ConfigError::Address { given: address });
        }
        let server_name = ServerName::try_from(name.clone()).map_err(|_| ConfigError::ServerName { given: name })?;
        let bundle = Bundle::from_pem(ca).map_err(|problem| ConfigError::Bundle { problem })?;
        let interval = match given(env::INTERVAL_MS) {
            None => DEFAULT_INTERVAL,
            Some(text) => match text.trim().parse() {
                Ok(ms @ 1..) => Duration::from_millis(ms),
                _ => return Err(ConfigError::Interval { given: text }),
            },
        };
        let token_file =
            given(env::TOKEN_FILE).map_or_else(|| PathBuf::from(SERVICE_ACCOUNT_DIR).join("token"), PathBuf::from);
        Ok(Self { address, server_name, bundle, interval, token_file })
    }
}

fn is_host_and_port(address: &str) -> bool {
    address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn ca() -> String {
        rcgen::generate_simple_self_signed(["ca".to_owned()]).expect("a name is enough").cert.pem()
    }

    fn config(changed: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let ca = ca();
        let usual = [
            (env::REAPER_ADDRESS, "10.96.0.7:8444"),
            (env::REAPER_NAME, "jobwarden-reaper.jobwarden.svc"),
            (env::CA, &*ca),
        ];
        Config::from_env(|name| {
            changed.iter().chain(&usual).find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_the_webhook_sets_is_enough() {
        let config = config(&[]).expect("complete");
        assert_eq!(config.address, "10.96.0.7:8444");
        assert_eq!(config.interval, Duration::from_secs(10));
        assert_eq!(config.token_file, PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount/token"));
    }

    #[test]
    fn everything_missing_is_named_at_once() {
        let error = config(&[(env::REAPER_ADDRESS, ""), (env::CA, " \n")]).expect_err("two are empty");
        let text = error.to_string();
        assert!(text.contains(env::REAPER_ADDRESS) && text.contains(env::CA), "{text}");
        assert!(!text.contains(env::REAPER_NAME), "{text}");
    }

    #[rstest]
    #[case(env::REAPER_ADDRESS, "10.96.0.7")]
    #[case(env::REAPER_ADDRESS, ":8444")]
    #[case(env::REAPER_ADDRESS, "10.96.0.7:0")]
    #[case(env::REAPER_ADDRESS, "10.96.0.7:http")]
    #[case(env::REAPER_NAME, "not a name")]
    #[case(env::INTERVAL_MS, "0")]
    #[case(env::INTERVAL_MS, "10s")]
    #[case(env::CA, "no PEM")]
    fn a_bad_value_is_named(#[case] name: &str, #[case] value: &str) {
        let text = config(&[(name, value)]).expect_err("bad").to_string();
        assert!(text.contains(name), "{text}");
    }

    #[rstest]
    #[case("[fd00::7]:8444")]
    #[case("jobwarden-reaper.jobwarden.svc:8444")]
    fn other_ways_to_write_an_address_are_taken(#[case] address: &str) {
        assert_eq!(config(&[(env::REAPER_ADDRESS, address)]).expect("good").address, address);
    }
}
