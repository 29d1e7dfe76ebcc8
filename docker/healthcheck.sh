#!/bin/bash
# Docker's health check. `serve` is healthy when /ping says so, plain TensorFlow Serving when its model is available.
# In bash alone: a Python or curl every few seconds is more than the check is worth.

get() { # PORT PATH: the whole answer
    exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
    printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3
    cat <&3
}

answer=$(get "${SAGEMAKER_BIND_TO_PORT:-8080}" /ping 2>/dev/null)
[[ $answer == HTTP/*' 200 '* ]] && exit 0
[[ $answer == HTTP/* ]] && { echo "${answer##*$'\r\n\r\n'}"; exit 1; }

answer=$(get 8501 "/v1/models/$MODEL_NAME" 2>/dev/null)
[[ $answer == *'"AVAILABLE"'* ]] && exit 0
echo "neither /ping on port ${SAGEMAKER_BIND_TO_PORT:-8080} nor model $MODEL_NAME on port 8501 answers well"
exit 1
