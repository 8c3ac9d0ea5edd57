{{/* Object names are fixed, because the components refer to each other by them (common/src/names.rs): one installation a cluster. */}}

{{/* Labels of an object; takes the name of the component, such as "webhook". */}}
{{- define "jobwarden.labels" -}}
{{ include "jobwarden.selector" . }}
app.kubernetes.io/part-of: jobwarden
{{- end }}

{{/* Selector labels of the pods of a component. They can never change: selectors are immutable. */}}
{{- define "jobwarden.selector" -}}
app.kubernetes.io/name: jobwarden-{{ . }}
{{- end }}

{{/* Namespace of the agent, see `object::AGENT` in common/src/names.rs. */}}
{{- define "jobwarden.agentNamespace" -}}
jobwarden-agent
{{- end }}
