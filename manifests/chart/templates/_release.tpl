{{/* Annotations of a pre-delete hook; takes the weight: lower ones run first. */}}
{{- define "jobwarden.preDelete" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
