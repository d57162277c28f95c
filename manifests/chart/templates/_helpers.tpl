{{- define "pydns.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "pydns.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "pydns.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "pydns.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The labels don't contain the name of the release, so Helm can take over an installation by kustomize. Selectors can't be
     changed later. */}}
{{- define "pydns.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pydns.name" . }}
{{- end -}}

{{- define "pydns.labels" -}}
{{ include "pydns.helmLabels" . }}
app.kubernetes.io/name: {{ include "pydns.name" . }}
app.kubernetes.io/component: dns
{{- end -}}

{{- define "pydns.helmLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- with .Values.customLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The key annotations of an object's metadata, from mappings and from customAnnotations. Empty without annotations:
     include "pydns.annotations" (list $ MAPPING…) */}}
{{- define "pydns.annotations" -}}
{{- $all := dict -}}
{{- range rest . }}{{- $all = merge $all (. | default dict) }}{{- end -}}
{{- $all = merge $all ((first .).Values.customAnnotations | default dict) -}}
{{- with $all }}{{ print "\n  annotations:" }}{{ toYaml . | nindent 4 }}{{ end -}}
{{- end -}}

{{- define "pydns.serviceAccountName" -}}
{{- default (ternary (include "pydns.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "pydns.clusterRoleName" -}}
{{- default (include "pydns.fullname" .) .Values.clusterRole.nameOverride -}}
{{- end -}}

{{- define "pydns.configMapName" -}}
{{- default (include "pydns.fullname" .) .Values.deployment.configMapName -}}
{{- end -}}

{{- define "pydns.serviceName" -}}
{{- default (ternary "kube-dns" (include "pydns.fullname" .) (eq .Values.mode "base")) .Values.service.name -}}
{{- end -}}

{{- define "pydns.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ $tag }}{{ end -}}
{{- end -}}

{{/* The Corefile: the value corefile, or a Corefile that is made from servers in the same way as by CoreDNS's chart. */}}
{{- define "pydns.corefile" -}}
{{- if .Values.corefile -}}
{{ .Values.corefile }}
{{- else -}}
{{- range $server := .Values.servers }}
{{ range .zones | default (list dict) }}{{ .scheme | default "" }}{{ .zone | default "." }}:{{ $server.port | default 53 }} {{ end }}{
{{- range .plugins }}
    {{ .name }}{{ with .parameters }} {{ . }}{{ end }}{{ with .configBlock }} {
{{ . | trimSuffix "\n" | indent 8 }}
    }{{ end }}
{{- end }}
}
{{- end }}
{{- end -}}
{{- end -}}

{{/* A probe's parameters with its path and port: include "pydns.probe" (list VALUES PATH PORT) */}}
{{- define "pydns.probe" -}}
httpGet: {path: {{ index . 1 }}, port: {{ index . 2 }}}
{{- with omit (first .) "enabled" }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Fails for values that contradict each other. */}}
{{- define "pydns.checked" -}}
{{- if and .Values.hpa.enabled .Values.autoscaler.enabled }}{{ fail "hpa and autoscaler both set the number of pods: enable one of them" }}{{ end -}}
{{- if and (eq .Values.kind "DaemonSet") (or .Values.hpa.enabled .Values.autoscaler.enabled) }}{{ fail "a DaemonSet has one pod on every node: hpa and autoscaler are for kind: Deployment" }}{{ end -}}
{{- if and (eq .Values.kind "DaemonSet") .Values.podDisruptionBudget }}{{ fail "a budget can't count the pods of a DaemonSet: set podDisruptionBudget to null (as -f node-local.yaml does)" }}{{ end -}}
{{- if and (eq .Values.mode "base") (not (or .Values.service.clusterIP .Values.service.clusterIPs)) }}{{ fail "mode base needs service.clusterIP: the clusterDNS of the kubelets, such as 10.96.0.10" }}{{ end -}}
{{- if and (eq .Values.answer "external") (ne .Values.mode "side-by-side") }}{{ fail "answer: external refuses the names of the cluster, so its pods can't be the cluster's DNS: leave mode at side-by-side" }}{{ end -}}
{{- if and .Values.corefile .Values.servers }}{{ fail "corefile and servers both are the Corefile: set one of them" }}{{ end -}}
{{- if and .Values.config (or .Values.corefile .Values.servers) }}{{ fail "pydns ignores a Corefile beside config: set one of config, corefile and servers" }}{{ end -}}
{{- end -}}
