# shellcheck shell=bash disable=SC2016,SC2154 # for shells in containers; of lib.sh and of `tests`
# kind/examples on a node where `install` was run by hand.

begin_pods() {
    prepared_root
    "$shim" install --restart --handler wasm --handler crun --handler crun-wasmedge --handler crun-wasmer \
        --handler crun-wasmtime --handler spin --handler slight
    kubectl apply -f "$top/kind/base/runtimeclasses.yaml"
    kubectl label --overwrite node "$node" medley.node/ready=true
    ready "node/$node"
}

# After all pods are gone the node is as it was.
end_pods() {
    none_left
    until_is 60 no_shims
    kubectl delete -f "$top/kind/base/runtimeclasses.yaml"
    kubectl label node "$node" medley.node/ready-
    "$shim" uninstall --restart
    same_root /run/tests/before
}

test_every_manifest_is_one_for_the_api_server() {
    local file
    for file in "$top"/kind/examples/*.yaml "$top"/kind/examples/*/*.yaml; do
        for_1_20 "$file" | kubectl apply --dry-run=server -f - || fail "$file"
    done
    # All of the installer's objects but those whose namespace is not there yet.
    kubectl kustomize "$top/test/k8s/overlay" | sed 's/namespace: medley$/namespace: default/' |
        kubectl apply --dry-run=server -f -
    for file in "$top"/kind/overlays/*; do kubectl kustomize "$file" >/dev/null; done
}

factored() {
    same "the answer" "360 = 2 * 2 * 2 * 3 * 3 * 5" "$(curl -fsS --max-time 20 "http://127.0.0.1:$1/cgi-bin/factor?360")"
}

test_a_mixed_pod() {
    apply kind/examples/mixed-pod.yaml
    ready pod/mixed
    forwarded pod/mixed 18080:8080 -- factored 18080
    has "the worker's log" "360 = 2 * 2" "$(kubectl logs mixed -c worker)"
    has "the web server's log" "sidecar: listening" "$(kubectl logs mixed -c web)"
    same "the Linux container's program" "/bin/busybox" "$(kubectl exec mixed -c web -- readlink -f /bin/sh)"
    has "an exec in the Wasm container" "argument 1: again" "$(kubectl exec mixed -c worker -- /hello.wasm again)"
    # Each is what it is: the pod's, not the node's.
    same "the host name" mixed "$(kubectl exec mixed -c web -- hostname)"
    same "the exit status of an exec" 7 "$(kubectl exec mixed -c web -- /bin/sh -c 'exit 7' >/dev/null 2>&1 || echo $?)"
    delete kind/examples/mixed-pod.yaml
}

test_exec_on_a_terminal() {
    apply kind/examples/mixed-pod.yaml
    ready pod/mixed
    has "a shell on a terminal" "a terminal of 0" \
        "$(typed "kubectl exec -it mixed -c web -- /bin/sh -c 'test -t 0 && echo a terminal of \$?'")"
    has "a guest on a terminal" "argument 1: here" "$(typed kubectl exec -it mixed -c worker -- /hello.wasm here)"
    same "what a shell reads from stdin" "sum 5" \
        "$(echo 'echo sum $((2 + 3))' | kubectl exec -i mixed -c web -- /bin/sh)"
    delete kind/examples/mixed-pod.yaml
}

test_logs_are_followed_to_the_end() {
    apply kind/examples/init-container.yaml
    until_is "$limit" log_has prepared answer "5040 = 2 * 2 * 2 * 2 * 3 * 3 * 5 * 7"
    has "the Wasm init container's log" "argument 3: factor" "$(kubectl logs prepared -c check)"
    same "the followed log" "5040 = 2 * 2 * 2 * 2 * 3 * 3 * 5 * 7" "$(kubectl logs --follow prepared -c answer)"
    delete kind/examples/init-container.yaml
}

test_a_sidecar_that_syncs() {
    apply kind/examples/sync.yaml
    until_is "$limit" log_has synced worker "91 = 7 * 13"
    until_is "$limit" log_has synced worker "97 = 97"
    delete kind/examples/sync.yaml
}

test_probes_of_all_three_kinds() {
    apply kind/examples/probes.yaml
    ready pod/probes
    # Each liveness probe has been asked several times.
    until_is 60 probed 15
    same "restarts" "0 0 0" "$(kubectl get pod probes -o 'jsonpath={.status.containerStatuses[*].restartCount}')"
    # One that fails: the sidecar's server goes, and the kubelet starts it again.
    kubectl exec probes -c sidecar -- /bin/sh -c 'kill -STOP $(pidof httpd)' || true
    until_is "$limit" restarted probes sidecar
    ready pod/probes
    delete kind/examples/probes.yaml
}

# probed SECONDS: the pod has been ready for so long.
probed() {
    local since
    since=$(kubectl get pod probes -o 'jsonpath={.status.conditions[?(@.type=="Ready")].lastTransitionTime}')
    [ $(($(date +%s) - $(date -d "$since" +%s))) -ge "$1" ]
}

# restarted POD CONTAINER
restarted() {
    [ "$(kubectl get pod "$1" -o "jsonpath={.status.containerStatuses[?(@.name==\"$2\")].restartCount}")" -gt 0 ]
}

# job_of_cron: the first one that it has made is complete.
job_of_cron() {
    local job
    job=$(kubectl get jobs -o name | grep greet-each-minute | head -n 1)
    [ -n "$job" ] && kubectl wait --for=condition=complete --timeout=1s "$job"
}

test_job_and_cron_job() {
    apply kind/examples/jobs.yaml
    kubectl wait --for=condition=complete --timeout="${limit}s" job/greet
    same "pods that the job has completed" 4 "$(kubectl get job greet -o 'jsonpath={.status.succeeded}')"
    has "the job's log" "argument 2: more" "$(kubectl logs job/greet)"
    until_is 120 job_of_cron
    kubectl delete cronjob greet-each-minute
    delete kind/examples/jobs.yaml
    kubectl delete jobs --all
    none_left
}

test_config_map_and_secret() {
    apply kind/examples/config.yaml
    until_is "$limit" phase_is configured Succeeded
    has "the variable" "argument 1: good morning" "$(kubectl logs configured -c greet)"
    has "the ConfigMap's file" "colour = blue" "$(kubectl logs configured -c reader)"
    has "the Secret's file" "correct horse battery staple" "$(kubectl logs configured -c reader)"
    delete kind/examples/config.yaml
}

terminated() {
    [ "$(kubectl get pod "$1" -o "jsonpath={.status.containerStatuses[0].state.terminated.reason}")" = "$2" ]
}

test_a_container_without_memory_is_oom_killed() {
    kubectl run eats --image=localhost/sidecar:latest --image-pull-policy=IfNotPresent --restart=Never --overrides='
        {"spec":{"runtimeClassName":"wasm","containers":[{"name":"eats","image":"localhost/sidecar:latest",
        "imagePullPolicy":"IfNotPresent","command":["/bin/sh","-c","head -c 500m /dev/zero | tail"],
        "resources":{"limits":{"memory":"32Mi"}}}]}}'
    until_is "$limit" terminated eats OOMKilled
    kubectl delete pod eats
}

test_a_guest_that_fails_shows_its_code_and_why() {
    kubectl run sad --image=localhost/hello-wasm:latest --image-pull-policy=IfNotPresent --restart=Never \
        --overrides='{"spec":{"runtimeClassName":"wasm"}}' -- cat /not/there
    until_is "$limit" terminated sad Error
    same "its exit code" 1 "$(kubectl get pod sad -o 'jsonpath={.status.containerStatuses[0].state.terminated.exitCode}')"
    has "its log" "/not/there: No such file or directory" "$(kubectl logs sad)"
    kubectl delete pod sad
    kubectl run none --image=localhost/hello-wasm:latest --image-pull-policy=IfNotPresent --restart=Never \
        --overrides='{"spec":{"runtimeClassName":"wasm"}}' --command -- /not.wasm
    until_is "$limit" described none 'not found inside the container'
    kubectl delete pod none
}

described() { [[ $(kubectl describe pod "$1") = *"$2"* ]]; }

# measured POD CONTAINER: its memory is known.
measured() {
    kubectl get --raw "/api/v1/nodes/$node/proxy/stats/summary" |
        jq -e --arg pod "$1" --arg container "$2" '.pods[] | select(.podRef.name == $pod) | .containers[]
            | select(.name == $container) | .memory.workingSetBytes > 0 and .cpu.usageCoreNanoSeconds > 0'
}

# What `kubectl top` and the HPA get from the kubelet by the metrics server, which is not here.
test_the_kubelet_measures_each_container() {
    apply kind/examples/mixed-pod.yaml
    ready pod/mixed
    until_is 90 measured mixed worker
    until_is 90 measured mixed web
    delete kind/examples/mixed-pod.yaml
}
