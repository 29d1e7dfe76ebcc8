"""deploy/kubernetes and deploy/kserve as they are written: what is built of them, by the schemas of each kind, and what
has to agree among files. test/podman runs them."""

from __future__ import annotations

import copy
import os
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from support.manifests import DEPLOY, Manifest, built, of_kind, problems
from tfsd.settings import GATEWAY_MARGIN_SECONDS, Settings
from tfsd.stop_times import stop_times

KUBERNETES = DEPLOY / "kubernetes"
KSERVE = DEPLOY / "kserve"
BASE = KUBERNETES / "base"
OVERLAYS = sorted(path.parent for path in (KUBERNETES / "overlays").glob("*/kustomization.yaml"))
COMPONENTS = sorted(path.parent for path in (KUBERNETES / "components").glob("*/kustomization.yaml"))


def name_of(path: Path) -> str:
    return path.name


def with_components(directory: Path, *components: Path) -> list[Manifest]:
    """The base with these components, as an overlay of somebody's own has them."""
    lines = ["resources:", f"  - {os.path.relpath(BASE, directory)}", "components:"]
    lines += [f"  - {os.path.relpath(component, directory)}" for component in components]
    (directory / "kustomization.yaml").write_text("\n".join(lines))
    return built(directory)


@pytest.fixture(scope="module")
def base() -> list[Manifest]:
    return built(BASE)


@pytest.fixture
def pod(base: list[Manifest]) -> Manifest:
    """The Deployment's pod."""
    template: Manifest = of_kind(base, "Deployment")["spec"]["template"]
    return template


@pytest.mark.parametrize("directory", [BASE, *OVERLAYS, KSERVE], ids=name_of)
def test_an_overlay_builds_and_every_kind_in_it_is_right(directory: Path) -> None:
    manifests = built(directory)
    assert manifests
    assert {manifest["kind"]: problems(manifest) for manifest in manifests if problems(manifest)} == {}


@pytest.mark.parametrize("component", COMPONENTS, ids=name_of)
def test_a_component_by_itself_is_right(component: Path, tmp_path: Path) -> None:
    manifests = with_components(tmp_path, component)
    assert {manifest["kind"]: problems(manifest) for manifest in manifests if problems(manifest)} == {}


def test_the_overlay_of_the_guide_is_right(tmp_path: Path) -> None:
    """The page's own, which may lie anywhere: its namespace and image reach what they have to."""
    page = (DEPLOY.parent / "docs" / "how-to" / "kubernetes.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    here = os.path.relpath(DEPLOY, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(textwrap.dedent(text).replace("../deploy", here))
    manifests = built(tmp_path)
    assert {manifest["kind"]: problems(manifest) for manifest in manifests if problems(manifest)} == {}
    assert {manifest["metadata"]["namespace"] for manifest in manifests} == {"models"}
    (container,) = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/digits:1"
    assert of_kind(manifests, "HorizontalPodAutoscaler")


def test_the_kit_is_whole(base: list[Manifest]) -> None:
    assert {manifest["kind"] for manifest in base} == {
        "Deployment",
        "Service",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "ServiceAccount",
        "ConfigMap",
    }
    assert [path.name for path in COMPONENTS] == [
        "autoscale-cpu",
        "autoscale-in-flight",
        "model-from-s3",
        "monitor",
    ]


@pytest.mark.parametrize(
    ("directory", "kind", "where"),
    [
        ("kubernetes/overlays/cpu", "Deployment", ["spec", "template", "spec", "containers", 0]),
        ("kubernetes/overlays/cpu", "HorizontalPodAutoscaler", ["spec"]),
        ("kubernetes/overlays/in-flight", "ScaledObject", ["spec", "advanced"]),
        ("kubernetes/overlays/in-flight", "ServiceMonitor", ["spec", "endpoints", 0]),
        ("kserve", "ClusterServingRuntime", ["spec"]),
        ("kserve", "ClusterServingRuntime", ["spec", "containers", 0, "readinessProbe"]),
        ("kserve", "InferenceService", ["spec", "predictor", "model"]),
        ("kserve", "InferenceService", ["spec", "predictor", "deploymentStrategy"]),
    ],
)
def test_the_check_finds_a_field_that_no_kind_has(directory: str, kind: str, where: list[str | int]) -> None:
    manifest = copy.deepcopy(of_kind(built(DEPLOY / directory), kind))
    assert problems(manifest) == []
    part: Any = manifest
    for step in where:
        part = part[step]
    part["noSuchField"] = 1
    assert "noSuchField" in "".join(problems(manifest))


def test_selectors_meet_the_pod(base: list[Manifest], pod: Manifest) -> None:
    labels = pod["metadata"]["labels"].items()
    selectors = [
        of_kind(base, "Deployment")["spec"]["selector"]["matchLabels"],
        of_kind(base, "Service")["spec"]["selector"],
        of_kind(base, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        of_kind(base, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in pod["spec"]["topologySpreadConstraints"]),
    ]
    assert [selector for selector in selectors if not selector or not selector.items() <= labels] == []


def test_a_monitor_finds_the_service(tmp_path: Path) -> None:
    manifests = with_components(tmp_path, KUBERNETES / "components" / "monitor")
    monitor, service = of_kind(manifests, "ServiceMonitor"), of_kind(manifests, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    ports = {port["name"] for port in service["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


@pytest.mark.parametrize("name", ["autoscale-cpu", "autoscale-in-flight"])
def test_an_autoscaler_alone_has_the_number_of_replicas(name: str, tmp_path: Path) -> None:
    manifests = with_components(tmp_path, KUBERNETES / "components" / name)
    deployment = of_kind(manifests, "Deployment")
    assert "replicas" not in deployment["spec"]
    kind = "HorizontalPodAutoscaler" if name == "autoscale-cpu" else "ScaledObject"
    target = of_kind(manifests, kind)["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])


def test_only_the_endpoints_port_is_reached(base: list[Manifest], pod: Manifest) -> None:
    (container,) = pod["spec"]["containers"]
    (port,) = container["ports"]
    policy = of_kind(base, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["ingress"] == [{"ports": [{"protocol": "TCP", "port": port["name"]}]}]
    assert port["containerPort"] == Settings().port


def test_no_container_has_more_rights_than_it_needs(tmp_path: Path) -> None:
    manifests = with_components(tmp_path, *COMPONENTS[2:])
    spec = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert of_kind(manifests, "ServiceAccount")["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    containers = [*spec["containers"], *spec["initContainers"]]
    assert len(containers) == 2
    for container in containers:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"].keys() >= {"cpu", "memory"}


def test_a_rolling_update_takes_no_replica_away_first(base: list[Manifest]) -> None:
    strategy = of_kind(base, "Deployment")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def test_the_slowest_request_is_finished_within_the_grace_period(base: list[Manifest], pod: Manifest) -> None:
    settings = Settings.from_environ(of_kind(base, "ConfigMap")["data"])
    spec = pod["spec"]
    (container,) = spec["containers"]
    command, option, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert (command, option) == ("serve", "--drain")
    assert stop_times(settings).nginx_drain >= settings.request_timeout + GATEWAY_MARGIN_SECONDS
    assert spec["terminationGracePeriodSeconds"] == float(seconds) + settings.stop_time


def test_a_pod_is_seen_to_drain_before_its_port_closes(pod: Manifest) -> None:
    (container,) = pod["spec"]["containers"]
    ready = container["readinessProbe"]
    *_, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert ready["periodSeconds"] * ready["failureThreshold"] <= float(seconds)


def test_a_start_may_take_as_long_as_a_model_may_load(base: list[Manifest], pod: Manifest) -> None:
    (container,) = pod["spec"]["containers"]
    start = container["startupProbe"]
    seconds = start["periodSeconds"] * start["failureThreshold"]
    assert seconds >= 2 * Settings().load_timeout  # requirements may have to be installed first
    assert of_kind(base, "Deployment")["spec"]["progressDeadlineSeconds"] >= seconds


def test_kserve_runs_the_container_of_the_kit(base: list[Manifest], pod: Manifest) -> None:
    """All that KServe does not decide itself is the same, and the settings too."""
    manifests = built(KSERVE)
    runtime, service = of_kind(manifests, "ClusterServingRuntime"), of_kind(manifests, "InferenceService")
    (theirs,) = runtime["spec"]["containers"]
    (ours,) = pod["spec"]["containers"]
    assert theirs["args"] == ours["args"]
    assert theirs["lifecycle"] == ours["lifecycle"]
    assert theirs["volumeMounts"] == ours["volumeMounts"]
    assert runtime["spec"]["volumes"] == pod["spec"]["volumes"]
    assert ours["securityContext"].items() <= theirs["securityContext"].items()
    port = ours["ports"][0]["containerPort"]
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert theirs[name] == ours[name] | {"httpGet": ours[name]["httpGet"] | {"port": port}}
    environ = {variable["name"]: variable["value"] for variable in theirs["env"]}
    assert environ.pop("SAGEMAKER_TFS_DEFAULT_MODEL_NAME") == "{{.Name}}"
    assert environ == of_kind(base, "ConfigMap")["data"]
    predictor = service["spec"]["predictor"]
    assert predictor["terminationGracePeriodSeconds"] == pod["spec"]["terminationGracePeriodSeconds"]
    assert predictor["deploymentStrategy"] == of_kind(base, "Deployment")["spec"]["strategy"]
    assert predictor["model"]["runtime"] == runtime["metadata"]["name"]
