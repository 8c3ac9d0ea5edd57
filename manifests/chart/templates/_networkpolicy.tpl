{{/* Egress to the API server. Its address is unknown here, inside or outside the cluster, but its ports are known. DNS is not needed:
     every pod has the address in its environment. */}}
{{- define "jobwarden.apiServerEgress" -}}
# To the API server, at any address.
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - port: {{ . }}
    {{- end }}
{{- end }}
