#!/usr/bin/env bash
# Stops the container that bin/start.sh started: what is in flight is answered first, within 30 s.
#
# usage: bin/stop.sh [OPTION…]
set -euo pipefail
# shellcheck source=bin/shared.sh
source "$(dirname "$0")/shared.sh"

while [[ $# -gt 0 ]]; do
    take_common_option "$@"
    [[ $taken != 0 ]] || fail "there is no option $1; see --help"
    shift "$taken"
done
settle
run docker stop -t 30 "$container"
