//! `docs/rbac.md`, from the plain manifests: every right of jobwarden's service accounts, why it exists, and what narrows it.

use std::fmt::Write as _;

use anyhow::Context as _;
use k8s_openapi::{
    api::{
        admissionregistration::v1::{NamedRuleWithOperations, ValidatingAdmissionPolicy},
        rbac::v1::PolicyRule,
    },
    serde_json::{self, Value},
};

const HEAD: &str = "\
<!-- Written by `cargo xtask gen` from manifests/install.yaml and manifests/release.yaml. -->

# The rights of jobwarden's service accounts

Every right that the chart grants, why it exists, and what narrows it: a namespace, names of objects, or a ValidatingAdmissionPolicy that is bound to the
service account (`ownRights.enabled`, on by default). An attacker who has a token of one of these accounts can do this, and no more. The end-to-end tests
try it verb by verb (`tests/e2e/own_rights.rs`).

These are the rights by default. With `reaper.logs.enabled`, `jobwarden-reaper` may also `get` `pods/log` in all namespaces (enrichment.md).
";

/// A Role or `ClusterRole` with the comment above each rule.
struct Role {
    name: String,
    /// `None` for a `ClusterRole`.
    namespace: Option<String>,
    rules: Vec<(String, PolicyRule)>,
}

/// A policy that is bound to one service account.
struct Policy {
    name: String,
    account: String,
    rules: Vec<NamedRuleWithOperations>,
    messages: Vec<String>,
}

/// The page for these manifests.
pub(super) fn page(manifests: &[String]) -> anyhow::Result<String> {
    let (mut roles, mut policies) = (Vec::new(), Vec::new());
    for text in manifests.iter().flat_map(|manifest| manifest.split("\n---\n")) {
        let object: Value = serde_saphyr::from_str(text).context("parsing a manifest")?;
        match object["kind"].as_str() {
            Some("Role" | "ClusterRole") => roles.push(role(text, object)?),
            Some("ValidatingAdmissionPolicy") => policies.extend(policy(object)?),
            _ => {}
        }
    }
    roles.sort_by(|a, b| (&a.name, &a.namespace).cmp(&(&b.name, &b.namespace)));
    let mut page = HEAD.to_owned();
    for role in &roles {
        let Role { name, namespace, rules } = role;
        let scope =
            namespace.as_ref().map_or("all namespaces".to_owned(), |namespace| format!("namespace `{namespace}`"));
        writeln!(page, "\n## `{name}`, {scope}\n\n| verbs | of what | why | narrowed by |\n|---|---|---|---|")?;
        for (why, rule) in rules {
            let narrowed = narrowed(role, rule, &policies);
            writeln!(page, "| {} | {} | {why} | {narrowed} |", rule.verbs.join(", "), resources(rule))?;
        }
    }
    Ok(page)
}

fn role(text: &str, mut object: Value) -> anyhow::Result<Role> {
    let field = |key: &str| object["metadata"][key].as_str().map(str::to_owned);
    let (name, namespace) = (field("name").context("a role has no name")?, field("namespace"));
    let rules: Vec<PolicyRule> =
        serde_json::from_value(object["rules"].take()).context("parsing the rules of a role")?;
    let comments = comments(text);
    anyhow::ensure!(
        comments.len() == rules.len(),
        "{name}: {} rules, {} found in the text",
        rules.len(),
        comments.len()
    );
    Ok(Role { name, namespace, rules: comments.into_iter().zip(rules).collect() })
}

/// The comment above each item of `rules`; a rule without one belongs to the rule before it.
fn comments(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut comment = String::new();
    for line in text.lines().skip_while(|line| *line != "rules:").skip(1) {
        if let Some(more) = line.strip_prefix("  # ") {
            if !comment.is_empty() {
                comment.push(' ');
            }
            comment.push_str(more);
        } else if line.starts_with("  - ") {
            let same = found.last().cloned().unwrap_or_default();
            found.push(if comment.is_empty() { same } else { std::mem::take(&mut comment) });
        }
    }
    found
}

/// The policy, if it is bound to one of our service accounts.
fn policy(object: Value) -> anyhow::Result<Option<Policy>> {
    let parsed: ValidatingAdmissionPolicy = serde_json::from_value(object).context("parsing a policy")?;
    let spec = parsed.spec.unwrap_or_default();
    let mut conditions = spec.match_conditions.iter().flatten();
    let account = conditions.find_map(|condition| {
        let (_, rest) = condition.expression.split_once("request.userInfo.username == 'system:serviceaccount:")?;
        Some(rest.split_once('\'')?.0.rsplit(':').next()?.to_owned())
    });
    let Some(account) = account else { return Ok(None) };
    let constraints = spec.match_constraints.unwrap_or_default();
    let messages = spec.validations.into_iter().flatten().filter_map(|validation| validation.message).collect();
    let name = parsed.metadata.name.unwrap_or_default();
    Ok(Some(Policy { name, account, rules: constraints.resource_rules.unwrap_or_default(), messages }))
}

fn resources(rule: &PolicyRule) -> String {
    let code = |values: &Option<Vec<String>>| {
        values.iter().flatten().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
    };
    match &rule.non_resource_urls {
        Some(_) => code(&rule.non_resource_urls),
        None => code(&rule.resources),
    }
}

/// What narrows a rule besides its verbs.
fn narrowed(role: &Role, rule: &PolicyRule, policies: &[Policy]) -> String {
    let names = rule.resource_names.iter().flatten().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let mut narrowed: Vec<_> = (!names.is_empty()).then(|| format!("only {names}")).into_iter().collect();
    for policy in
        policies.iter().filter(|policy| policy.account == role.name && policy.rules.iter().any(|it| meets(it, rule)))
    {
        narrowed.push(format!("policy `{}`: {}", policy.name, policy.messages.join("; ")));
    }
    if narrowed.is_empty() {
        let reads = rule.verbs.iter().all(|verb| matches!(verb.as_str(), "get" | "list" | "watch"));
        return if reads { "reads only".to_owned() } else { "–".to_owned() };
    }
    narrowed.join("; ")
}

/// Whether a policy sees what a rule permits.
fn meets(policy: &NamedRuleWithOperations, rule: &PolicyRule) -> bool {
    let operation = |verb: &str| match verb {
        "create" => Some("CREATE"),
        "update" | "patch" => Some("UPDATE"),
        "delete" | "deletecollection" => Some("DELETE"),
        _ => None,
    };
    let seen = |operation: &str| policy.operations.iter().flatten().any(|it| it == operation || it == "*");
    let of = |resource: &String| policy.resources.iter().flatten().any(|it| it == resource);
    let group = |group: &String| policy.api_groups.iter().flatten().any(|it| it == group);
    rule.verbs.iter().filter_map(|verb| operation(verb)).any(seen)
        && rule.resources.iter().flatten().any(of)
        && rule.api_groups.iter().flatten().any(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: jobwarden-reaper
rules:
  # The evidence:
  # Jobs and pods.
  - apiGroups: [batch]
    resources: [jobs]
    verbs: [get, list]
  - apiGroups: [\"\"]
    resources: [pods]
    verbs: [get]
  # Lost pods are deleted.
  - apiGroups: [\"\"]
    resources: [pods]
    verbs: [delete]
";
    const POLICY: &str = "\
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: writes
spec:
  matchConstraints:
    resourceRules:
      - apiGroups: [\"\"]
        apiVersions: [v1]
        resources: [pods]
        operations: [DELETE]
  matchConditions:
    - name: by-the-reaper
      expression: request.userInfo.username == 'system:serviceaccount:jobwarden:jobwarden-reaper'
  validations:
    - expression: 'true'
      message: in enrolled namespaces only
";

    #[test]
    fn each_right_has_its_reason_and_what_narrows_it() {
        let page = page(&[format!("{ROLE}---\n{POLICY}")]).expect("a page");
        assert!(page.contains("## `jobwarden-reaper`, all namespaces"), "{page}");
        assert!(page.contains("| get, list | `jobs` | The evidence: Jobs and pods. | reads only |"), "{page}");
        assert!(page.contains("| get | `pods` | The evidence: Jobs and pods. | reads only |"), "{page}");
        let delete = "| delete | `pods` | Lost pods are deleted. | policy `writes`: in enrolled namespaces only |";
        assert!(page.contains(delete), "{page}");
    }
}
