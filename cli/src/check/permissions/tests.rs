use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::check::{finding::Status, healthy, rights::Right};

/// Account, namespace (`*` for all), group, resource, name (`*` for any) and verb.
type Granted = BTreeSet<[String; 6]>;

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// The permissions that the manifests grant.
fn granted() -> Granted {
    let objects = &*healthy::OBJECTS;
    let roles = |kind: &str, namespace: &Value, name: &Value| {
        let role = objects.iter().find(|it| {
            it["kind"] == kind && it["metadata"]["name"] == *name && it["metadata"]["namespace"] == *namespace
        });
        role.unwrap_or_else(|| panic!("no {kind} {name}"))["rules"].as_array().expect("rules").clone()
    };
    let mut granted = Granted::new();
    for binding in objects.iter().filter(|it| it["kind"].as_str().is_some_and(|kind| kind.ends_with("RoleBinding"))) {
        let namespace = &binding["metadata"]["namespace"];
        let place = namespace.as_str().unwrap_or("*");
        for rule in roles(binding["roleRef"]["kind"].as_str().expect("a kind"), namespace, &binding["roleRef"]["name"])
        {
            let any = |list: Vec<String>| if list.is_empty() { vec!["*".to_owned()] } else { list };
            let (resources, groups) = match strings(&rule["nonResourceURLs"]) {
                paths if paths.is_empty() => (strings(&rule["resources"]), strings(&rule["apiGroups"])),
                paths => (paths, vec![String::new()]),
            };
            for account in strings(&json!(
                binding["subjects"].as_array().expect("subjects").iter().map(|it| &it["name"]).collect::<Vec<_>>()
            )) {
                for (group, resource) in groups.iter().flat_map(|group| resources.iter().map(move |it| (group, it))) {
                    for (name, verb) in any(strings(&rule["resourceNames"]))
                        .iter()
                        .flat_map(|name| strings(&rule["verbs"]).into_iter().map(move |verb| (name.clone(), verb)))
                    {
                        let place = place.to_owned();
                        granted.insert([account.clone(), place, group.clone(), resource.clone(), name, verb]);
                    }
                }
            }
        }
    }
    granted
}

#[test]
fn the_manifests_grant_exactly_the_needed_permissions() {
    let needed: Granted = Right::all()
        .iter()
        .map(|right| {
            let place = right.namespace("jobwarden").unwrap_or("*");
            [right.account.name(), place, right.group, right.resource, right.name.unwrap_or("*"), right.verb]
                .map(str::to_owned)
        })
        .collect();
    let granted = granted();
    let differing: Vec<_> = needed.symmetric_difference(&granted).collect();
    assert!(differing.is_empty(), "the table and manifests/chart/templates/*-rbac.yaml differ: {differing:#?}");
}

#[test]
fn a_review_has_user_groups_and_resource() {
    let right = Right::all().into_iter().find(|right| right.resource == "jobs/status").expect("one of them");
    let spec = serde_json::to_value(right.review("there").spec).expect("JSON");
    assert_eq!(
        spec["resourceAttributes"],
        json!({"group": "batch", "resource": "jobs", "subresource": "status", "verb": "patch"})
    );
    assert_eq!(spec["user"], "system:serviceaccount:there:jobwarden-reaper");
    let agents = Right::all().pop().expect("the last one").review("there").spec;
    assert_eq!(agents.user.as_deref(), Some("system:serviceaccount:jobwarden-agent:jobwarden-agent"));
}

#[rstest]
#[case::read(false, "list", "pods", Status::Failure)]
#[case::write(false, "delete", "jobs", Status::Failure)]
#[case::write_with_observe_only(true, "delete", "jobs", Status::Ok)]
fn a_missing_permission_is_named(
    #[case] observe_only: bool,
    #[case] verb: &str,
    #[case] resource: &str,
    #[case] expected: Status,
) {
    let mut snapshot = healthy::snapshot();
    if observe_only {
        healthy::arguments(&mut snapshot.reaper).push("--observe-only".to_owned());
    }
    for answer in snapshot.permissions.as_mut().expect("answers") {
        let Right { account, verb: its, resource: of, .. } = answer.right;
        answer.allowed = !(account == Account::Reaper && its == verb && of == resource);
    }
    let findings = check(&snapshot);
    let [webhook, reaper, agent] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!((webhook.status, reaper.status, agent.status), (Status::Ok, expected, Status::Ok));
    if expected == Status::Failure {
        assert!(reaper.message.contains(&format!("cannot {verb} {resource} in all namespaces")), "{reaper:?}");
        assert!(reaper.hint.as_ref().is_some_and(|hint| hint.contains("kubectl apply")), "{reaper:?}");
    }
}
