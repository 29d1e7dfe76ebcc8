"""Other ports for a model server of a single-model endpoint: in the plan, in supervisord's and nginx's configuration.

Owns the order of these steps. Workers follow the plan. In multi-model mode `loading` and `hosts` do the same.
"""

from __future__ import annotations

import os
import signal

from tfsd.control.metrics.request_log import signal_nginx
from tfsd.control.supervisor_client import SupervisorClient
from tfsd.plan import Plan
from tfsd.run_dir import RunDir, replace
from tfsd.settings import Settings
from tfsd.stack import nginx, ports
from tfsd.stack.design import Stack, this_machine
from tfsd.stack.model_server_flags import find_command


def move_server(settings: Settings, run_dir: RunDir, supervisor: SupervisorClient, program: str) -> None:
    """Start a model server anew on other ports. Raises StartError, SupervisorError, OSError."""
    plan = Plan.load(run_dir)
    grpc_port, rest_port = ports.allocate(2, settings.safe_port_range, {settings.port, *plan.ports})
    plan = plan.with_server(plan.server(program).moved(grpc_port, rest_port))
    machine, command = this_machine(os.environ), find_command(settings, os.environ)
    stack = Stack(settings, run_dir, machine, nginx.find(), command, plan)
    plan.save(run_dir)
    for path, text in stack.files().items():
        if text != path.read_text():
            replace(path, text)
    signal_nginx(run_dir, signal.SIGHUP, "take in that a model server has moved")
    supervisor.renew_group(program)
