#!/usr/bin/env bash
# Serves a model directory in a container, as SageMaker runs it; bin/stop.sh ends it.
#
# usage: bin/start.sh [OPTION…]
#
#   -m, --model DIR           laid as /opt/ml/model, read-only (default: examples/digits)
#       --port N              on this machine, of 127.0.0.1 (default: 8080)
#
# Every SAGEMAKER_* variable is handed on.
set -euo pipefail
# shellcheck source=bin/shared.sh
source "$(dirname "$0")/shared.sh"

model=$root/examples/digits port=8080
while [[ $# -gt 0 ]]; do
    take_common_option "$@"
    if [[ $taken == 0 ]]; then
        case ${1%%=*} in
            -m | --model) option_value "$@" && model=$value ;;
            --port) option_value "$@" && port=$value ;;
            *) fail "there is no option $1; see --help" ;;
        esac
    fi
    shift "$taken"
done
settle
[[ -d $model ]] || fail "there is no directory $model"
model=$(cd "$model" && pwd)

inside=${SAGEMAKER_BIND_TO_PORT:-8080}
arguments=(--detach --rm --name "$container" --stop-timeout 30 --publish "127.0.0.1:$port:$inside")
arguments+=(--volume "$model:/opt/ml/model:ro")
[[ $arch != gpu ]] || arguments+=(--gpus all)
for name in $(compgen -e SAGEMAKER_ || true); do
    arguments+=(--env "$name")
done
run docker run "${arguments[@]}" "$image" serve

[[ -z $dry_run ]] || exit 0
echo "$container is starting; it is healthy when this prints 200, and tells more by docker logs $container:"
echo "  curl -s -o /dev/null -w %{http_code} http://localhost:$port/ping"
