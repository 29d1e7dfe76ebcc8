"""What the log says once at start: settings that look like ours, scripts that do not run, what was rendered.

Owns the texts; whoever starts a stack logs them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tfsd import settings
from tfsd.run_dir import RunDir

OURS = "SAGEMAKER_TFS_"
LIKENESS = 0.7  # of the parts after the prefix, as difflib measures it: below it names are different
NGINX_DIRECTIVES = ("error_log", "proxy_read_timeout")


def near_misses(environ: Mapping[str, str]) -> Iterator[str]:
    """A line for each SAGEMAKER_TFS_* variable that is none of ours, but nearly one."""
    known = {name for _, variable in settings.variables() for name in variable.names}
    by_part = {name.removeprefix(OURS).removeprefix("SAGEMAKER_"): name for name in sorted(known)}
    for name in sorted(environ):
        if name.startswith(OURS) and name not in known:
            import difflib

            close = difflib.get_close_matches(name.removeprefix(OURS), by_part, n=1, cutoff=LIKENESS)
            if close:
                yield f"{name} is no setting and has no effect; did you mean {by_part[close[0]]}?"


def other_scripts(directories: Sequence[Path], program: str) -> Iterator[str]:
    """A line for each code directory that lacks the script that is to run, but has others."""
    for directory in directories:
        scripts = sorted(path.name for path in directory.glob("*.py"))
        if scripts and program not in scripts:
            yield (
                f"{directory} has no {program}, so no code of it runs; it has {', '.join(scripts)}: "
                f"set SAGEMAKER_PROGRAM to one of them."
            )


def rendered(run_dir: RunDir, files: Mapping[Path, str]) -> Iterator[str]:
    """The batching parameters, and nginx's lines on its error log and its patience, as they are in a stack's files."""
    batching = files.get(run_dir.batching_conf, "")
    yield from (line for line in batching.splitlines() if line.strip() and not line.startswith("#"))
    nginx = [line.strip() for line in files[run_dir.nginx_conf].splitlines()]
    for directive in NGINX_DIRECTIVES:
        yield next(line for line in nginx if line.startswith(f"{directive} "))
