{{/* Not empty where Jobs are held until their outcome is recorded: only where somebody is told of outcomes, and never where
     the reaper may not write to Jobs, for it could not release them either. */}}
{{- define "jobwarden.finalizer" -}}
{{- if and .Values.reaper.sinks (not .Values.reaper.observeOnly) }}true{{ end }}
{{- end }}
