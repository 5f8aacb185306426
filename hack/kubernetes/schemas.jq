# From Kubernetes' OpenAPI (swagger.json) to the JSON schema of one kind, as strict as the API server: a key that is not
# in the schema is an error.
#
#   jq --arg kind io.k8s.api.apps.v1.DaemonSet -f schemas.jq swagger.json

def strict:
    if .["x-kubernetes-int-or-string"] or .format == "int-or-string" then {type: ["integer", "string"]}
    elif .properties and (has("additionalProperties") | not) then . + {additionalProperties: false}
    else . end;

.definitions
| .[$kind]["x-kubernetes-group-version-kind"][0] as $gvk
| with_entries(.value |= strict)
# Written as a number, too.
| .["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {type: ["string", "number"]}
| .[$kind].properties.apiVersion = {const: ([$gvk.group, $gvk.version] | map(select(. != "")) | join("/"))}
| .[$kind].properties.kind = {const: $gvk.kind}
| {"$ref": "#/definitions/\($kind)", definitions: .}
