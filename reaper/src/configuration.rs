//! The configuration file while it changes: a good policy applies at once, a broken file is refused and the old one stays.

use std::{future::pending, path::PathBuf};

use jobwarden_serve::{file::File, logs::with_causes};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::deliver::{Config, ConfigError};

/// Figures of changes; clones are the same figures.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    reloads: Family<[(&'static str, &'static str); 1], Counter>,
    last_successful: Gauge,
}

impl Metrics {
    /// Shows them in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let Self { reloads, last_successful } = self;
        // What it starts with is in order, or it would not have started.
        last_successful.set(1);
        for result in ["applied", "rejected"] {
            // So that an alert on an increase sees the first one, too.
            drop(reloads.get_or_create(&[("result", result)]));
        }
        registry.register("jobwarden_config_reloads", "Changes of the configuration file by result", reloads.clone());
        registry.register(
            "jobwarden_config_last_reload_successful",
            "1 while the configuration file is the one that applies, 0 while a broken one is refused",
            last_successful.clone(),
        );
    }

    fn count(&self, successful: bool) {
        let result = if successful { "applied" } else { "rejected" };
        self.reloads.get_or_create(&[("result", result)]).inc();
        self.last_successful.set(successful.into());
    }
}

/// The configuration file of a process that serves.
#[derive(Debug)]
pub struct Followed {
    /// The file, and its text when it was read last.
    file: Option<(PathBuf, String)>,
    /// What it then said.
    config: Config,
}

/// Reads the file at `path`; none is one that says nothing.
pub fn load(path: Option<PathBuf>) -> Result<Followed, ConfigError> {
    let Some(path) = path else { return Ok(Followed { file: None, config: Config::default() }) };
    let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
    let config = Config::parse(&text, &path)?;
    Ok(Followed { file: Some((path, text)), config })
}

impl Followed {
    /// What the file says at first.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Hands each good change of the file to `apply`, for ever. Sinks are not among what changes in a running process.
    pub async fn follow(self, metrics: Metrics, apply: impl Fn(Config)) {
        let Self { file, config } = self;
        let Some((path, text)) = file else { return pending().await };
        let sinks = config.sinks;
        let mut file = File::new(path.clone(), text);
        loop {
            let read = file.changed().await.map_err(|source| ConfigError::Read { path: path.clone(), source });
            let change = read.and_then(|text| Config::parse(&text, &path));
            metrics.count(change.is_ok());
            match change {
                Ok(new) => {
                    tracing::info!(path = %path.display(), "the configuration has changed and applies from now on");
                    if new.sinks != sinks {
                        tracing::warn!("other sinks are served only after the next start");
                    }
                    apply(new);
                }
                Err(error) => {
                    let error = with_causes(&error);
                    tracing::error!(error, "the new configuration is refused; the old one still applies");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, time::Duration};

    use jobwarden_core::policy::{Changes, Labels, Policies, Policy};
    use jobwarden_serve::file::LOOK_EVERY;
    use tokio::time::timeout;

    use super::*;

    fn lost_after(config: &Config) -> Duration {
        let mut policies = Policies::new(Policy::default());
        policies.set_file(config.policy.clone());
        policies.effective("n", &Labels::default(), &Changes::default()).policy.lost_after
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_applies_and_a_broken_one_leaves_what_was_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("reaper.yaml");
        // All of it at once, as every tool that changes files in use does.
        let write = |text: &str| {
            let new = path.with_extension("new");
            fs::write(&new, text).expect("written");
            fs::rename(new, &path).expect("renamed");
        };
        write("policy: {set: {lostAfter: 90s}}");
        let followed = load(Some(path.clone())).expect("valid");
        assert_eq!(lost_after(followed.config()), Duration::from_secs(90));

        let (applied, seen) = mpsc::channel();
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        let mut following = std::pin::pin!(followed.follow(metrics, move |config| drop(applied.send(config))));
        let mut after = async |text: &str| {
            write(text);
            assert!(timeout(3 * LOOK_EVERY, &mut following).await.is_err(), "it never ends");
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
    fn a_broken_file_is_no_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("reaper.yaml");
        assert!(load(Some(path.clone())).is_err());
        fs::write(&path, "policy: {preset: argo}").expect("written");
        assert!(load(Some(path)).is_err());
        assert!(load(None).expect("no file").config().sinks.is_empty());
    }
}
