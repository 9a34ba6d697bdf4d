# shellcheck shell=bash disable=SC2016,SC2154 # for shells in containers; of lib.sh and of `tests`
# Services, many replicas, updates and a drain; on a node as in 2-pods.sh.

begin_workloads() { begin_pods; }

end_workloads() {
    kubectl uncordon "$node"
    delete kind/examples/web.yaml
    end_pods
}

# served: the example is up.
served() {
    apply kind/examples/web.yaml
    kubectl rollout status --timeout="${limit}s" deployment/web
    until_is 30 curl -fsS --max-time 5 "http://$(address)/"
}

# address: of the Service.
address() { kubectl get service web -o 'jsonpath={.spec.clusterIP}'; }

test_a_service_answers() {
    served
    same "the answer" hello "$(curl -fsS "http://$(address)/")"
    forwarded service/web 18081:80 -- curl -fsS --max-time 10 http://127.0.0.1:18081/
    # From a pod, too, by the variable that the kubelet sets.
    kubectl run asks --image=localhost/sidecar:latest --image-pull-policy=IfNotPresent --restart=Never \
        --overrides='{"spec":{"runtimeClassName":"wasm"}}' -- /bin/sh -c 'wget -qO- http://$WEB_SERVICE_HOST'
    until_is "$limit" phase_is asks Succeeded
    same "what a pod is answered" hello "$(kubectl logs asks)"
    kubectl delete pod asks
}

# asking FILE: asks until the file is there, and fails at the first request that fails.
asking() {
    local n=0
    while [ ! -e "$1" ]; do
        curl -fsS --max-time 20 -o /dev/null "http://$(cat /run/tests/address)/" || return 1
        n=$((n + 1))
    done
    echo "$n requests"
    [ "$n" -gt 0 ]
}

test_a_rolling_update_loses_no_request() {
    local asker
    served
    rm -f /run/tests/updated
    address >/run/tests/address
    kubectl patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"web",
        "env":[{"name":"ROUND","value":"2"}]}]}}}}'
    asking /run/tests/updated &
    asker=$!
    kubectl rollout status --timeout="${limit}s" deployment/web
    touch /run/tests/updated
    wait "$asker" || fail "a request failed during the update"
    kubectl rollout undo deployment/web
    kubectl rollout status --timeout="${limit}s" deployment/web
}

# replicas N: so many are ready, and no more pods are there.
replicas() {
    [ "$(kubectl get deployment web -o 'jsonpath={.status.readyReplicas}')" = "$1" ] &&
        [ "$(kubectl get pods -l app.kubernetes.io/name=web -o name | wc -l)" = "$1" ]
}

test_fifty_replicas_up_and_down() {
    served
    # It would have ten pods at most.
    kubectl delete hpa web
    # Fifty ask for no more than two processors then, with what the RuntimeClass adds.
    kubectl set resources deployment web --requests=cpu=10m
    # Before there are more of them: those that ask for more would take up the node, and none could be replaced.
    kubectl rollout status --timeout="${limit}s" deployment/web
    kubectl scale deployment web --replicas=50
    kubectl rollout status --timeout=600s deployment/web
    until_is 60 replicas 50
    same "the answer" hello "$(curl -fsS "http://$(address)/")"
    kubectl scale deployment web --replicas=2
    until_is 600 replicas 2
    # One shim for each pod that is left.
    until_is 60 shims 2
}

shims() { [ "$(pgrep -fc "$a_shim")" = "$1" ]; }

test_a_drain_empties_the_node() {
    served
    kubectl drain "$node" --ignore-daemonsets --delete-emptydir-data --force --timeout="${limit}s"
    until_is 60 no_shims
    kubectl uncordon "$node"
    kubectl rollout status --timeout="${limit}s" deployment/web
}

# What the RuntimeClass says that a pod takes beside its containers, against what it takes: the memory of
# the shim and of the pause container.
test_the_overhead_is_no_less_than_what_is_taken() {
    local said shim pause
    served
    said=$(kubectl get runtimeclass wasm -o 'jsonpath={.overhead.podFixed.memory}')
    kubectl delete hpa web
    kubectl scale deployment web --replicas=1
    until_is "$limit" replicas 1
    shim=$(pss "$(pgrep -f "$a_shim")")
    pause=$(pss "$(pgrep -xf /pause)")
    echo "note: a shim takes $shim KiB, a pause container $pause KiB; the RuntimeClass says $said"
    [ $((shim + pause)) -le $((${said%Mi} * 1024)) ] || fail "the RuntimeClass says $said"
    kubectl scale deployment web --replicas=2
}

# pss PID: in KiB.
pss() { awk '/^Pss:/ { print $2 }' "/proc/$1/smaps_rollup"; }
