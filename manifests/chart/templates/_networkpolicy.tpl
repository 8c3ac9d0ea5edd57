{{/* The way to the API server. Its address cannot be known here and may lie inside or outside the cluster; its ports
     can. This needs no DNS: Kubernetes gives each pod the address. */}}
{{- define "jobwarden.apiServerEgress" -}}
# To the API server, by whatever address it has.
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - port: {{ . }}
    {{- end }}
{{- end }}
