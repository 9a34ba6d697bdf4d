# shellcheck shell=bash disable=SC2154 # of lib.sh and of `tests`
# The same through `kubectl apply -k`: the installer's DaemonSet, its upgrade and its end.

begin_daemonset() {
    no_shims
    prepared_root
    cp -p /etc/containerd/config.toml /run/tests/config.toml
    kubectl apply -k "$top/test/k8s/overlay"
}

end_daemonset() {
    kubectl delete --ignore-not-found -k "$top/test/k8s/overlay"
    kubectl label node "$node" medley.node/install- medley.node/ready-
    none_left
}

installer() { kubectl -n medley get pods -l app.kubernetes.io/name=medley-installer -o 'jsonpath={.items[*].metadata.name}'; }
installer_log() { kubectl -n medley logs "$(installer)"; }
label_is() { [ "$(kubectl get node "$node" -o "jsonpath={.metadata.labels.medley\.node/$1}")" = "$2" ]; }
said_by_installer() { [[ $(installer_log) = *"$1"* ]]; }

node_is_ready() {
    kubectl label --overwrite node "$node" medley.node/install=true
    until_is "$limit" label_is ready true
    kubectl -n medley rollout status --timeout="${limit}s" daemonset/medley-installer
}

# The installer is no more than the two labels let it be.
test_nodes_without_the_label_are_left_alone() {
    same "pods of the installer" "" "$(installer)"
    same_root /run/tests/before
}

test_a_labelled_node_runs_a_mixed_pod() {
    node_is_ready
    until_is 30 said_by_installer "$node is ready"
    apply kind/examples/mixed-pod.yaml
    ready pod/mixed
    forwarded pod/mixed 18080:8080 -- factored 18080
    delete kind/examples/mixed-pod.yaml
}

# Each capability that it has is needed, and it has no more: the kernel's list, from the node.
test_the_installer_has_the_capabilities_that_it_lists() {
    local pid
    node_is_ready
    pid=$(pgrep -f '^/bin/sh /usr/local/bin/installer' | head -n 1)
    # CHOWN 0, DAC_OVERRIDE 1, SYS_CHROOT 18, SYS_PTRACE 19, SYS_ADMIN 21
    same "its capabilities" "$(printf '%016x' $((1 | 1 << 1 | 1 << 18 | 1 << 19 | 1 << 21)))" \
        "$(awk '/^CapBnd/ { print $2 }' "/proc/$pid/status")"
    same "its seccomp mode" 2 "$(awk '/^Seccomp:/ { print $2 }' "/proc/$pid/status")"
}

test_an_upgrade_leaves_running_pods_alone() {
    local before
    node_is_ready
    apply kind/examples/mixed-pod.yaml
    ready pod/mixed
    before=$(kubectl get pod mixed -o 'jsonpath={.metadata.uid} {.status.containerStatuses[*].containerID}')
    kubectl -n medley rollout restart daemonset/medley-installer
    kubectl -n medley rollout status --timeout="${limit}s" daemonset/medley-installer
    label_is ready true
    same "the pod" "$before" "$(kubectl get pod mixed -o 'jsonpath={.metadata.uid} {.status.containerStatuses[*].containerID}')"
    forwarded pod/mixed 18080:8080 -- factored 18080
    delete kind/examples/mixed-pod.yaml
}

# What looks after the node puts it right, and says meanwhile that it is not ready.
test_a_node_that_was_changed_is_put_right() {
    node_is_ready
    rm /usr/local/bin/containerd-shim-wasm-v1
    until_is "$limit" said_by_installer "the node is not as it was left"
    until_is "$limit" test -x /usr/local/bin/containerd-shim-wasm-v1
    until_is "$limit" label_is ready true
    # As an update of the distribution does it.
    cp -p /run/tests/config.toml /etc/containerd/config.toml
    systemctl restart containerd
    until_is "$limit" grep -q runtimes.crun-wasmedge /etc/containerd/config.toml
    until_is "$limit" label_is ready true
    kubectl wait --for=condition=Ready --timeout="${limit}s" "node/$node"
}

# taken: the node has another runtime of a name that the installer is to take.
taken() {
    printf '\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.slight]\n  runtime_type = "io.containerd.runc.v2"\n' \
        >>/etc/containerd/config.toml
    systemctl restart containerd
    kubectl wait --for=condition=Ready --timeout="${limit}s" "node/$node"
}

free() {
    cp -p /run/tests/config.toml /etc/containerd/config.toml
    systemctl restart containerd
    kubectl wait --for=condition=Ready --timeout="${limit}s" "node/$node"
}

failure() { kubectl get node "$node" -o 'jsonpath={.metadata.annotations.medley\.node/failure}'; }
failure_is() { [[ $(failure) = *"$1"* ]] && { [ -n "$1" ] || [ -z "$(failure)" ]; }; }
why_taken="the handler slight runs io.containerd.runc.v2 already"

# Its log, and the node itself, say why; it goes on by itself once that is mended.
test_an_install_that_fails_is_told_of_until_it_does_not() {
    kubectl label node "$node" medley.node/install-
    until_is "$limit" gone
    taken
    kubectl label --overwrite node "$node" medley.node/install=true
    until_is "$limit" failure_is "$why_taken"
    until_is "$limit" said_by_installer "$why_taken"
    has "what is said of the node" "$why_taken" "$(kubectl describe node "$node")"
    label_is ready ""
    free
    until_is "$limit" label_is ready true
    until_is "$limit" failure_is ""
}

test_a_node_that_loses_the_label_is_as_it_was() {
    node_is_ready
    kubectl label node "$node" medley.node/install-
    until_is "$limit" gone
    label_is ready ""
    same_root /run/tests/before
}

gone() { [ -z "$(installer)" ]; }

# With pods that run it says so, and waits for them.
test_an_undo_waits_for_containers() {
    node_is_ready
    apply kind/examples/mixed-pod.yaml
    ready pod/mixed
    kubectl label node "$node" medley.node/install-
    until_is "$limit" label_is ready ""
    # It runs on, and is reached.
    forwarded pod/mixed 18080:8080 -- factored 18080
    [ -x /usr/local/bin/containerd-shim-wasm-v1 ] || fail "the shim is gone though containers run"
    until_is "$limit" failure_is "shims run containers"
    delete kind/examples/mixed-pod.yaml
    until_is "$limit" gone
    failure_is ""
    same_root /run/tests/before
}

test_deleting_the_daemon_set_undoes_it() {
    node_is_ready
    kubectl -n medley delete daemonset medley-installer --cascade=foreground --timeout="${limit}s"
    label_is ready ""
    same_root /run/tests/before
    kubectl apply -k "$top/test/k8s/overlay"
}

# All at once: its rights go with it, so that the label of the node stays.
test_deleting_everything_at_once_undoes_it() {
    node_is_ready
    kubectl delete -k "$top/test/k8s/overlay" --timeout="${limit}s"
    same_root /run/tests/before
    kubectl label node "$node" medley.node/ready-
    kubectl apply -k "$top/test/k8s/overlay"
}
