# Process 1 of the node: makes its root, starts all of Kubernetes on it, and is its service manager.
#
#   FOLDER     the cluster's own, with bin/, etc/, log/; on a disk, not below the temporary folder
#   CHECKOUT   seen by the node at the same path
#   TAG        the name of the node's cgroups
#   LAYOUT     usual; or k3s: socket, configuration and service are where k3s has them
#
# The root is an overlay over /, and nothing that the node writes reaches the machine but through FOLDER and CHECKOUT.
# /run and the temporary folder are the node's own. What containerd and the kubelet keep in /var is on the disk: an
# overlay does not go on an overlay.
set -euo pipefail

mount --make-rprivate /
# shellcheck disable=SC2153
root=$FOLDER/root disk=$FOLDER/disk
mkdir -p "$disk" "$root"
mount -t tmpfs -o size=2g tmpfs "$disk"
mkdir "$disk/changed" "$disk/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$disk/changed,workdir=$disk/work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir -p "$root"/run/{lock,netns,containerd}
for folder in "$CHECKOUT" "$FOLDER"; do
    mkdir -p "$root$folder"
    mount --bind "$folder" "$root$folder"
done
for folder in lib/containerd lib/kubelet lib/cni log; do
    mkdir -p "$FOLDER/var/$folder" "$root/var/$folder"
    mount --bind "$FOLDER/var/$folder" "$root/var/$folder"
done
# The kubelet sets these, and they are the machine's.
mkdir "$FOLDER/kernel"
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops; do
    cat "/proc/sys/$name" >"$FOLDER/kernel/${name##*/}"
    mount --bind "$FOLDER/kernel/${name##*/}" "$root/proc/sys/$name"
done
cd "$root"
mkdir -p mnt/machine
pivot_root . mnt/machine
umount -l /mnt/machine
rmdir /mnt/machine
cd /
# As on every node: what is unmounted there is unmounted in containers that ask for that.
mount --make-rshared /

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
hostname node
# A node's address may not be on loopback. The second is the API's for pods: there is no kube-proxy.
ip link set lo up
ip link add node0 type bridge
ip address add 10.77.0.2/24 dev node0
ip link set node0 up
ip address add 10.96.0.1/32 dev lo
ip route add default via 10.77.0.1 dev node0
sysctl -qw net.ipv4.ip_forward=1
echo "10.77.0.2 node" >>/etc/hosts

install -m 0755 "$FOLDER"/bin/* /usr/local/bin/
case $LAYOUT in
usual) config=/etc/containerd/config.toml drop_ins=/etc/containerd/conf.d service=containerd ;;
k3s)
    config=/var/lib/rancher/k3s/agent/etc/containerd/config.toml drop_ins=${config%/*}/config-v3.toml.d service=k3s
    # What `ctr` and the page's programs are told on such a node.
    export CONTAINERD_ADDRESS=/run/k3s/containerd/containerd.sock
    mkdir -p /run/k3s/containerd /etc/systemd/system
    echo '[Unit]' >/etc/systemd/system/k3s.service
    ;;
esac
: "${CONTAINERD_ADDRESS:=/run/containerd/containerd.sock}"
mkdir -p "${config%/*}" /etc/containerd/certs.d/127.0.0.1:5000 /etc/cni/net.d /root/.kube
[[ $LAYOUT == k3s ]] || mkdir -p "$drop_ins"
sed -i -e "s|DROP_INS|$drop_ins|; s|ADDRESS|$CONTAINERD_ADDRESS|; s|STATE|${CONTAINERD_ADDRESS%/*}|" "$FOLDER"/etc/{containerd.toml,kubelet.yaml}
cp "$FOLDER/etc/hosts.toml" /etc/containerd/certs.d/127.0.0.1:5000/
cp "$FOLDER/etc/10-bridge.conflist" /etc/cni/net.d/
cp "$FOLDER/etc/kubeconfig" /root/.kube/config
cat >/usr/local/bin/systemctl <<'SYSTEMCTL'
#!/bin/sh
# The node's service manager, as far as a test needs one: process 1 does what is asked and answers.
case "$1 $2" in
'restart SERVICE' | 'kill containerd' | 'kill kubelet') ;;
*) echo "systemctl: cannot $*" >&2; exit 64 ;;
esac
exec 9>/run/service.lock
flock 9
echo "$1 $2" >/run/asked && read -r answer </run/answered && [ "$answer" = up ]
SYSTEMCTL
sed -i "s/SERVICE/$service/" /usr/local/bin/systemctl
chmod 755 /usr/local/bin/systemctl
mkfifo /run/asked /run/answered

# cgroups, by the same name in each version 1 controller or in the one hierarchy of version 2.
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*/; do
    [[ -e $hierarchy/cgroup.procs ]] || continue
    mkdir -p "$hierarchy/$TAG"
    for file in cpuset.cpus cpuset.mems; do
        [[ ! -e $hierarchy/cpuset.cpu_exclusive ]] || cat "$hierarchy/$file" >"$hierarchy/$TAG/$file"
    done
    [[ ! -e $hierarchy/$TAG/cgroup.controllers ]] ||
        sed 's/[a-z]*/+&/g' "$hierarchy/$TAG/cgroup.controllers" >"$hierarchy/$TAG/cgroup.subtree_control" || true
done

set +e
declare -A pid
say() { printf '%(%T)T %s\n' -1 "$*"; }

start() { # start NAME PROGRAM...
    local name=$1
    shift
    (exec "$@" >>"$FOLDER/log/$name.log" 2>&1) &
    pid[$name]=$!
    echo "${pid[$name]}" >"/run/$name.pid"
    say "$name is process ${pid[$name]}"
}

until_true() { # until_true SECONDS COMMAND...
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || return 1
        sleep 0.1
    done
}

has_cri() { ctr plugins ls | grep -q 'io.containerd.grpc.v1.*cri.*ok'; }
# k3s writes its containerd's configuration anew at each start.
start_containerd() {
    [[ $LAYOUT != k3s && -e $config ]] || cp "$FOLDER/etc/containerd.toml" "$config"
    start containerd containerd --config "$config"
    until_true 60 has_cri
}
start_kubelet() { start kubelet kubelet --config "$FOLDER/etc/kubelet.yaml" --kubeconfig /root/.kube/config --hostname-override node --node-ip 10.77.0.2 -v=2; }

# As systemd does it: SIGTERM, SIGKILL to those that do not end in 90 s, and whoever asked waits. KillMode=process.
stop_containerd() {
    kill "${pid[containerd]}"
    (sleep 90 && kill -9 "${pid[containerd]}") 2>/dev/null &
    local timer=$! began=$SECONDS
    wait "${pid[containerd]}"
    kill "$timer" 2>/dev/null
    say "containerd has stopped after $((SECONDS - began)) s"
}

# shellcheck source=integration/cluster/node/control-plane.sh
. "$CHECKOUT/integration/cluster/node/control-plane.sh"
start_containerd || say "containerd does not come up"
ctr -n k8s.io images import "$FOLDER/image.tar" >/dev/null
start_control_plane
start_kubelet
start registry crane registry serve --address 127.0.0.1:5000
say "all are started"
touch "$FOLDER/started"

while :; do
    read -r what </run/asked || continue
    say "$what"
    case $what in
    'restart containerd') stop_containerd ;;
    'restart k3s') stop_containerd && kill "${pid[kubelet]}" && wait "${pid[kubelet]}" ;;
    'kill containerd') kill -9 "${pid[containerd]}" && wait "${pid[containerd]}" ;;
    'kill kubelet') kill -9 "${pid[kubelet]}" && wait "${pid[kubelet]}" ;;
    esac
    case $what in
    *containerd) start_containerd ;;
    *k3s) start_containerd && start_kubelet ;;
    *kubelet) start_kubelet ;;
    esac && echo up >/run/answered || echo failed >/run/answered
done
