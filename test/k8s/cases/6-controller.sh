# shellcheck shell=bash disable=SC2154 # of lib.sh and of `tests`
# The controller beside the installer: what KWasm's users have on their nodes.

begin_controller() {
    [ -x "$(dirname "$shim")/medley-controller" ] ||
        fail "there is no medley-controller beside the shim, for the image to have: make test-k8s builds it"
    begin_daemonset
    kubectl kustomize "$top/kind/controller" | sed 's|image: localhost/|image: localhost:5000/|' | kubectl apply -f -
    kubectl -n medley rollout status --timeout="${limit}s" deployment/medley-controller
}

end_controller() {
    kubectl annotate node "$node" kwasm.sh/kwasm-node- medley.node/failure-
    until_is "$limit" gone
    kubectl delete -k "$top/kind/controller" --timeout="${limit}s"
    end_daemonset
}

# condition_is STATUS REASON
condition_is() {
    local type='.status.conditions[?(@.type=="MedleyReady")]'
    same "the condition" "$1 $2" "$(kubectl get node "$node" -o "jsonpath={$type.status} {$type.reason}")"
}

condition_message() { kubectl get node "$node" -o 'jsonpath={.status.conditions[?(@.type=="MedleyReady")].message}'; }

# node_says TEXT...: `kubectl describe node` has an event with all of these.
node_says() {
    local events word
    events=$(kubectl describe node "$node" | sed -n '/^Events:/,$p')
    for word; do [[ $events = *"$word"* ]] || { echo "$events" && return 1; }; done
}

test_an_annotated_node_gets_medley_and_is_cleaned_again() {
    kubectl annotate --overwrite node "$node" kwasm.sh/kwasm-node=true
    until_is "$limit" label_is ready true
    until_is "$limit" condition_is True Installed
    until_is "$limit" node_says Installed medley-controller
    apply kind/examples/mixed-pod.yaml
    ready pod/mixed
    forwarded pod/mixed 18080:8080 -- factored 18080
    delete kind/examples/mixed-pod.yaml
    kubectl annotate node "$node" kwasm.sh/kwasm-node-
    until_is "$limit" gone
    same_root /run/tests/before
    until_is "$limit" condition_is "" ""
    until_is "$limit" node_says Removed
}

# In the condition, in an event, in the installer's log; and it goes on once the cause is gone.
test_a_failure_is_told_where_people_look() {
    taken
    kubectl annotate --overwrite node "$node" kwasm.sh/kwasm-node=true
    until_is "$limit" condition_is False InstallFailed
    has "the condition" "$why_taken" "$(condition_message)"
    until_is "$limit" node_says Warning InstallFailed "$why_taken"
    until_is "$limit" said_by_installer "$why_taken"
    free
    until_is "$limit" condition_is True Installed
    kubectl annotate node "$node" kwasm.sh/kwasm-node-
    until_is "$limit" gone
    same_root /run/tests/before
}

# The tables and programs that KWasm's installer puts on a node, and what SpinKube's adds.
of_kwasm() {
    local name
    mkdir -p /opt/kwasm/bin
    for name in slight spin wasmedge; do
        printf '#!/bin/sh\nexit 1\n' >"/opt/kwasm/bin/containerd-shim-$name-v1"
        chmod 755 "/opt/kwasm/bin/containerd-shim-$name-v1"
    done
    {
        echo
        for name in slight spin wasmedge; do
            echo "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.$name]"
            echo "    runtime_type = \"/opt/kwasm/bin/containerd-shim-$name-v1\""
        done
        printf '\n\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.spin.options]\n    SystemdCgroup = true\n\n'
    } >>/etc/containerd/config.toml
    ln -s /opt/kwasm/bin/containerd-shim-spin-v2 /usr/local/bin/containerd-shim-spin-v2
    systemctl restart containerd
    kubectl wait --for=condition=Ready --timeout="${limit}s" "node/$node"
    kubectl label --overwrite node "$node" "kwasm.sh/kwasm-provisioned=$node"
}

is_unmarked() { [ -z "$(kubectl get node "$node" -o 'jsonpath={.metadata.labels.kwasm\.sh/kwasm-provisioned}')" ]; }

# From a node of KWasm's to one of Medley's, and to one that is as it was before both.
test_what_kwasm_has_left_goes_with_it() {
    of_kwasm
    kubectl annotate --overwrite node "$node" kwasm.sh/kwasm-node=true
    until_is "$limit" condition_is True Installed
    until_is "$limit" is_unmarked
    [ ! -e /opt/kwasm ] || fail "/opt/kwasm is there still"
    ! grep kwasm /etc/containerd/config.toml || fail "containerd's configuration has KWasm's tables"
    apply kind/examples/other-names/slight.yaml
    kubectl rollout status --timeout="${limit}s" deployment/wasm-slight
    delete kind/examples/other-names/slight.yaml
    kubectl annotate node "$node" kwasm.sh/kwasm-node-
    until_is "$limit" gone
    same_root /run/tests/before
}
