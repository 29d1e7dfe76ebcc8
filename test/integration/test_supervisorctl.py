"""What an operator does with supervisorctl."""

from __future__ import annotations

from pathlib import Path

from support.stack import RunningStack


def test_a_reload_starts_everything_anew(models: Path, quick_model_server: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/half_plus_two").symlink_to(models / "half_plus_two")
    environ = {"SAGEMAKER_TFS_BINARY": str(quick_model_server)}
    with RunningStack(tmp_path / "stack", tmp_path / "model", environ) as stack:
        before = {name: program["pid"] for name, program in stack.programs().items()}
        stack.ctl("reload")
        stack.wait_for(
            lambda: (
                (now := stack.programs()).keys() == before.keys()
                and all(now[name]["pid"] not in (0, pid) for name, pid in before.items())
                and stack.ping().status_code == 200
            ),
            60,
            "healthy with other processes",
        )
        assert stack.invoke("[1.0, 2.0]").json() == {"predictions": [[3.5, 4.0]]}
        assert stack.invoke("1.0\n+2.0\n", "text/csv").json() == {"predictions": [3.5, 4.0]}
        assert stack.stop() == 0
