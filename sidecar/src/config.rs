//! The configuration, read from environment variables that the webhook sets.

use std::{path::PathBuf, time::Duration};

use jobwarden_common::names::{SERVICE_ACCOUNT_DIR, TOKEN_FILE, sidecar_env as env};
use rustls::pki_types::ServerName;
use thiserror::Error;

use crate::trust::{Bundle, BundleError};

/// Time between beats unless configured.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

/// Where to send beats, and how.
#[derive(Debug)]
pub(crate) struct Config {
    /// `host:port` of the reaper.
    pub(crate) address: String,
    /// The name that the reaper's certificate must contain.
    pub(crate) server_name: ServerName<'static>,
    /// The CA bundle to trust until the reaper sends a newer one.
    pub(crate) bundle: Bundle,
    /// Time between beats, before jitter, until the reaper sets another.
    pub(crate) interval: Duration,
    /// The file in which the kubelet keeps the pod-bound token.
    pub(crate) token_file: PathBuf,
}

/// Why the environment is not a valid configuration.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error("{} must be set and not empty; the webhook sets it when it adds this container", .0.join(", "))]
    Missing(Vec<&'static str>),
    #[error("{}={given:?} must be host:port, such as 10.96.0.7:8444", env::REAPER_ADDRESS)]
    Address { given: String },
    #[error("{}={given:?} must be a DNS name or an IP address", env::REAPER_NAME)]
    ServerName { given: String },
    #[error("{}={given:?} must be a number of milliseconds greater than 0", env::INTERVAL_MS)]
    Interval { given: String },
    #[error("{} must be a CA bundle in PEM format: {problem}", env::CA)]
    Bundle { problem: BundleError },
}

impl Config {
    /// Reads the configuration from `lookup`, which returns the value of an environment variable.
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
            given(env::TOKEN_FILE).map_or_else(|| PathBuf::from(SERVICE_ACCOUNT_DIR).join(TOKEN_FILE), PathBuf::from);
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
        rcgen::generate_simple_self_signed(["ca".to_owned()]).expect("a valid name").cert.pem()
    }

    fn config(overrides: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let ca = ca();
        let defaults = [
            (env::REAPER_ADDRESS, "10.96.0.7:8444"),
            (env::REAPER_NAME, "jobwarden-reaper.jobwarden.svc"),
            (env::CA, &*ca),
        ];
        Config::from_env(|name| {
            overrides.iter().chain(&defaults).find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_variables_that_the_webhook_sets_are_sufficient() {
        let config = config(&[]).expect("complete");
        assert_eq!(config.address, "10.96.0.7:8444");
        assert_eq!(config.interval, Duration::from_secs(10));
        assert_eq!(config.token_file, PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount/token"));
    }

    #[test]
    fn one_error_names_every_missing_variable() {
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
    fn an_error_names_the_variable_with_an_invalid_value(#[case] name: &str, #[case] value: &str) {
        let text = config(&[(name, value)]).expect_err("invalid").to_string();
        assert!(text.contains(name), "{text}");
    }

    #[rstest]
    #[case("[fd00::7]:8444")]
    #[case("jobwarden-reaper.jobwarden.svc:8444")]
    fn ipv6_addresses_and_host_names_are_accepted(#[case] address: &str) {
        assert_eq!(config(&[(env::REAPER_ADDRESS, address)]).expect("valid").address, address);
    }
}
