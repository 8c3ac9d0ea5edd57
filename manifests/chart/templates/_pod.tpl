{{/* Reference of an image; takes {image, root}: by its digest if there is one, else by its tag. The default tag is the chart's version. */}}
{{- define "jobwarden.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* Security context of a pod that runs as {user}, as Pod Security `restricted` requires. */}}
{{- define "jobwarden.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .user }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Security context of every container. */}}
{{- define "jobwarden.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Flags of every process. */}}
{{- define "jobwarden.logFlags" -}}
- --log-level={{ .Values.log.level }}
- --log-format={{ .Values.log.format }}
{{- end }}

{{/* Flags of every server. */}}
{{- define "jobwarden.serverFlags" -}}
{{ include "jobwarden.logFlags" . }}
- --drain-delay={{ .Values.drain.delaySeconds }}s
- --drain-timeout={{ .Values.drain.timeoutSeconds }}s
{{- end }}

{{/* Seconds until a server is killed: the longest drain, and five seconds to spare. */}}
{{- define "jobwarden.terminationGracePeriod" -}}
{{ add .Values.drain.delaySeconds .Values.drain.timeoutSeconds 5 }}
{{- end }}

{{/* Probes on the admin port; takes {host}, empty for the pod's address. */}}
{{- define "jobwarden.probes" -}}
livenessProbe:
  httpGet:
    {{- with .host }}
    host: {{ . }}
    {{- end }}
    path: /livez
    port: admin
  periodSeconds: 10
  failureThreshold: 6
readinessProbe:
  httpGet:
    {{- with .host }}
    host: {{ . }}
    {{- end }}
    path: /readyz
    port: admin
  periodSeconds: 2
  failureThreshold: 3
{{- end }}

{{/* Environment of webhook and reaper for the metrics port. */}}
{{- define "jobwarden.metricsEnv" -}}
{{- if .Values.metrics.enabled -}}
- name: JOBWARDEN_METRICS_ADDR
  value: 0.0.0.0:{{ .Values.metrics.port }}
{{- end }}
{{- end }}

{{/* The metrics port of webhook and reaper. */}}
{{- define "jobwarden.metricsPort" -}}
{{- if .Values.metrics.enabled -}}
- name: metrics
  containerPort: {{ .Values.metrics.port }}
{{- end }}
{{- end }}

{{/* Placement of webhook and reaper; takes {part, root}. Replicas are spread where possible. */}}
{{- define "jobwarden.placement" -}}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "jobwarden.selector" $.part | nindent 8 }}
    # Pods of the previous revision do not count while it is being replaced.
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- with .root.Values.controller }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The token for heartbeats and observations, bound to this pod. It lasts a day, as that of sidecars, to bridge a kubelet that
     does not renew tokens. */}}
{{- define "jobwarden.reaperTokenVolume" -}}
- name: reaper-token
  projected:
    sources:
      - serviceAccountToken:
          path: token
          audience: jobwarden-reaper
          expirationSeconds: 86400
{{- end }}

{{- define "jobwarden.reaperTokenMount" -}}
- name: reaper-token
  mountPath: /var/run/secrets/jobwarden
  readOnly: true
{{- end }}
