//! Faults of our own sidecar that the status of a pod does not show: a volume that cannot be mounted is in Events only.

use jobwarden_common::names::TOKEN_VOLUME;

use crate::causes::EventFact;

/// The kubelet's Event about a volume that cannot be mounted (`FailedMountVolume` in `pkg/kubelet/events`).
const FAILED_MOUNT: &str = "FailedMount";

/// What the kubelet says before the name of the volume (`volumeToMount.GenerateError` in `pkg/volume/util/types`).
const BEFORE_NAME: &str = "failed for volume \"";

/// Why the pod of these Events does not start, if that is the volume with the token of our sidecar and no volume of the workload.
pub fn token_volume_fault(events: &[EventFact]) -> Option<&str> {
    let failed = || events.iter().filter(|event| event.reason == FAILED_MOUNT);
    let volume = |event: &EventFact| {
        let (_, rest) = event.note.split_once(BEFORE_NAME)?;
        rest.split_once('"').map(|(name, _)| name.to_owned())
    };
    let is_ours = |event: &&EventFact| volume(event).is_some_and(|name| name == TOKEN_VOLUME);
    let is_anothers = |event: &EventFact| volume(event).is_some_and(|name| name != TOKEN_VOLUME);
    let ours = failed().find(is_ours)?;
    (!failed().any(is_anothers)).then_some(ours.note.as_str())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn event(reason: &str, note: &str) -> EventFact {
        EventFact { reason: reason.to_owned(), note: note.to_owned(), at: None, by: None }
    }

    const OURS: &str = "MountVolume.SetUp failed for volume \"jobwarden-token\" : failed to fetch token: forbidden";
    const ANOTHERS: &str = "MountVolume.SetUp failed for volume \"data\" : secret \"data\" not found";

    #[rstest]
    #[case::ours(&[("FailedMount", OURS), ("Scheduled", "Successfully assigned")], true)]
    #[case::also_the_workloads(&[("FailedMount", OURS), ("FailedMount", ANOTHERS)], false)]
    #[case::the_workloads(&[("FailedMount", ANOTHERS)], false)]
    #[case::another_event(&[("Other", OURS)], false)]
    #[case::none(&[], false)]
    fn a_token_volume_that_alone_cannot_be_mounted_is_our_fault(#[case] events: &[(&str, &str)], #[case] ours: bool) {
        let events: Vec<_> = events.iter().map(|(reason, note)| event(reason, note)).collect();
        assert_eq!(token_volume_fault(&events), ours.then_some(OURS));
    }
}
