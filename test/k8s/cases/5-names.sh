# shellcheck shell=bash disable=SC2154 # of lib.sh and of `tests`
# Manifests and command lines that are written for other runtimes and shims, unchanged.

begin_names() { begin_pods; }
end_names() { end_pods; }

# with_wasmedge: some of them need WasmEdge's program.
with_wasmedge() {
    [ -x "$(dirname "$shim")/containerd-shim-wasm-v1-wasmedge" ] ||
        fail "there is no program with WasmEdge beside the shim: make build brings it, without WASMEDGE=off"
}

pod_ip() { kubectl get pod "$1" -o 'jsonpath={.status.podIP}'; }

test_pods_written_for_crun() {
    with_wasmedge
    apply kind/examples/other-names/pods.yaml
    ready pod/wasm-demo-app pod/wasm-demo-app-mixed pod/myapp
    until_is 30 curl -fsS --max-time 5 "http://$(pod_ip wasm-demo-app):8080/"
    same "what the Wasm server sends back" twice "$(curl -fsS "http://$(pod_ip wasm-demo-app):8080/echo" -XPOST -d twice)"
    until_is 30 curl -fsS --max-time 5 "http://$(pod_ip wasm-demo-app-mixed):8080/"
    same "nginx beside it" "hello from nginx" "$(curl -fsS "http://$(pod_ip wasm-demo-app-mixed)/")"
    has "an exec in a pod without an annotation" "argument 1: hi" "$(kubectl exec myapp -c wasm -- /wasi_example_main.wasm hi)"
    has "an exec beside it" Linux "$(kubectl exec myapp -c oci -- uname)"
    delete kind/examples/other-names/pods.yaml
}

asked_both() {
    same "nginx" "hello from nginx" "$(curl -fsS localhost:8081)"
    same "the echo" "hello from far" "$(curl -fsS localhost:8082/echo -XPOST -d "hello from far")"
}

test_a_deployment_with_two_forwarded_ports() {
    with_wasmedge
    apply kind/examples/other-names/warp-server.yaml
    kubectl rollout status --timeout="${limit}s" deployment/wasmedge-warp-server
    forwarded deployment/wasmedge-warp-server 8081:80 8082:8080 -- asked_both
    # Its liveness probe as it is found elsewhere, at a port where nothing listens.
    kubectl patch deployment wasmedge-warp-server -p '{"spec":{"template":{"spec":{"containers":[{"name":"wasm",
        "livenessProbe":{"tcpSocket":{"port":8008},"initialDelaySeconds":1,"periodSeconds":1}}]}}}}'
    until_is "$limit" some_restarted
    delete kind/examples/other-names/warp-server.yaml
}

# some_restarted: by the kubelet, as its event says.
some_restarted() {
    [[ $(kubectl get events --field-selector reason=Killing --no-headers) = *"Container wasm failed liveness probe, will be restarted"* ]] &&
        [[ $(kubectl get pods -l app=wasmedge-warp-server -o 'jsonpath={.items[*].status.containerStatuses[*].restartCount}') = *[1-9]* ]]
}

test_a_deployment_written_for_slight() {
    local pod
    apply kind/examples/other-names/slight.yaml
    kubectl rollout status --timeout="${limit}s" deployment/wasm-slight
    pod=$(kubectl get pods -l app=wasm-slight -o 'jsonpath={.items[0].status.podIP}')
    same "the answer" hello "$(curl -fsS --max-time 20 "http://$pod/")"
    delete kind/examples/other-names/slight.yaml
}

test_a_deployment_written_for_spin() {
    local pod
    apply kind/examples/other-names/silly-demo.yaml
    kubectl rollout status --timeout="${limit}s" deployment/silly-demo
    pod=$(kubectl get pods -l app.kubernetes.io/name=silly-demo -o 'jsonpath={.items[0].status.podIP}')
    same "the answer" hello "$(curl -fsS --max-time 20 "http://$pod/")"
    same "its health" OK "$(curl -fsS --max-time 20 "http://$pod/.well-known/spin/health")"
    delete kind/examples/other-names/silly-demo.yaml
}

# What asks for no class, on a node whose default handler runs Wasm.
test_kubectl_run_with_an_annotation() {
    local said
    cp -p /etc/containerd/config.toml /run/tests/config.toml
    trap default_as_before EXIT
    printf '\n[plugins."io.containerd.grpc.v1.cri".containerd]\n  default_runtime_name = "crun"\n' >>/etc/containerd/config.toml
    systemctl restart containerd
    kubectl wait --for=condition=Ready --timeout="${limit}s" "node/$node"
    said=$(typed kubectl run -it --rm --restart=Never wasi-demo --image=local/wasi-example:v1 \
        --image-pull-policy=IfNotPresent --annotations=module.wasm.image/variant=compat-smart \
        --pod-running-timeout=2m /wasi_example_main.wasm 50000000)
    has "what it says" "argument 1: 50000000" "$said"
    none_left
}

default_as_before() {
    cp -p /run/tests/config.toml /etc/containerd/config.toml
    systemctl restart containerd
    kubectl wait --for=condition=Ready --timeout="${limit}s" "node/$node"
}

test_ctr_run_by_hand() {
    local said
    said=$(ctr -n k8s.io run --rm --net-host --label module.wasm.image/variant=compat \
        --runtime io.containerd.wasm.v1 docker.io/local/wasi-example:v1 by-label /wasi_example_main.wasm 50000000)
    has "with a label" "argument 1: 50000000" "$said"
    said=$(ctr -n k8s.io run --rm --runtime=io.containerd.wasmtime.v1 docker.io/local/wasi-example:v1 by-type)
    has "by a runtime type" "hello from wasm32" "$said"
    with_wasmedge
    said=$(ctr -n k8s.io run --rm --runtime=io.containerd.wasmedge.v1 docker.io/local/wasi-example:v1 by-engine)
    has "by WasmEdge's runtime type" "hello from wasm32" "$said"
}
