# Kubernetes' control plane on the node. One token may do everything, and the API server makes its own certificate.
start_control_plane() {
    local keys=$FOLDER/keys
    mkdir -p "$keys"
    openssl genrsa -out "$keys/service-account.key" 2048 2>/dev/null
    openssl rsa -in "$keys/service-account.key" -pubout -out "$keys/service-account.pub" 2>/dev/null
    start etcd etcd --data-dir "$FOLDER/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380
    # Pods find it at the service's address and port.
    start kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --secure-port=443 \
        --advertise-address=10.77.0.2 --cert-dir="$keys" --service-cluster-ip-range=10.96.0.0/16 \
        --authorization-mode=RBAC --token-auth-file="$FOLDER/etc/tokens.csv" --allow-privileged=true \
        --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$keys/service-account.pub" \
        --service-account-signing-key-file="$keys/service-account.key" --endpoint-reconciler-type=none \
        --admission-control-config-file="$FOLDER/etc/admission.yaml"
    until_true 120 kubectl get --raw /readyz || say "the API server does not come up"
    start kube-controller-manager kube-controller-manager --kubeconfig=/root/.kube/config --bind-address=127.0.0.1 \
        --service-account-private-key-file="$keys/service-account.key" --root-ca-file="$keys/apiserver.crt" \
        --leader-elect=false
    start kube-scheduler kube-scheduler --kubeconfig=/root/.kube/config --bind-address=127.0.0.1 --leader-elect=false \
        --authentication-kubeconfig=/root/.kube/config --authorization-kubeconfig=/root/.kube/config
}
