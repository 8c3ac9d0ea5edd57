//! `LimitRanges`: which pods are denied because of the sidecar's size, and which Jobs get a warning.

use jobwarden_inject::patch::{
    Denial, Mutation, Settings, job,
    limits::{Bound, Bounds, Resource, Side},
    pod,
    sidecar::Size,
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{a_job, a_pod, admit_job, admit_pod, patched, reaper, settings};

/// A minimum that the sidecar of [`settings`] violates.
fn bounds() -> Bounds {
    let quantity = "32Mi".parse().expect("a quantity");
    let bound = Bound { limit_range: "floor".to_owned(), resource: Resource::Memory, side: Side::Min, quantity };
    [bound].into_iter().collect()
}

fn admit_bounded_pod(pod: &Value, settings: &Settings) -> Result<Mutation, Denial> {
    let text = pod.to_string();
    let pod = serde_json::from_str(&text).expect("the test's pod is valid");
    pod::admit(&pod, "work", settings, &reaper(), Some(&bounds()))
}

/// The warnings for the creator of `job`.
fn warnings(job: &Value, settings: &Settings) -> Vec<String> {
    let text = job.to_string();
    let job = serde_json::from_str(&text).expect("the test's Job is valid");
    job::admit(&job, "work", settings, Some(&bounds())).expect("a LimitRange never denies a Job").warnings
}

fn memory(size: &str) -> Value {
    json!({"jobwarden.io/sidecar-memory": size})
}

#[test]
fn a_limit_range_denies_the_pod_and_warns_the_job() {
    let denial = admit_bounded_pod(&a_pod(), &settings()).expect_err("denied");
    assert!(matches!(denial, Denial::Size(_)), "{denial:?}");
    assert!(denial.to_string().starts_with("the LimitRange \"floor\" requires"), "{denial}");
    let warnings = warnings(&a_job(), &settings());
    assert!(matches!(&warnings[..], [only] if only.starts_with("its pods will be denied: ")), "{warnings:?}");
}

#[test]
fn a_size_for_the_namespace_satisfies_the_bound() {
    let size = Size { cpu: None, memory: Some("32Mi".parse().expect("a quantity")) };
    let mut settings = settings();
    settings.sidecar.namespaces = [("work".to_owned(), size)].into();
    admit_bounded_pod(&a_pod(), &settings).expect("admitted");
    assert_eq!(warnings(&a_job(), &settings), Vec::<String>::new());
}

#[rstest]
#[case::of_the_job(memory("32Mi"), json!(null), true)]
#[case::of_the_template(json!(null), memory("32Mi"), true)]
#[case::the_template_takes_precedence(memory("32Mi"), memory("16Mi"), false)]
#[case::an_invalid_one_of_the_template_takes_precedence(memory("32Mi"), memory("much"), false)]
#[case::still_too_little(memory("31Mi"), json!(null), false)]
fn an_annotation_satisfies_the_bound_for_job_and_pod(
    #[case] own: Value,
    #[case] template: Value,
    #[case] satisfied: bool,
) {
    let mut job = a_job();
    job["metadata"]["annotations"] = own;
    job["spec"]["template"]["metadata"]["annotations"] = template;
    let warned = warnings(&job, &settings()).iter().any(|warning| warning.contains("LimitRange"));
    assert_eq!(warned, !satisfied);

    let mut pod = a_pod();
    pod["metadata"]["annotations"] =
        patched(&job, &admit_job(&job).expect("admitted"))["spec"]["template"]["metadata"]["annotations"].take();
    assert_eq!(admit_bounded_pod(&pod, &settings()).is_ok(), satisfied);
}

#[test]
fn bounds_apply_only_to_a_sidecar_that_will_be_added() {
    let there = patched(&a_pod(), &admit_pod(&a_pod()).expect("admitted"));
    admit_bounded_pod(&there, &settings()).expect("the pod already has its sidecar");
    let mut opted_out = a_pod();
    opted_out["metadata"]["labels"] = json!({"jobwarden.io/inject": "false"});
    admit_bounded_pod(&opted_out, &settings()).expect("the pod gets no sidecar");

    let mut managed_by_other = a_job();
    managed_by_other["spec"]["managedBy"] = json!("kueue.x-k8s.io/multikueue");
    assert_eq!(warnings(&managed_by_other, &settings()), Vec::<String>::new(), "its pods run in another cluster");
    let mut with_sidecar = a_job();
    for list in ["initContainers", "volumes"] {
        with_sidecar["spec"]["template"]["spec"][list] = there["spec"][list].clone();
    }
    assert_eq!(warnings(&with_sidecar, &settings()), Vec::<String>::new());
}
