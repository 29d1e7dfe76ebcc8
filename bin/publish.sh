#!/usr/bin/env bash
# Publishes an image that bin/build.sh built to a repository of your AWS account, which is made when it is not there.
#
# usage: bin/publish.sh [OPTION…]
#
#   -r, --region REGION       (default: the AWS CLI's own)
#
# Needs the AWS CLI, configured for your account.
set -euo pipefail
# shellcheck source=bin/shared.sh
source "$(dirname "$0")/shared.sh"

while [[ $# -gt 0 ]]; do
    take_common_option "$@"
    [[ $taken != 0 ]] || fail "there is no option $1; see --help"
    shift "$taken"
done
settle

# What only AWS can tell is a placeholder in a dry run, which asks nobody.
account=ACCOUNT
if [[ -z $dry_run ]]; then
    command -v aws >/dev/null || fail "the AWS CLI is needed; install it and run aws configure"
    docker image inspect "$image" >/dev/null 2>&1 || fail "there is no image $image; build it with bin/build.sh first"
    region=${region:-${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}}
    [[ -n $region ]] || fail "no region is configured; use --region"
    account=$(aws sts get-caller-identity --query Account --output text)
else
    echo "aws sts get-caller-identity --query Account --output text"
    region=${region:-${AWS_REGION:-${AWS_DEFAULT_REGION:-REGION}}}
fi
registry=$account.dkr.ecr.$region.amazonaws.com
[[ $region != cn-* ]] || registry+=.cn
name=${image%:*}

log_in() {
    aws ecr get-login-password --region "$region" | docker login --username AWS --password-stdin "$registry"
}

make_repository() {
    aws ecr describe-repositories --region "$region" --repository-names "$name" >/dev/null 2>&1 \
        || aws ecr create-repository --region "$region" --repository-name "$name" >/dev/null
}

if [[ -n $dry_run ]]; then
    echo "aws ecr get-login-password --region $region | docker login --username AWS --password-stdin $registry"
    echo "aws ecr describe-repositories --region $region --repository-names $name" \
        "|| aws ecr create-repository --region $region --repository-name $name"
else
    log_in
    make_repository
fi
run docker tag "$image" "$registry/$image"
run docker push "$registry/$image"
