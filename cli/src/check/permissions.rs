//! Whether the service accounts have the permissions that they need.

use super::{
    finding::{Finding, Section, all, some_of},
    rights::Account,
    snapshot::{Snapshot, arguments},
};

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let section = Section::Permissions;
    let found = section.available("the permissions of the service accounts", &snapshot.permissions).map(|answers| {
        let observe_only = snapshot.reaper.as_ref().is_ok_and(|reaper| {
            reaper.as_ref().is_some_and(|reaper| arguments(reaper).iter().any(|flag| flag == "--observe-only"))
        });
        let of = |account: Account| {
            let needed = answers.iter().filter(|it| it.right.account == account);
            let needed = needed.filter(|it| !(observe_only && it.right.enforcing));
            let missing: Vec<String> =
                needed.filter(|it| !it.allowed).map(|it| it.right.describe(&snapshot.namespace)).collect();
            let name = account.name();
            if missing.is_empty() {
                return section.ok(format!("the service account {name} has all permissions"));
            }
            let what = format!("the service account {name} cannot {}", some_of(&missing));
            let namespace = account.namespace(&snapshot.namespace);
            let list = format!(
                "its permissions: kubectl auth can-i --list --as=system:serviceaccount:{namespace}:{name} --namespace {}",
                snapshot.namespace
            );
            let roles = "a Role, ClusterRole or binding is missing or has been changed";
            section.failure(what, format!("{roles}; {}\n{list}", snapshot.restore()))
        };
        Account::ALL.into_iter().map(of).collect()
    });
    all(found)
}

#[cfg(test)]
mod tests;
