import errno
import os
from pathlib import Path

import pytest

from tfsd.capture_files import CaptureFiles

NOON = 1769860800.0  # 2026-01-31T12:00:00Z
MEGABYTE = 1 << 20


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*.jsonl"))


def total(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*.jsonl"))


def test_a_file_for_each_hour_named_by_the_program_and_its_first_minute(tmp_path: Path) -> None:
    written = CaptureFiles(tmp_path, "worker-default-0", MEGABYTE)
    for moment in (NOON, NOON + 180, NOON + 3660):
        written.append(["{}"], moment)
    assert files(tmp_path) == [
        "2026/01/31/12/worker-default-0-00.jsonl",
        "2026/01/31/13/worker-default-0-01.jsonl",
    ]
    assert (tmp_path / "2026/01/31/12/worker-default-0-00.jsonl").read_text() == "{}\n{}\n"


def test_a_restarted_program_appends(tmp_path: Path) -> None:
    for _ in range(2):
        CaptureFiles(tmp_path, "w", MEGABYTE).append(["{}"], NOON)
    assert (tmp_path / "2026/01/31/12/w-00.jsonl").read_text() == "{}\n{}\n"


def test_the_bound_holds_for_all_programs_and_the_oldest_go_first(tmp_path: Path) -> None:
    programs = [CaptureFiles(tmp_path, f"w{number}", MEGABYTE) for number in range(4)]
    other = tmp_path / "mine.jsonl"
    other.write_text("x" * MEGABYTE)  # what capture has not written, it neither counts nor deletes
    for step in range(600):
        programs[step % 4].append([f"{step} " + "x" * 4000], NOON + 60 * step)
        assert total(tmp_path) - MEGABYTE <= MEGABYTE
    texts = "".join(path.read_text() for path in tmp_path.glob("2026/**/*.jsonl"))
    kept = sorted(int(line.split()[0]) for line in texts.splitlines())
    assert len(kept) > 100  # most of the bound is used
    assert max(kept) == 599
    assert 0 not in kept
    assert not (tmp_path / "2026/01/31/12").exists()
    assert other.exists()


def test_a_line_of_more_than_a_quarter_of_the_bound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="SAGEMAKER_TFS_CAPTURE_MAX_MB"):
        CaptureFiles(tmp_path, "w", MEGABYTE).append(["x" * 300_000], NOON)


def test_a_deleted_file_is_made_again(tmp_path: Path) -> None:
    written = CaptureFiles(tmp_path, "w", MEGABYTE)
    written.append(["1"], NOON)
    (tmp_path / "2026/01/31/12/w-00.jsonl").unlink()
    written.append(["2"], NOON)
    assert (tmp_path / "2026/01/31/12/w-00.jsonl").read_text() == "2\n"


def test_no_half_line_is_left_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = CaptureFiles(tmp_path, "w", MEGABYTE)
    written.append(["first"], NOON)
    write = os.write
    room = [3]

    def on_a_full_disk(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = write(descriptor, bytes(data)[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr(os, "write", on_a_full_disk)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}'"):
        written.append(["second"], NOON)
    monkeypatch.setattr(os, "write", write)
    written.append(["third"], NOON)
    assert (tmp_path / "2026/01/31/12/w-00.jsonl").read_text() == "first\nthird\n"
