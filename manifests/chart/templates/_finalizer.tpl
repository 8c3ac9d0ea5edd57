{{/* Not empty if there is a sink: in the values, or in the variables of the job monitor. */}}
{{- define "jobwarden.hasSink" -}}
{{- if .Values.reaper.sinks }}true{{ end }}
{{- range $name, $_ := .Values.reaper.jobMonitor.variables }}
{{- if hasPrefix "ORCHESTRATOR_SENDER_TRANSPORT_" $name }}true{{ end }}
{{- end }}
{{- end }}

{{/* The namespaces without the label in which Jobs are followed by their labels, as a list in brackets; empty for none. */}}
{{- define "jobwarden.followed" -}}
{{- $followed := .Values.reaper.follow.namespaces }}
{{- if not $followed }}
{{- with get .Values.reaper.jobMonitor.variables "MONITOR_NAMESPACE" }}
{{- $followed = list . }}
{{- end }}
{{- end }}
{{- with $followed }}['{{ join "', '" . }}']{{ end }}
{{- end }}

{{/* Not empty if Jobs get a finalizer until their outcome is recorded: only with a sink, and never if the reaper must not write to
     Jobs, because it could not remove the finalizer either. */}}
{{- define "jobwarden.finalizer" -}}
{{- if and (include "jobwarden.hasSink" .) (not .Values.reaper.observeOnly) }}true{{ end }}
{{- end }}
