{{/* Object names are fixed, for the parts know one another by them (common/src/names.rs): one installation a cluster. */}}

{{/* Labels of an object; takes the part's name, such as "webhook". */}}
{{- define "jobwarden.labels" -}}
{{ include "jobwarden.selector" . }}
app.kubernetes.io/part-of: jobwarden
{{- end }}

{{/* Labels by which the pods of a part are selected. They can never change: selectors are immutable. */}}
{{- define "jobwarden.selector" -}}
app.kubernetes.io/name: jobwarden-{{ . }}
{{- end }}

{{/* Namespace of the agent, see `object::AGENT` in common/src/names.rs. */}}
{{- define "jobwarden.agentNamespace" -}}
jobwarden-agent
{{- end }}
