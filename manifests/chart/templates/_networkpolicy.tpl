{{/* Egress to the API server. Its address is unknown here, inside or outside the cluster, but its ports are known. DNS is not needed:
     every pod has the address in its environment. */}}
{{- define "jobwarden.apiServerEgress" -}}
# To the API server, at any address.
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - port: {{ . }}
    {{- end }}
{{- end }}

{{/* Ingress to the metrics port. */}}
{{- define "jobwarden.metricsIngress" -}}
{{- if and .Values.metrics.enabled .Values.networkPolicy.metricsPeers -}}
# Metrics, for Prometheus.
- ports:
    - port: metrics
  from:
    {{- toYaml .Values.networkPolicy.metricsPeers | nindent 4 }}
{{- end }}
{{- end }}
