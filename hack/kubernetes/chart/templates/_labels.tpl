{{- define "selector" -}}
app.kubernetes.io/name: runsc-guard
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "labels" -}}
{{ include "selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* Whether anything of a node is told to Kubernetes. */}}
{{- define "tells" -}}
{{- if or .Values.events.enabled .Values.nodeCondition.enabled .Values.readiness.label .Values.readiness.startupTaint }}yes{{ end }}
{{- end }}

{{- define "image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
{{- end }}

{{- /* What is told, as options of `tell`. */}}
{{- define "tell" -}}
- tell
- --node=$(NODE)
{{- if .Values.events.enabled }}
- --events
{{- end }}
{{- if .Values.nodeCondition.enabled }}
- --condition
{{- end }}
{{- with .Values.nodeCondition.taint }}
- {{ printf "--taint=%s" . | quote }}
{{- end }}
{{- if .Values.readiness.label }}
- --ready
{{- end }}
{{- with .Values.readiness.startupTaint }}
- {{ printf "--startup-taint=%s" . | quote }}
{{- end }}
{{- end }}
