//! The dimensions of a shape.

use serde_json::{Value, json};

/// A group of fields, of which a shape takes one variant. The first is plain.
pub(super) struct Dimension {
    pub(super) name: &'static str,
    pub(super) variants: &'static [Variant],
}

/// Its name, and what it does to a pod template.
pub(super) type Variant = (&'static str, fn(&mut Value));

const PLAIN: Variant = ("plain", |_| {});

/// All dimensions. Later ones are applied first: they add containers, which earlier ones change.
pub(super) const DIMENSIONS: &[Dimension] = &[
    Dimension { name: "pod resources", variants: POD_RESOURCES },
    Dimension { name: "resources", variants: RESOURCES },
    Dimension { name: "pod context", variants: POD_CONTEXT },
    Dimension { name: "context", variants: CONTEXT },
    Dimension { name: "volumes", variants: VOLUMES },
    Dimension { name: "tolerations", variants: TOLERATIONS },
    Dimension { name: "placement", variants: PLACEMENT },
    Dimension { name: "host", variants: HOST },
    Dimension { name: "account", variants: ACCOUNT },
    Dimension { name: "lifetime", variants: LIFETIME },
    Dimension { name: "name service", variants: NAME_SERVICE },
    Dimension { name: "environment", variants: ENVIRONMENT },
    Dimension { name: "probes", variants: PROBES },
    Dimension { name: "metadata", variants: METADATA },
    Dimension { name: "init containers", variants: INIT_CONTAINERS },
    Dimension { name: "containers", variants: CONTAINERS },
];

fn set(template: &mut Value, members: Value) {
    merge(&mut template["spec"], members);
}

fn describe(template: &mut Value, members: Value) {
    merge(&mut template["metadata"], members);
}

/// Merges maps, and replaces everything else.
fn merge(into: &mut Value, members: Value) {
    match (into, members) {
        (Value::Object(into), Value::Object(members)) => {
            for (key, value) in members {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, members) => *into = members,
    }
}

/// Every main and init container.
fn each(template: &mut Value, members: &Value) {
    for list in ["containers", "initContainers"] {
        for container in template["spec"][list].as_array_mut().into_iter().flatten() {
            merge(container, members.clone());
        }
    }
}

fn first(template: &mut Value, members: Value) {
    merge(&mut template["spec"]["containers"][0], members);
}

fn container(name: &str) -> Value {
    json!({"name": name, "image": "registry.example.com/work:1"})
}

fn add(template: &mut Value, list: &str, container: Value) {
    match template["spec"][list].as_array_mut() {
        Some(containers) => containers.push(container),
        None => template["spec"][list] = json!([container]),
    }
}

fn alike(amounts: &Value) -> Value {
    json!({"resources": {"requests": amounts, "limits": amounts}})
}

const CONTAINERS: &[Variant] = &[
    PLAIN,
    ("two", |it| add(it, "containers", container("second"))),
    ("three with ports", |it| {
        add(it, "containers", container("second"));
        add(
            it,
            "containers",
            json!({"name": "third", "image": "i", "ports": [{"containerPort": 8080, "name": "http"}]}),
        );
    }),
];

const INIT_CONTAINERS: &[Variant] = &[
    PLAIN,
    ("one", |it| add(it, "initContainers", container("fetch"))),
    ("a native sidecar", |it| {
        add(it, "initContainers", json!({"name": "proxy", "image": "i", "restartPolicy": "Always"}));
    }),
    ("before a native sidecar", |it| {
        add(it, "initContainers", container("fetch"));
        add(it, "initContainers", json!({"name": "proxy", "image": "i", "restartPolicy": "Always"}));
        add(it, "initContainers", container("migrate"));
    }),
];

const RESOURCES: &[Variant] = &[
    PLAIN,
    ("requests", |it| each(it, &json!({"resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}}))),
    ("limits", |it| each(it, &json!({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}))),
    ("guaranteed", |it| each(it, &alike(&json!({"cpu": "1", "memory": "1Gi"})))),
    ("whole CPUs", |it| each(it, &alike(&json!({"cpu": "2", "memory": "1Gi"})))),
    ("fractions", |it| each(it, &alike(&json!({"cpu": "0.333", "memory": "100.5Mi"})))),
    ("decimal bytes", |it| each(it, &alike(&json!({"cpu": "1e-1", "memory": "128M"})))),
    ("only memory", |it| each(it, &json!({"resources": {"limits": {"memory": "64Mi"}}}))),
    ("only the first", |it| first(it, json!({"resources": {"limits": {"cpu": "500m"}}}))),
    ("storage", |it| each(it, &alike(&json!({"cpu": "100m", "memory": "64Mi", "ephemeral-storage": "256Mi"})))),
    ("requested storage", |it| first(it, json!({"resources": {"requests": {"ephemeral-storage": "64Mi"}}}))),
    ("huge pages", |it| first(it, alike(&json!({"cpu": "100m", "memory": "64Mi", "hugepages-2Mi": "4Mi"})))),
    ("zero", |it| each(it, &json!({"resources": {"requests": {"cpu": "0", "memory": "0"}}}))),
];

const POD_RESOURCES: &[Variant] = &[
    PLAIN,
    ("guaranteed", |it| set(it, alike(&json!({"cpu": "2", "memory": "2Gi"})))),
    ("exactly the sum", |it| {
        let containers = it["spec"]["containers"].as_array().map_or(1, Vec::len);
        for container in it["spec"]["containers"].as_array_mut().into_iter().flatten() {
            merge(container, alike(&json!({"cpu": "500m", "memory": "256Mi"})));
        }
        let sum = json!({"cpu": format!("{}m", 500 * containers), "memory": format!("{}Mi", 256 * containers)});
        set(it, alike(&sum));
    }),
    ("burstable", |it| {
        set(
            it,
            json!({"resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}}),
        );
    }),
    ("only limits", |it| set(it, json!({"resources": {"limits": {"cpu": "2", "memory": "2Gi"}}}))),
    ("only requests", |it| set(it, json!({"resources": {"requests": {"cpu": "1500m"}}}))),
    ("only memory", |it| set(it, alike(&json!({"memory": "1Gi"})))),
];

const POD_CONTEXT: &[Variant] = &[
    PLAIN,
    ("a user", |it| set(it, json!({"securityContext": {"runAsUser": 1000, "runAsGroup": 3000}}))),
    ("root", |it| set(it, json!({"securityContext": {"runAsUser": 0, "runAsGroup": 0}}))),
    ("not root", |it| set(it, json!({"securityContext": {"runAsNonRoot": true}}))),
    ("groups", |it| set(it, json!({"securityContext": {"fsGroup": 2000, "supplementalGroups": [4000]}}))),
    ("strict groups", |it| {
        set(
            it,
            json!({"securityContext": {"fsGroup": 2000, "supplementalGroupsPolicy": "Strict", "fsGroupChangePolicy": "OnRootMismatch"}}),
        );
    }),
    ("profiles", |it| {
        set(
            it,
            json!({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}, "seLinuxOptions": {"level": "s0:c1,c2"}}}),
        );
    }),
    ("sysctls", |it| {
        set(it, json!({"securityContext": {"sysctls": [{"name": "net.ipv4.ping_group_range", "value": "0 1"}]}}));
    }),
    ("windows options", |it| {
        set(it, json!({"securityContext": {"windowsOptions": {"runAsUserName": "ContainerUser"}}}));
    }),
];

const CONTEXT: &[Variant] = &[
    PLAIN,
    ("one user for all", |it| each(it, &json!({"securityContext": {"runAsUser": 1001, "runAsGroup": 1001}}))),
    ("a user for the first", |it| first(it, json!({"securityContext": {"runAsUser": 1002}}))),
    ("privileged", |it| first(it, json!({"securityContext": {"privileged": true}}))),
    ("read-only", |it| each(it, &json!({"securityContext": {"readOnlyRootFilesystem": true}}))),
    ("capabilities", |it| {
        first(it, json!({"securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}}}));
    }),
    ("no profile", |it| first(it, json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}))),
];

const VOLUMES: &[Variant] = &[
    PLAIN,
    ("a folder", |it| volume(it, json!({"emptyDir": {"sizeLimit": "1Gi"}}))),
    ("memory", |it| volume(it, json!({"emptyDir": {"medium": "Memory"}}))),
    ("a token of mode 0400", |it| {
        volume(
            it,
            json!({"projected": {"defaultMode": 0o400, "sources": [{"serviceAccountToken": {"audience": "vault", "path": "token"}}]}}),
        );
    }),
    ("optional objects", |it| {
        volume(
            it,
            json!({"projected": {"sources": [
                {"configMap": {"name": "absent", "optional": true}}, {"secret": {"name": "absent", "optional": true}},
            ]}}),
        );
    }),
    ("metadata", |it| {
        volume(
            it,
            json!({"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}),
        );
    }),
    ("of the node", |it| volume(it, json!({"hostPath": {"path": "/tmp"}}))),
    ("a claim of its own", |it| {
        volume(
            it,
            json!({"ephemeral": {"volumeClaimTemplate": {"spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}},
            }}}}),
        );
    }),
];

fn volume(template: &mut Value, source: Value) {
    let mut volume = json!({"name": "data"});
    merge(&mut volume, source);
    set(template, json!({"volumes": [volume]}));
    first(template, json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]}));
}

const TOLERATIONS: &[Variant] = &[
    PLAIN,
    ("everything", |it| set(it, json!({"tolerations": [{"operator": "Exists"}]}))),
    ("not ready for a minute", |it| {
        set(
            it,
            json!({"tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
            ]}),
        );
    }),
    ("another taint", |it| {
        set(it, json!({"tolerations": [{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}]}));
    }),
];

const PLACEMENT: &[Variant] = &[
    PLAIN,
    ("Linux", |it| set(it, json!({"nodeSelector": {"kubernetes.io/os": "linux"}, "os": {"name": "linux"}}))),
    ("Windows", |it| set(it, json!({"nodeSelector": {"kubernetes.io/os": "windows"}}))),
    ("Windows by the old label", |it| set(it, json!({"nodeSelector": {"beta.kubernetes.io/os": "windows"}}))),
    ("Windows by its name", |it| set(it, json!({"os": {"name": "windows"}}))),
    ("Windows by affinity", |it| {
        affinity(it, &json!([{"key": "kubernetes.io/os", "operator": "In", "values": ["windows"]}]));
    }),
    ("arm64", |it| affinity(it, &json!([{"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]}]))),
    ("spread", |it| {
        set(
            it,
            json!({"topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            }]}),
        );
    }),
    ("gated", |it| set(it, json!({"schedulingGates": [{"name": "example.com/wait"}]}))),
];

fn affinity(template: &mut Value, expressions: &Value) {
    let terms = json!([{"matchExpressions": expressions}]);
    set(
        template,
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}),
    );
}

const HOST: &[Variant] = &[
    PLAIN,
    ("network", |it| set(it, json!({"hostNetwork": true}))),
    ("processes", |it| set(it, json!({"hostPID": true, "hostIPC": true}))),
    ("shared processes", |it| set(it, json!({"shareProcessNamespace": true}))),
    ("user namespace", |it| set(it, json!({"hostUsers": false}))),
];

const ACCOUNT: &[Variant] = &[
    PLAIN,
    ("no token", |it| set(it, json!({"automountServiceAccountToken": false}))),
    ("pull secrets", |it| set(it, json!({"imagePullSecrets": [{"name": "registry"}]}))),
    ("by name", |it| set(it, json!({"serviceAccountName": "default", "enableServiceLinks": false}))),
    ("unknown", |it| set(it, json!({"serviceAccountName": "nobody"}))),
];

const LIFETIME: &[Variant] = &[
    PLAIN,
    ("restarts", |it| set(it, json!({"restartPolicy": "OnFailure"}))),
    ("no grace", |it| set(it, json!({"terminationGracePeriodSeconds": 0}))),
    ("a deadline", |it| set(it, json!({"activeDeadlineSeconds": 600, "preemptionPolicy": "Never"}))),
    ("for ever", |it| set(it, json!({"restartPolicy": "Always"}))),
];

const NAME_SERVICE: &[Variant] = &[
    PLAIN,
    ("none", |it| set(it, json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.1"]}}))),
    ("hosts", |it| {
        set(it, json!({"hostAliases": [{"ip": "192.0.2.1", "hostnames": ["db"]}], "hostname": "h", "subdomain": "s"}));
    }),
];

const ENVIRONMENT: &[Variant] = &[
    PLAIN,
    ("variables", |it| first(it, json!({"env": [{"name": "A", "value": "b"}, {"name": "EMPTY"}]}))),
    ("fields", |it| {
        first(
            it,
            json!({"env": [
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
            ]}),
        );
    }),
    ("optional objects", |it| first(it, json!({"envFrom": [{"configMapRef": {"name": "absent", "optional": true}}]}))),
    ("variables of jobwarden", |it| {
        first(it, json!({"env": [{"name": "JOBWARDEN_REAPER_ADDRESS", "value": "192.0.2.1:1"}]}));
    }),
];

const PROBES: &[Variant] = &[
    PLAIN,
    ("all", |it| {
        let probe = json!({"exec": {"command": ["true"]}});
        first(it, json!({"livenessProbe": probe, "readinessProbe": probe, "startupProbe": probe}));
    }),
    ("hooks", |it| first(it, json!({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}))),
    ("a terminal", |it| {
        first(it, json!({"tty": true, "stdin": true, "workingDir": "/", "terminationMessagePath": "/dev/null"}));
    }),
];

const METADATA: &[Variant] = &[
    PLAIN,
    ("labels", |it| describe(it, json!({"labels": {"app": "shape", "empty": ""}}))),
    ("policies", |it| {
        describe(it, json!({"annotations": {"jobwarden.io/lost-after": "soon", "jobwarden.io/on-lost": "fail"}}));
    }),
    ("an absurd sidecar", |it| {
        describe(it, json!({"annotations": {"jobwarden.io/sidecar-cpu": "10M", "jobwarden.io/sidecar-memory": "4Mi"}}));
    }),
    ("a large sidecar", |it| {
        describe(it, json!({"annotations": {"jobwarden.io/sidecar-cpu": "1", "jobwarden.io/sidecar-memory": "1Gi"}}));
    }),
    ("opted out", |it| describe(it, json!({"labels": {"jobwarden.io/inject": "disabled"}}))),
    ("opted in in words", |it| describe(it, json!({"labels": {"jobwarden.io/inject": "Enabled"}}))),
];
