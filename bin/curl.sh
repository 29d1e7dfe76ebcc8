#!/usr/bin/env bash
# Sends requests to an endpoint on this machine: examples to copy from.
#
# usage: bin/curl.sh [--port N] [-n|--dry-run] [EXAMPLE…]
#
# Examples: ping image (the default ones, for examples/digits), json csv jsonlines attributes (for a model that takes
# numbers, such as half_plus_three), metrics.
set -euo pipefail
# shellcheck source=bin/shared.sh
source "$(dirname "$0")/shared.sh"

port=8080
examples=()
while [[ $# -gt 0 ]]; do
    taken=1
    case ${1%%=*} in
        -h | --help) sed -n '2,/^set/ { /^#/!q; s/^# \{0,1\}//p }' "$0" && exit 0 ;;
        -n | --dry-run) dry_run=yes ;;
        --port) option_value "$@" && port=$value ;;
        -*) fail "there is no option $1; see --help" ;;
        *) examples+=("$1") ;;
    esac
    shift "$taken"
done
[[ ${#examples[@]} -gt 0 ]] || examples=(ping image)

invoke() { # CONTENT_TYPE CURL_ARGUMENT…
    local type=$1
    shift
    run curl --silent --show-error --header "Content-Type: $type" "$@" "http://localhost:$port/invocations"
}

for example in "${examples[@]}"; do
    case $example in
        ping) run curl --silent --output /dev/null --write-out '%{http_code}' "http://localhost:$port/ping" ;;
        image) invoke application/x-image --data-binary "@$root/examples/digits/sample.png" ;;
        json) invoke application/json --data-binary '{"instances": [1.0, 2.0, 5.0]}' ;;
        csv) invoke text/csv --data-binary $'1.0\n2.0\n5.0' ;;
        jsonlines) invoke application/jsonlines --data-binary $'1.0\n2.0\n5.0' ;;
        attributes)
            invoke application/json --data-binary '{"instances": [1.0, 2.0, 5.0]}' \
                --header 'X-Amzn-SageMaker-Custom-Attributes: tfs-model-name=half_plus_three'
            ;;
        metrics) run curl --silent --show-error "http://localhost:$port/metrics" ;;
        *) fail "there is no example $example; see --help" ;;
    esac
    [[ -n $dry_run ]] || echo
done
