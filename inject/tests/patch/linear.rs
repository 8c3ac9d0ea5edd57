//! Admission takes linear time: eight times the input takes about eight times as long, not sixty-four.

use std::{hint::black_box, time::Duration};

use jobwarden_common::names::annotation;
use nix::time::{ClockId, clock_gettime};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{a_pod, admit_job, admit_pod};

/// Element counts large enough that constant costs are negligible.
const SIZES: [usize; 2] = [2_000, 16_000];

/// Quadratic time would give 64, linear time 8; the limit leaves room for noise. The test compares the fastest of several runs,
/// in CPU time of this thread, so that other load on the machine does not count.
const LIMIT: f64 = 24.0;

const RUNS: usize = 8;

fn fastest(object: &Value, admit: impl Fn(&Value)) -> Duration {
    let timed = |_| {
        let start = thread_time();
        admit(object);
        thread_time().saturating_sub(start)
    };
    (0..RUNS).map(timed).min().expect("there are runs")
}

/// `CLOCK_THREAD_CPUTIME_ID` of `clock_gettime(2)`.
fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every Linux has this clock").into()
}

fn many(count: usize, item: impl Fn(usize) -> Value) -> Value {
    (0..count).map(item).collect()
}

fn map(count: usize, key: &str) -> Value {
    Value::Object((0..count).map(|n| (format!("{key}{n}"), json!("x"))).collect())
}

#[rstest]
#[case::variables("/spec/containers/0/env", |n| many(n, |n| json!({"name": format!("V{n}"), "value": "x"})))]
#[case::variables_that_a_rule_reads("/spec/containers/0/env", |n| many(n, |_| json!({"name": "payload", "value": "{\"a\":1}"})))]
#[case::arguments("/spec/containers/0/args", |n| many(n, |_| json!("--job")))]
#[case::containers("/spec/containers", |n| many(n, |n| json!({"name": format!("c{n}")})))]
#[case::init_containers("/spec/initContainers", |n| many(n, |n| json!({"name": format!("c{n}")})))]
#[case::volumes("/spec/volumes", |n| many(n, |n| json!({"name": format!("v{n}")})))]
#[case::tolerations("/spec/tolerations", |n| many(n, |_| json!({"operator": "Exists"})))]
#[case::pull_secrets("/spec/imagePullSecrets", |n| many(n, |n| json!({"name": format!("s{n}")})))]
#[case::owners("/metadata/ownerReferences", |n| many(n, |_| json!({"apiVersion": "batch/v1", "kind": "Job", "uid": "u"})))]
#[case::labels("/metadata/labels", |n| map(n, "label"))]
#[case::numbered_labels("/metadata/labels", |n| map(n, "trace-id-"))]
#[case::annotations("/metadata/annotations", |n| map(n, "note"))]
#[case::a_long_value("/metadata/annotations", |n| json!({ annotation::LOST_AFTER: "\u{1}9".repeat(n) }))]
#[case::unknown_fields("/spec/future", |n| many(n, |n| json!({"deep": [n, {"er": null}]})))]
fn time_grows_with_the_input(#[case] pointer: &str, #[case] content: fn(usize) -> Value) {
    let times = SIZES.map(|size| {
        let mut pod = a_pod();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        pod.pointer_mut(parent).expect("its parent exists")[key] = content(size);
        let job = json!({"metadata": pod["metadata"], "spec": {"template": pod}});
        let pods = fastest(&pod, |pod| drop(black_box(admit_pod(pod))));
        pods + fastest(&job, |job| drop(black_box(admit_job(job))))
    });
    let ratio = times[1].as_secs_f64() / times[0].as_secs_f64();
    assert!(ratio < LIMIT, "eight times the input takes {ratio:.0} times as long: {times:?}");
}
