//! The configuration file: a valid change of the policy applies immediately; a broken file is rejected, and the previous
//! configuration stays in effect.

use std::{future::pending, path::PathBuf};

use jobwarden_serve::reload::{ConfigFile, Metrics};

use crate::{
    deliver::{Config, ConfigError, Deliverer},
    job_monitor_variables::JobMonitorVariables,
};

/// The configuration file of a running process.
#[derive(Debug)]
pub struct Followed {
    file: Option<ConfigFile<Config, ConfigError>>,
    /// The configuration at the start.
    config: Config,
}

/// Reads the file at `path`; without one the configuration is empty. `variables` are the layer below it.
pub fn load(path: Option<PathBuf>, variables: Option<JobMonitorVariables>) -> Result<Followed, ConfigError> {
    let apply = move |config: Config| match &variables {
        None => config,
        Some(variables) => {
            let (config, warnings) = variables.below(config);
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            config
        }
    };
    let Some(path) = path else {
        let config = apply(Config::default());
        Deliverer::check(&config)?;
        return Ok(Followed { file: None, config });
    };
    let name = path.clone();
    let (file, config) = ConfigFile::load(path, move |text| {
        let text = text.map_err(|source| ConfigError::Read { path: name.clone(), source })?;
        let config = apply(Config::parse(&text, &name)?);
        Deliverer::check(&config)?;
        Ok(config)
    })?;
    Ok(Followed { file: Some(file), config })
}

impl Followed {
    /// The configuration at the start.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Calls `apply` with each valid change of the file; never returns.
    pub async fn follow(self, metrics: Metrics, apply: impl Fn(Config)) {
        let Some(mut file) = self.file else { return pending().await };
        loop {
            if let Ok(new) = file.changed(&metrics).await {
                apply(new);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, time::Duration};

    use jobwarden_core::policy::{Changes, Labels, Policies, Policy};
    use jobwarden_serve::reload::{CONFIG, POLL_INTERVAL};
    use prometheus_client::registry::Registry;
    use tokio::time::timeout;

    use super::*;

    fn lost_after(config: &Config) -> Duration {
        let mut policies = Policies::new(Policy::default());
        policies.set_file(config.policy.clone());
        policies.effective("n", &Labels::default(), &Changes::default()).policy.lost_after
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_applies_and_after_a_broken_one_the_previous_configuration_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("reaper.yaml");
        // Atomically, as every tool does that changes files in use.
        let write = |text: &str| {
            let new = path.with_extension("new");
            fs::write(&new, text).expect("written");
            fs::rename(new, &path).expect("renamed");
        };
        write("policy: {set: {lostAfter: 90s}}");
        let followed = load(Some(path.clone()), None).expect("valid");
        assert_eq!(lost_after(followed.config()), Duration::from_secs(90));

        let (applied, seen) = mpsc::channel();
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, CONFIG);
        let mut following = std::pin::pin!(followed.follow(metrics, move |config| drop(applied.send(config))));
        let mut after = async |text: &str| {
            write(text);
            assert!(timeout(3 * POLL_INTERVAL, &mut following).await.is_err(), "it never ends");
            seen.try_iter().map(|config| lost_after(&config).as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(after("policy: {set: {lostAfter: 80s}}").await, [80]);
        assert!(after("policy: {set: {lostAfter: soon}}").await.is_empty());
        let shown = |registry: &Registry| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, registry).expect("a String takes all");
            text
        };
        let broken = shown(&registry);
        assert!(broken.contains(r#"jobwarden_config_reloads_total{result="rejected"} 1"#), "{broken}");
        assert!(broken.contains("jobwarden_config_last_reload_successful 0"), "{broken}");
        assert_eq!(after("policy: {set: {lostAfter: 70s}}").await, [70]);
        assert!(shown(&registry).contains("jobwarden_config_last_reload_successful 1"));
    }

    #[test]
    fn a_broken_file_is_an_error_at_the_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("reaper.yaml");
        assert!(load(Some(path.clone()), None).is_err());
        fs::write(&path, "policy: {preset: argo}").expect("written");
        assert!(load(Some(path), None).is_err());
        assert!(load(None, None).expect("no file").config().sinks.is_empty());
    }
}
