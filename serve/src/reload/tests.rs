use std::{fs, num::ParseIntError, os::unix::fs::symlink, path::Path};

use prometheus_client::registry::Registry;
use tokio::time::timeout;

use super::*;

#[derive(Debug, thiserror::Error)]
enum NumberError {
    #[error("cannot read the file")]
    Read(#[from] io::Error),
    #[error("not a number")]
    Parse(#[from] ParseIntError),
}

fn number(text: io::Result<String>) -> Result<u32, NumberError> {
    Ok(text?.parse()?)
}

/// Updates the file as the kubelet does: a new folder, and one rename that makes it the current one.
fn publish(mount: &Path, version: &str, text: &str) {
    let folder = mount.join(version);
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("config.yaml"), text).expect("a file");
    symlink(version, mount.join("..data_tmp")).expect("a link");
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("renamed");
}

#[tokio::test(start_paused = true)]
async fn an_update_by_the_kubelet_is_loaded_and_a_broken_one_rejected() {
    let mount = tempfile::tempdir().expect("a folder");
    publish(mount.path(), "..v1", "1");
    let path = mount.path().join("config.yaml");
    symlink("..data/config.yaml", &path).expect("a link");
    let (mut file, first) = ConfigFile::load(path, number).expect("a number");
    assert_eq!(first, 1);
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry, CONFIG);
    let shown = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes all");
        text
    };

    publish(mount.path(), "..v2", "2");
    assert_eq!(file.changed(&metrics).await.expect("a number"), 2);
    fs::remove_file(mount.path().join("..data")).expect("removed");
    assert!(matches!(file.changed(&metrics).await, Err(NumberError::Read(_))));
    assert!(shown().contains("jobwarden_config_last_reload_successful 0"), "{}", shown());
    publish(mount.path(), "..v3", "two");
    assert!(matches!(file.changed(&metrics).await, Err(NumberError::Parse(_))));
    publish(mount.path(), "..v4", "2");
    assert_eq!(file.changed(&metrics).await.expect("a number"), 2);
    assert!(timeout(10 * POLL_INTERVAL, file.changed(&metrics)).await.is_err(), "an unchanged file is not reloaded");
    for line in [
        r#"jobwarden_config_reloads_total{result="applied"} 2"#,
        r#"jobwarden_config_reloads_total{result="rejected"} 2"#,
        "jobwarden_config_last_reload_successful 1",
    ] {
        assert!(shown().contains(line), "{line} is not in {}", shown());
    }
}

#[test]
fn a_broken_file_is_an_error_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.yaml");
    assert!(matches!(ConfigFile::load(path.clone(), number), Err(NumberError::Read(_))));
    fs::write(&path, "one").expect("written");
    assert!(matches!(ConfigFile::load(path, number), Err(NumberError::Parse(_))));
}
