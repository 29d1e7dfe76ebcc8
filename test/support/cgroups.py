"""Control groups as a process finds them, in files of our own."""

from __future__ import annotations

from pathlib import Path


class FakeGroups:
    """Below `directory`: a `proc` that names the groups, and their mounts. `own` is the process's group, `mounted` the
    one that is mounted, both by their paths in the hierarchy."""

    def __init__(self, directory: Path, own: str = "/", mounted: str = "/") -> None:
        self.proc = directory / "proc"
        self._directory = directory
        self._own, self._mounted = own, mounted
        (self.proc / "self").mkdir(parents=True, exist_ok=True)

    def v2(self, group: str = "", **files: str) -> FakeGroups:
        """Files of a group of version 2, below the mount; a point in a file's name is written `__`."""
        self._mount("cgroup 2", "", "cgroup2 none rw", "0::")
        return self._write("cgroup 2", group, files)

    def v1(self, controller: str, group: str = "", **files: str) -> FakeGroups:
        """Files of a group of version 1's `controller`."""
        self._mount(controller, controller, f"cgroup cgroup rw,{controller}", f"7:{controller}:")
        return self._write(controller, group, files)

    def _mount(self, name: str, controller: str, kind: str, number: str) -> None:
        where = str(self._directory / "mounts" / name).replace(" ", "\\040")
        lines = {
            "self/mountinfo": f"31 23 0:28 {self._mounted} {where} rw,relatime shared:1 - {kind}\n",
            "self/cgroup": f"{number}{self._own}\n",
        }
        for file, line in lines.items():
            path = self.proc / file
            text = path.read_text() if path.exists() else ""
            if line not in text:
                path.write_text(text + line)

    def _write(self, name: str, group: str, files: dict[str, str]) -> FakeGroups:
        directory = self._directory / "mounts" / name / group
        directory.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (directory / file.replace("__", ".")).write_text(text + "\n")
        return self
