"""The rendered supervisord.conf, models.conf and batching.conf, read back by the programs that they are for."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from supervisor.options import ClientOptions, FastCGIGroupConfig
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from support.designs import ODD_NAMES, design_stack, groups, own_code, processes, supervised
from tfsd.model_server.protos import message_class
from tfsd.plan import DEFAULT_POOL
from tfsd.stack.design import Machine, Stack, this_machine
from tfsd.stack.model_server_flags import EMBEDDED
from tfsd.stop_times import AFTER_NGINX

MODELS = dict.fromkeys(ODD_NAMES, (1,))

DesignStack = Callable[..., Stack]


def flags(stack: Stack, program: str) -> dict[str, str]:
    command = supervised(stack)[program]
    assert command[0] == "model_server"
    return dict(flag.removeprefix("--").split("=", 1) for flag in command[1:])


class TestSupervisord:
    def test_programs_of_one_model(self, design: DesignStack) -> None:
        assert set(supervised(design({"half": (1,)}))) == {
            "model-half",
            "worker-default-0",
            "worker-default-1",
            "control",
            "nginx",
        }

    def test_programs_of_several_instances(self, design: DesignStack) -> None:
        environ = {"SAGEMAKER_TFS_INSTANCE_COUNT": "2", "SAGEMAKER_GUNICORN_WORKERS": "1"}
        assert set(supervised(design({"half": (1,)}, environ))) == {
            "model-half-0",
            "model-half-1",
            "worker-default",
            "control",
            "nginx",
        }

    def test_only_model_servers_are_told_how_many_threads(self, design: DesignStack) -> None:
        """User code's NumPy has all of them."""
        told = {
            name: process.environment["OMP_NUM_THREADS"]
            for name, process in processes(design({"half": (1,)}, {"OMP_NUM_THREADS": "3"})).items()
            if "OMP_NUM_THREADS" in (process.environment or {})
        }
        assert told == {"model-half": "3"}

    def test_who_keeps_memory_that_was_freed(self, design: DesignStack) -> None:
        """A real model server's memory is its own affair."""
        real: list[str] = ["tensorflow_model_server"]
        for command, more in (real, set[str]()), ([sys.executable, *EMBEDDED], {"model-half"}):
            stack = dataclasses.replace(design({"half": (1,)}), model_server_command=command)
            keep = {
                name
                for name, process in processes(stack).items()
                if "MALLOC_TRIM_THRESHOLD_" in (process.environment or {})
            }
            assert keep == {"nginx", "worker-default-0", "worker-default-1"} | more

    @pytest.mark.parametrize("environ", [{}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"}])
    def test_nginx_alone_asks_for_huge_pages_unless_somebody_tunes_glibc(
        self, design: DesignStack, environ: dict[str, str]
    ) -> None:
        stack = design({"half": (1,)}, machine=this_machine(environ))
        asked = {
            name
            for name, process in processes(stack).items()
            if "hugetlb=1" in (process.environment or {}).get("GLIBC_TUNABLES", "")
        }
        assert asked == (set() if environ else {"nginx"})

    @pytest.mark.parametrize("instances", ["1", "3"])
    def test_odd_names_are_read_back(self, design: DesignStack, instances: str) -> None:
        codes = {name: own_code(name) for name in ODD_NAMES}
        stack = design(MODELS, {"SAGEMAKER_TFS_INSTANCE_COUNT": instances}, codes=codes)
        commands = supervised(stack)
        words = [word for command in commands.values() for word in command]
        pools = {word.removeprefix("--pool=") for word in words if word.startswith("--pool=")}
        assert pools == set(stack.plan.pools)
        assert len(pools) == len(ODD_NAMES)
        for model in stack.plan.models.values():
            assert len(model.servers) == int(instances)
            for server in model.servers:
                assert f"--rest_api_port={server.rest_port}" in commands[server.program]
                assert f"--port={server.grpc_port}" in commands[server.program]

    def test_a_run_directory_with_odd_characters(self, short_dir: Path) -> None:
        run_dir = short_dir / "run 50% it's"
        stack = design_stack(run_dir, {"half": (1,)})
        command = supervised(stack)["control"]
        assert command[command.index("--run-dir") + 1] == str(run_dir)

    def test_supervisorctl_finds_the_stack(self, short_dir: Path) -> None:
        stack = design_stack(short_dir / "run 50% it's", {"half": (1,)})
        stack.write()
        options = ClientOptions()
        options.realize(["-c", str(stack.run_dir.path / "supervisord.conf"), "status"])
        assert options.serverurl == f"unix://{stack.run_dir}/supervisor.sock"

    @pytest.mark.parametrize("name", ["run ;x", "run\nx", "run$x"])
    def test_a_run_directory_that_no_configuration_can_hold(self, short_dir: Path, name: str) -> None:
        with pytest.raises(ValueError, match="cannot stand in"):
            design_stack(short_dir / name, {"half": (1,)}).files()

    def test_every_process_is_kept_alive_and_has_time_to_stop(self, design: DesignStack) -> None:
        for process in processes(design({"half": (1,)})).values():
            assert process.autorestart
            assert process.stopwaitsecs > 0

    def test_nginx_stops_first_and_model_servers_last(self, design: DesignStack) -> None:
        priority = {name: process.priority for name, process in processes(design({"half": (1,)})).items()}
        assert priority["nginx"] > priority["worker-default-0"] > priority["control"] > priority["model-half"]

    @pytest.mark.parametrize(
        ("request_limit", "platform"), [("5", "30"), ("60", "30"), ("3600", "120"), ("60", "3")]
    )
    def test_draining_fits_into_what_the_platform_allows(
        self, design: DesignStack, request_limit: str, platform: str
    ) -> None:
        environ = {
            "SAGEMAKER_MODEL_SERVER_TIMEOUT": request_limit,
            "SAGEMAKER_TFS_STOP_SECONDS": platform,
        }
        found = processes(design({"half": (1,)}, environ))
        waits = {name: found[name].stopwaitsecs for name in found}
        others = (min(waits[name], AFTER_NGINX) for name in ("worker-default-0", "control", "model-half"))
        assert waits["nginx"] + sum(others) < max(int(platform), 10)
        if int(platform) == 30:
            assert waits["nginx"] > min(int(request_limit), 20)
        for name in ("worker-default-0", "model-half"):
            assert waits[name] >= waits["nginx"]

    def test_a_batch_transform_s_longer_requests_do_not_stretch_the_stop(self, design: DesignStack) -> None:
        found = processes(design({"half": (1,)}, {"SAGEMAKER_BATCH": "true"}))
        usual = processes(design({"half": (1,)}))
        assert {name: found[name].stopwaitsecs for name in found} == {
            name: usual[name].stopwaitsecs for name in usual
        }
        assert "--rest_api_timeout_in_ms=600000" in found["model-half"].command

    def test_sockets_outlive_their_processes(self, design: DesignStack) -> None:
        stack = design({"half": (1,)})
        listening = {
            group.name: group.socket_config.url
            for group in groups(stack)
            if isinstance(group, FastCGIGroupConfig)
        }
        assert listening == {
            "nginx": "tcp://0.0.0.0:8080",
            "control": f"unix://{stack.run_dir}/control.sock",
            **{
                worker.program: f"unix://{worker.socket}" for worker in stack.plan.pools[DEFAULT_POOL].workers
            },
        }


class TestModelServers:
    def test_flags(self, design: DesignStack) -> None:
        stack = design({"half": (1,)}, {"SAGEMAKER_MODEL_SERVER_TIMEOUT": "90"})
        found = flags(stack, "model-half")
        assert found.pop("model_config_file") == str(stack.run_dir.path / "models/half.conf")
        server = stack.plan.models["half"].servers[0]
        assert found.pop("port") == str(server.grpc_port)
        assert found.pop("rest_api_port") == str(server.rest_port)
        assert found.pop("rest_api_timeout_in_ms") == "90000"
        assert not any("parallelism" in flag or "batching" in flag or "gpu" in flag for flag in found)

    def test_flags_of_the_settings(self, design: DesignStack) -> None:
        stack = design(
            {"half": (1,)},
            {
                "SAGEMAKER_TFS_INTER_OP_PARALLELISM": "0",
                "SAGEMAKER_TFS_INTRA_OP_PARALLELISM": "4",
                "SAGEMAKER_TFS_ENABLE_BATCHING": "true",
                "SAGEMAKER_TFS_EXTRA_ARGS": "--enable_model_warmup=false --tensorflow_session_parallelism=1",
            },
        )
        found = flags(stack, "model-half")
        assert found["tensorflow_inter_op_parallelism"] == "0"
        assert found["tensorflow_intra_op_parallelism"] == "4"
        assert found["enable_batching"] == "true"
        assert found["batching_parameters_file"] == str(stack.run_dir.path / "batching.conf")
        assert list(found)[-2:] == ["enable_model_warmup", "tensorflow_session_parallelism"]

    def test_models_conf(self, design: DesignStack) -> None:
        stack = design(MODELS)
        commands = supervised(stack)
        for name, model in stack.plan.models.items():
            [flag] = [
                flag for flag in commands[model.servers[0].program] if flag.startswith("--model_config_file=")
            ]
            text = Path(flag.partition("=")[2]).read_text()
            [config] = text_format.Parse(text, ModelServerConfig()).model_config_list.config
            assert config.name == name
            assert config.base_path == f"/opt/ml/model/{name}"
            assert config.model_platform == "tensorflow"
            assert config.model_version_policy.specific.versions == [1]

    def test_batching_conf(self, design: DesignStack) -> None:
        environ = {
            "SAGEMAKER_TFS_ENABLE_BATCHING": "true",
            "SAGEMAKER_TFS_MAX_BATCH_SIZE": "16",
            "SAGEMAKER_TFS_BATCH_TIMEOUT_MICROS": "0",
            "SAGEMAKER_BATCH": "true",
        }
        stack = design({"half": (1,)}, environ)
        text = stack.files()[stack.run_dir.batching_conf]
        parameters: Any = text_format.Parse(text, message_class("BatchingParameters")())
        assert parameters.max_batch_size.value == 16
        assert parameters.HasField("batch_timeout_micros")
        assert parameters.batch_timeout_micros.value == 0
        assert parameters.num_batch_threads.value == 2
        assert parameters.max_enqueued_batches.value == 100_000_000

        assert not parameters.allowed_batch_sizes
        assert not parameters.HasField("enable_large_batch_splitting")
        assert not parameters.pad_variable_length_inputs

    def test_batching_conf_with_all_of_it(self, design: DesignStack) -> None:
        environ = {
            "SAGEMAKER_TFS_ENABLE_BATCHING": "true",
            "SAGEMAKER_TFS_ALLOWED_BATCH_SIZES": "4,8,32",
            "SAGEMAKER_TFS_ENABLE_LARGE_BATCH_SPLITTING": "true",
            "SAGEMAKER_TFS_MAX_EXECUTION_BATCH_SIZE": "8",
            "SAGEMAKER_TFS_PAD_VARIABLE_LENGTH_INPUTS": "true",
        }
        stack = design({"half": (1,)}, environ)
        text = stack.files()[stack.run_dir.batching_conf]
        parameters: Any = text_format.Parse(text, message_class("BatchingParameters")())
        assert parameters.max_batch_size.value == 32
        assert list(parameters.allowed_batch_sizes) == [4, 8, 32]
        assert parameters.enable_large_batch_splitting.value
        assert parameters.max_execution_batch_size.value == 8
        assert parameters.pad_variable_length_inputs

    def test_no_batching_conf_unless_wanted(self, design: DesignStack) -> None:
        assert "batching.conf" not in {path.name for path in design({"half": (1,)}).files()}


class TestGpus:
    """GPUs are dealt out in turn; processes that share one share its memory (contract section 8)."""

    def gpus(
        self, design: DesignStack, gpus: tuple[str, ...], instances: int, **environ: str
    ) -> list[tuple[str, str]]:
        environ = {"SAGEMAKER_TFS_INSTANCE_COUNT": str(instances), **environ}
        stack = design({"half": (1,)}, environ, machine=Machine(cpus=2, gpus=gpus))
        return [
            (
                process.environment.get("CUDA_VISIBLE_DEVICES", ""),
                dict(flag.split("=", 1) for flag in shlex.split(process.command)[1:]).get(
                    "--per_process_gpu_memory_fraction", ""
                ),
            )
            for name, process in sorted(processes(stack).items())
            if name.startswith("model-")
        ]

    def test_one_process_has_all_of_every_gpu(self, design: DesignStack) -> None:
        assert self.gpus(design, ("0", "1"), 1) == [("", "")]

    def test_processes_on_one_gpu_share_its_memory(self, design: DesignStack) -> None:
        assert self.gpus(design, ("0",), 4) == [("0", "0.2000")] * 4

    def test_a_process_alone_on_its_gpu_has_all_of_it(self, design: DesignStack) -> None:
        assert self.gpus(design, ("0", "1"), 2) == [("0", ""), ("1", "")]

    def test_gpus_shared_unevenly(self, design: DesignStack) -> None:
        assert self.gpus(design, ("GPU-a", "GPU-b"), 3) == [
            ("GPU-a", "0.4000"),
            ("GPU-b", ""),
            ("GPU-a", "0.4000"),
        ]

    def test_margin(self, design: DesignStack) -> None:
        margin = {"SAGEMAKER_TFS_FRACTIONAL_GPU_MEM_MARGIN": "0.5"}
        assert self.gpus(design, ("0",), 2, **margin) == [("0", "0.2500")] * 2

    def test_none(self, design: DesignStack) -> None:
        assert self.gpus(design, (), 3) == [("", "")] * 3
