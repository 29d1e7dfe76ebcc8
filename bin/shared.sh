# What build.sh, publish.sh, start.sh and stop.sh share: their common options, the table of versions, --dry-run.
# Sourced, never run.
# shellcheck shell=bash disable=SC2034  # what is set here is used by the scripts

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
table=$root/docker/versions
default_repository=sagemaker-tensorflow-serving

version=
arch=cpu
region=
repository=
dry_run=

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# The script's own first comment block is its help.
show_help() {
    sed -n '2,/^[^#]/ { /^#/!q; s/^# \{0,1\}//p }' "$0"
    cat <<'HELP'

  -v, --version VERSION     of TensorFlow Serving, in full or its beginning: 1.13, 2.20.0; or `embedded`, our own
                            model server (default: the newest)
  -a, --arch cpu|gpu|eia    (default: cpu)
  -p, --repository NAME     of the image (default: sagemaker-tensorflow-serving, for eia with -eia)
  -n, --dry-run             print the commands instead of running them
  -h, --help
HELP
    exit 0
}

# Takes one common option from the front of the arguments; `taken` says how many words it was, 0 for another option.
take_common_option() {
    taken=2
    case ${1%%=*} in
        -h | --help) show_help ;;
        -n | --dry-run) dry_run=yes taken=1 ;;
        -v | --version | -a | --arch | -r | --region | -p | --repository) set_option "$@" ;;
        *) taken=0 ;;
    esac
}

set_option() {
    local value
    option_value "$@"
    case ${1%%=*} in
        -v | --version) version=$value ;;
        -a | --arch) arch=$value ;;
        -r | --region) region=$value ;;
        -p | --repository) repository=$value ;;
    esac
}

# `value` and `taken` of an option that needs a value: `--name VALUE` or `--name=VALUE`.
option_value() {
    taken=2
    if [[ $1 == --*=* ]]; then
        value=${1#*=} taken=1
    else
        value=${2-}
    fi
    [[ -n $value ]] || fail "${1%%=*} needs a value; see --help"
}

# After all options: complete the version, and name the image.
settle() {
    case $arch in
        ei) arch=eia ;;
        cpu | gpu | eia) ;;
        *) fail "there is no architecture $arch; there are cpu, gpu and eia" ;;
    esac
    if [[ -z $version ]]; then
        version=$(versions | grep -v '^embedded$' | tail -n 1)
    else
        local asked=$version
        version=$(versions | awk -v asked="$asked" '$0 == asked || index($0, asked ".") == 1' | tail -n 1)
        [[ -n $version ]] || fail "there is no version $asked; there are $(versions | paste -s -d ' ')"
    fi
    [[ $version != embedded || $arch == cpu ]] || fail "the embedded model server runs on CPUs; use --arch cpu"
    # As AWS names them: the images for Elastic Inference have their own repository, and the tag says cpu.
    if [[ $arch == eia ]]; then
        image=${repository:-$default_repository-eia}:$version-cpu
    else
        image=${repository:-$default_repository}:$version-$arch
    fi
    container=tfsd-$version-$arch
}

versions() {
    awk '!/^#/ && NF { print $1 }' "$table"
}

# What the table has for the version and architecture: an image, `-`, or `binary`.
source_of_model_server() {
    awk -v version="$version" -v arch="$arch" '
        /^# version/ { for (i = 2; i <= NF; i++) column[$i] = i - 1 }
        $1 == version { print $column[arch] }' "$table"
}

# Runs a command, or prints it so that it can be pasted into a shell.
run() {
    if [[ -n $dry_run ]]; then
        local words
        printf -v words '%q ' "$@"
        echo "${words% }"
    else
        "$@"
    fi
}
