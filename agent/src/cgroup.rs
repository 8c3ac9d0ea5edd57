//! The pod and container of a process, as `/proc/<pid>/cgroup` names them (cgroups(7)).
//!
//! The kubelet places the containers of a pod below `…/pod<UID>/`, in a form that depends on its cgroup driver and the runtime:
//!
//! | driver | runtime | end of the path |
//! |---|---|---|
//! | cgroupfs | containerd | `/kubepods/besteffort/pod<UID>/<ID>` |
//! | cgroupfs | CRI-O | `/kubepods/besteffort/pod<UID>/crio-<ID>` |
//! | systemd | containerd | `…/kubepods-besteffort-pod<UID with _>.slice/cri-containerd-<ID>.scope` |
//! | systemd | CRI-O | `…/kubepods-besteffort-pod<UID with _>.slice/crio-<ID>.scope` |
//! | systemd | Docker | `…/kubepods-besteffort-pod<UID with _>.slice/docker-<ID>.scope` |
//! | systemd in the kubelet only | containerd | `…/kubepods-besteffort-pod<UID with _>.slice:cri-containerd:<ID>` |
//!
//! The path may have any prefix: a cgroup root of the kubelet or, in a private cgroup namespace, `/../..` in place of
//! `kubepods`. It may have any suffix: cgroups that a container creates itself.

use std::fmt;

use jobwarden_common::identity::PodUid;

/// One container of one pod, as its cgroup names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Container {
    /// The pod.
    pub pod: PodUid,
    /// The container.
    pub id: ContainerId,
}

/// The ID of a container in its runtime: 64 hex digits, without the prefix `containerd://` of the kubelet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(Box<str>);

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The container of a process with this `/proc/<pid>/cgroup`, if it belongs to one. Of nested pods it is the innermost.
pub fn container(cgroup: &str) -> Option<Container> {
    // `hierarchy:controllers:path`, one line per hierarchy.
    cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find_map(container_in_path)
}

fn container_in_path(path: &str) -> Option<Container> {
    // The kernel appends this if the cgroup was removed while a process in it is not yet reaped.
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let mut inward = path.split(['/', ':']).rev();
    let mut id = None;
    inward
        .find_map(|component| {
            let pod = pod_uid(component);
            if pod.is_none() {
                // The outermost component below the pod is the container; cgroups that it created itself follow.
                id = container_id(component).or(id.take());
            }
            pod
        })
        .and_then(|pod| Some(Container { pod, id: id? }))
}

/// The UID in `pod<UID>` or `…-pod<UID with _>.slice`.
fn pod_uid(component: &str) -> Option<PodUid> {
    let slice = component.strip_suffix(".slice");
    let (before, uid) = slice.unwrap_or(component).rsplit_once("pod")?;
    // With systemd this is the last part of the name, otherwise the whole name.
    let whole = if slice.is_some() { before.is_empty() || before.ends_with('-') } else { before.is_empty() };
    let uid = uid.replace('_', "-");
    (whole && is_uid(&uid)).then(|| uid.into())
}

/// A UUID, or the 32 hex digits that the kubelet assigns to a static pod.
fn is_uid(text: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.len() {
        32 => hex(text),
        36 => {
            let groups = text.split('-');
            groups.clone().map(str::len).eq([8, 4, 4, 4, 12]) && groups.clone().all(hex)
        }
        _ => false,
    }
}

/// The ID in `<ID>`, `<runtime>-<ID>` or `<runtime>-<ID>.scope`. `crio-conmon-<ID>` is the monitor of a container, not
/// the container.
fn container_id(component: &str) -> Option<ContainerId> {
    let name = component.strip_suffix(".scope").unwrap_or(component);
    let (runtime, id) = name.rsplit_once('-').unwrap_or(("", name));
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && !runtime.ends_with("conmon")).then(|| ContainerId(id.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const UID: &str = "0a1b2c3d-1111-2222-3333-444455556666";
    const UID_: &str = "0a1b2c3d_1111_2222_3333_444455556666";
    const STATIC: &str = "ee5dbc1ca2a5c0a2dfae3ba5ee6ae2f7";
    const ID: &str = "3f1c4b0a9d8e7f6a5b4c3d2e1f00112233445566778899aabbccddeeff001122";
    const OUTER: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

    #[rstest]
    #[case::cgroupfs_v1(
        "12:pids:/kubepods/besteffort/pod{UID}/{ID}\n11:memory:/kubepods/besteffort/pod{UID}/{ID}\n",
        UID
    )]
    #[case::named_by_one_hierarchy_only("2:name=systemd:/\n1:memory:/kubepods/burstable/pod{UID}/{ID}\n0::/\n", UID)]
    #[case::guaranteed("0::/kubepods/pod{UID}/{ID}\n", UID)]
    #[case::below_a_cgroup_root("4:memory:/node-1/kubepods/besteffort/pod{UID}/{ID}\n", UID)]
    #[case::private_namespace_same_class("0::/../../pod{UID}/{ID}\n", UID)]
    #[case::private_namespace_other_class("0::/../../../burstable/pod{UID}/{ID}\n", UID)]
    #[case::systemd_containerd(
        "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice/cri-containerd-{ID}.scope\n",
        UID
    )]
    #[case::systemd_private_namespace("0::/../../kubepods-burstable-pod{UID_}.slice/cri-containerd-{ID}.scope\n", UID)]
    #[case::systemd_guaranteed("0::/kubepods.slice/kubepods-pod{UID_}.slice/crio-{ID}.scope\n", UID)]
    #[case::systemd_docker("1:name=systemd:/kubepods.slice/kubepods-pod{UID_}.slice/docker-{ID}.scope\n", UID)]
    #[case::systemd_below_a_cgroup_root(
        "0::/kubelet.slice/kubelet-kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope\n",
        UID
    )]
    #[case::systemd_in_the_kubelet_only(
        "3:memory:/system.slice/containerd.service/kubepods-besteffort-pod{UID_}.slice:cri-containerd:{ID}\n",
        UID
    )]
    #[case::crio_cgroupfs("0::/kubepods/besteffort/pod{UID}/crio-{ID}\n", UID)]
    #[case::static_pod("0::/kubepods/burstable/pod{STATIC}/{ID}\n", STATIC)]
    #[case::static_pod_systemd("0::/kubepods.slice/kubepods-burstable-pod{STATIC}.slice/crio-{ID}.scope\n", STATIC)]
    #[case::cgroups_of_its_own("0::/kubepods/pod{UID}/{ID}/init.scope\n", UID)]
    #[case::containers_of_its_own("0::/kubepods/pod{UID}/{ID}/docker/{OUTER}\n", UID)]
    #[case::a_cluster_in_a_pod("0::/kubepods/pod{STATIC}/{OUTER}/node-1/kubepods/pod{UID}/{ID}\n", UID)]
    #[case::removed_before_a_zombie_is_reaped("0::/kubepods/pod{UID}/{ID} (deleted)\n", UID)]
    fn every_form_is_recognized(#[case] form: &str, #[case] pod: &str) {
        let cgroup = fill(form);
        let expected = Container { pod: pod.into(), id: ContainerId(ID.into()) };
        assert_eq!(container(&cgroup), Some(expected), "{cgroup}");
    }

    #[rstest]
    #[case::nothing("")]
    #[case::a_kernel_thread("0::/\n")]
    #[case::a_service("0::/system.slice/kubelet.service\n")]
    #[case::the_pod_itself("0::/kubepods/besteffort/pod{UID}\n")]
    #[case::the_monitor_of_a_container("0::/kubepods.slice/kubepods-pod{UID_}.slice/crio-conmon-{ID}.scope\n")]
    #[case::a_container_without_a_pod("0::/docker/{ID}\n")]
    #[case::a_neighbour_in_our_own_pod("0::/../{ID}\n")]
    #[case::no_uid("0::/kubepods/podcast/{ID}\n")]
    #[case::no_uid_but_of_the_same_length("0::/kubepods/pod0a1b2c3d-1111-2222-33334-44455556666/{ID}\n")]
    #[case::a_name_that_only_ends_with_pod_and_uid("0::/not-a-pod{UID}/{ID}\n")]
    #[case::no_container_id("0::/kubepods/pod{UID}/abc\n")]
    #[case::not_a_cgroup_file("kubepods")]
    fn other_cgroups_are_not_containers_of_pods(#[case] form: &str) {
        let cgroup = fill(form);
        assert_eq!(container(&cgroup), None, "{cgroup}");
    }

    fn fill(form: &str) -> String {
        let values = [("{UID}", UID), ("{UID_}", UID_), ("{STATIC}", STATIC), ("{ID}", ID), ("{OUTER}", OUTER)];
        values.iter().fold(form.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text in ".*") {
            container(&text);
        }

        #[test]
        fn prefix_and_suffix_of_the_path_do_not_matter(prefix in "(/[a-z0-9.-]{1,9}){0,4}", suffix in "(/[a-z0-9.-]{1,9}){0,4}") {
            let found = container(&format!("0::{prefix}/kubepods/pod{UID}/{ID}{suffix}\n"));
            prop_assert_eq!(found.map(|found| found.pod), Some(UID.into()));
        }
    }
}
