use rstest::rstest;

use super::{
    Resource::{Cpu, EphemeralStorage, Memory},
    Scope::{Container, Pod},
    Side::{Max, Min},
    *,
};

const SIZE: Resources<'static> = Resources { cpu: "10m", memory: "16Mi", ephemeral_storage: Some("16Mi") };

const SIDECAR: Requirements<'static> = Requirements { requests: SIZE, limits: SIZE };

fn bound(limit_range: &str, resource: Resource, side: Side, quantity: &str) -> Bound {
    let quantity = quantity.parse().expect("a quantity");
    Bound { limit_range: limit_range.to_owned(), scope: Container, resource, side, quantity }
}

fn fit(bounds: impl IntoIterator<Item = Bound>) -> Result<(String, String, String), String> {
    let bounds = Bounds::from_iter(bounds);
    let size = bounds.fit(SIZE).map_err(|violation| violation.warning())?;
    Ok((size.cpu.to_owned(), size.memory.to_owned(), size.ephemeral_storage.unwrap_or_default().to_owned()))
}

#[rstest]
#[case::within([bound("a", Memory, Min, "12Mi"), bound("a", Cpu, Max, "1")], ("10m", "16Mi", "16Mi"))]
#[case::written_differently([bound("a", Memory, Min, "16777216"), bound("a", Cpu, Max, "0.01")], ("10m", "16Mi", "16Mi"))]
#[case::raised([bound("a", Memory, Min, "64Mi"), bound("a", Cpu, Min, "50m")], ("50m", "64Mi", "16Mi"))]
#[case::lowered([bound("a", Memory, Max, "14Mi"), bound("a", Cpu, Max, "5m")], ("5m", "14Mi", "16Mi"))]
#[case::storage([bound("a", EphemeralStorage, Min, "1Gi"), bound("a", EphemeralStorage, Max, "2Gi")], ("10m", "16Mi", "1Gi"))]
#[case::the_strictest([bound("weak", Memory, Min, "32Mi"), bound("strict", Memory, Min, "64Mi")], ("10m", "64Mi", "16Mi"))]
#[case::the_strictest_in_reverse_order([bound("strict", Memory, Min, "64Mi"), bound("weak", Memory, Min, "32Mi")], ("10m", "64Mi", "16Mi"))]
fn the_sidecar_gets_the_nearest_size_that_a_container_may_have(
    #[case] bounds: [Bound; 2],
    #[case] (cpu, memory, storage): (&str, &str, &str),
) {
    assert_eq!(fit(bounds), Ok((cpu.to_owned(), memory.to_owned(), storage.to_owned())));
}

#[rstest]
#[case::below_what_a_container_needs([bound("tiny", Memory, Max, "8Mi")], "at most 8Mi of memory per container, and the sidecar needs 12Mi")]
#[case::contradictory([bound("tiny", Cpu, Min, "2"), bound("tiny", Cpu, Max, "1")], "of CPU per container")]
fn a_limit_range_that_allows_no_sidecar_is_named(#[case] bounds: impl IntoIterator<Item = Bound>, #[case] text: &str) {
    let warning = fit(bounds).expect_err("no size fits");
    assert!(warning.contains("LimitRange \"tiny\"") && warning.contains(text), "{warning}");
}

fn totals(request: Option<f64>, limit: Option<f64>) -> Totals {
    Totals { requests: [request, None, None], limits: [limit, None, None] }
}

#[rstest]
#[case::at_the_maximum(Max, "1", (Some(1.0), Some(1.0)), true)]
#[case::below_the_maximum(Max, "1", (Some(0.5), Some(0.99)), false)]
#[case::above_it_anyway(Max, "1", (Some(2.0), Some(2.0)), false)]
#[case::rejected_without_a_limit_anyway(Max, "1", (Some(0.5), None), false)]
#[case::at_the_minimum(Min, "1", (Some(1.0), Some(1.0)), false)]
#[case::a_limit_that_only_the_sidecar_has(Min, "1", (Some(1.0), None), true)]
fn a_pod_is_left_without_the_sidecar_only_if_the_sidecar_makes_the_difference(
    #[case] side: Side,
    #[case] quantity: &str,
    #[case] (request, limit): (Option<f64>, Option<f64>),
    #[case] violated: bool,
) {
    let bounds = Bounds::from_iter([Bound { scope: Pod, ..bound("pods", Cpu, side, quantity) }]);
    assert!(bounds.has_pod_bounds());
    let violation = bounds.pod_violation(&totals(request, limit), &SIDECAR);
    assert_eq!(violation.is_some(), violated, "{violation:?}");
}

#[rstest]
#[case::room("2", 0.0, None)]
#[case::never_room("1", 0.0, Some(true))]
#[case::no_room_now("2", 0.995, Some(false))]
#[case::no_room_for_the_pod_itself("2", 1.5, None)]
fn a_quota_without_room_for_the_sidecar_is_noticed(
    #[case] hard: &str,
    #[case] used: f64,
    #[case] expected: Option<bool>,
) {
    let hard = hard.parse().expect("a quantity");
    let quota = Quota { name: "team".to_owned(), key: "requests.cpu".to_owned(), hard, used };
    let bounds = Bounds::new(strictest([]), [quota].into());
    let shortage = bounds.shortage(&totals(Some(1.0), None), &SIDECAR);
    assert_eq!(shortage.as_ref().map(|it| it.forever), expected);
    if let Some(shortage) = shortage {
        assert!(
            shortage.warning().contains("requests.cpu") && shortage.warning().contains("sidecar (10m)"),
            "{shortage:?}"
        );
    }
}

#[test]
fn a_key_of_a_quota_names_its_resource() {
    let keys = ["cpu", "requests.memory", "limits.ephemeral-storage", "pods", "requests.nvidia.com/gpu"];
    let expected = [Some((Cpu, false)), Some((Memory, false)), Some((EphemeralStorage, true)), None, None];
    assert_eq!(keys.map(Quota::resource), expected);
}

#[test]
fn a_warning_never_exceeds_the_length_limit_of_the_api_server() {
    let (digits, more) = ("1".repeat(100), "9".repeat(100));
    let size = Resources { cpu: &more, memory: &more, ephemeral_storage: None };
    let sidecar = Requirements { requests: size, limits: size };
    let name = "n".repeat(253);
    let container = Bounds::from_iter([bound(&name, Memory, Max, "8Mi"), bound(&name, Memory, Min, &digits)]);
    let quota = |used| Quota {
        name: name.clone(),
        key: "limits.ephemeral-storage".to_owned(),
        hard: digits.parse().expect("a quantity"),
        used,
    };
    let warnings = [
        container.fit(size).expect_err("contradictory").warning(),
        adjusted(&size, &SIZE, &SIZE).expect("they differ"),
        Quota { key: "requests.memory".to_owned(), ..quota(0.0) }
            .shortage(&Totals { requests: [None, Some(1.0), None], limits: [None; 3] }, &sidecar)
            .expect("never room")
            .warning(),
    ];
    for warning in warnings {
        assert!(warning.chars().count() <= 256, "{} characters: {warning}", warning.chars().count());
    }
}
