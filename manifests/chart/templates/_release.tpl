{{/* Annotations by which Helm runs a part of the release before an uninstall; takes the weight: lower ones come first. */}}
{{- define "jobwarden.preDelete" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
