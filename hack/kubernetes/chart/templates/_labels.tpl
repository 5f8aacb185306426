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

{{- /* A node's places as YAML: what the values say, else as its distribution has it. */}}
{{- define "node" -}}
{{- $usual := dict "binDir" "/usr/local/bin" "configDir" "/etc/containerd" "socket" "/run/containerd/containerd.sock" }}
{{- $rancher := dict "socket" "/run/k3s/containerd/containerd.sock" }}
{{- $of := dict
      "k3s" (merge (dict "configDir" "/var/lib/rancher/k3s/agent/etc/containerd") $rancher)
      "rke2" (merge (dict "configDir" "/var/lib/rancher/rke2/agent/etc/containerd") $rancher)
      "k0s" (dict "configDir" "/etc/k0s" "socket" "/run/k0s/containerd.sock")
      "microk8s" (dict "configDir" "/var/snap/microk8s" "socket" "/var/snap/microk8s/common/run/containerd.sock")
      "gardener" (dict "binDir" "/var/bin/containerruntimes") }}
{{- $its := merge (get $of (.Values.node.distribution | default "") | default dict) $usual }}
{{- range $place := keys $its | sortAlpha }}
{{ $place }}: {{ get $.Values.node $place | default (get $its $place) | quote }}
{{- end }}
{{- end }}
