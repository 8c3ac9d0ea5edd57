{{/* Not empty if Jobs get a finalizer until their outcome is recorded: only with a sink, and never if the reaper must not write to
     Jobs, because it could not remove the finalizer either. */}}
{{- define "jobwarden.finalizer" -}}
{{- if and .Values.reaper.sinks (not .Values.reaper.observeOnly) }}true{{ end }}
{{- end }}
