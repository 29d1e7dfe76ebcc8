#!/usr/bin/env bash
# Builds the image of one version and architecture.
#
# usage: bin/build.sh [OPTION…] [-- ARGUMENT OF docker build…]
#
#   -b, --base-image IMAGE    a Debian 12 to build upon (default: debian:12-slim)
#       --tfs-image IMAGE     where tensorflow_model_server comes from (default: by docker/versions)
#       --binary URL          eia: the model server that AWS offered; it is withdrawn, so bring your own
#       --ca-bundle FILE      PEM certificates that pip trusts during the build, for use behind a TLS proxy
#
# PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_TRUSTED_HOST, PIP_DEFAULT_TIMEOUT and the proxy variables are handed on.
set -euo pipefail
# shellcheck source=bin/shared.sh
source "$(dirname "$0")/shared.sh"

base_image='' tfs_image='' binary='' ca_bundle=''
while [[ $# -gt 0 && $1 != -- ]]; do
    take_common_option "$@"
    if [[ $taken == 0 ]]; then
        case ${1%%=*} in
            -b | --base-image) option_value "$@" && base_image=$value ;;
            --tfs-image) option_value "$@" && tfs_image=$value ;;
            --binary) option_value "$@" && binary=$value ;;
            --ca-bundle) option_value "$@" && ca_bundle=$value ;;
            *) fail "there is no option $1; see --help" ;;
        esac
    fi
    shift "$taken"
done
[[ ${1-} != -- ]] || shift
settle

extra=("$@") # for every build
settings=()  # for Dockerfile.cpu, the only one that installs something
for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST PIP_DEFAULT_TIMEOUT \
    HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
    # by name alone, so that no password is printed
    [[ -z ${!name-} ]] || settings+=(--build-arg "$name")
done
[[ -z $base_image ]] || settings+=(--build-arg "BASE_IMAGE=$base_image")

# Without the plugin for the newer builder, docker knows only the older one.
if [[ -z $dry_run && -z ${DOCKER_BUILDKIT-} ]] && ! docker buildx version >/dev/null 2>&1; then
    export DOCKER_BUILDKIT=0
fi

if [[ -n $ca_bundle ]]; then
    [[ -f $ca_bundle ]] || fail "there is no file $ca_bundle"
    run cp "$ca_bundle" "$root/docker/ca/build.crt"
    [[ -n $dry_run ]] || trap 'rm -f "$root/docker/ca/build.crt"' EXIT
fi

build() { # DOCKERFILE TAG ARGUMENT…
    local file=$1 tag=$2
    shift 2
    run docker build --file "$root/docker/$file" --tag "$tag" "$@" ${extra[@]+"${extra[@]}"} "$root"
}

build_for_cpu() { # TARGET TAG ARGUMENT…
    local target=$1 tag=$2
    shift 2
    build Dockerfile.cpu "$tag" --target "$target" "$@" ${settings[@]+"${settings[@]}"}
}

server_image=${repository:-$default_repository}:server
found=$(source_of_model_server)
[[ -n $tfs_image || $found == - || $found == binary ]] || tfs_image=$found

if [[ $version == embedded ]]; then
    build_for_cpu embedded "$image"
elif [[ $arch == eia ]]; then
    [[ $found == binary ]] || fail "Elastic Inference was offered for no TensorFlow Serving $version; see docker/versions"
    [[ -n $binary ]] || fail "AWS has withdrawn Elastic Inference and its model server; name a copy of yours with --binary URL"
    build_for_cpu server "$server_image"
    build Dockerfile.eia "$image" --build-arg "SERVER_IMAGE=$server_image" --build-arg "MODEL_SERVER_URL=$binary"
elif [[ -z $tfs_image ]]; then
    fail "there is no official image of TensorFlow Serving $version for $arch; see docker/versions, or use --tfs-image"
elif [[ $arch == gpu ]]; then
    build_for_cpu server "$server_image"
    build Dockerfile.gpu "$image" --build-arg "SERVER_IMAGE=$server_image" --build-arg "TFS_IMAGE=$tfs_image"
else
    build_for_cpu serving "$image" --build-arg EMBEDDED=no --build-arg "TFS_IMAGE=$tfs_image"
fi
[[ -n $dry_run ]] || echo "built $image"
