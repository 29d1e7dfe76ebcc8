"""Finding models: the layouts of the hosting contract, section 7, and what is said when there is none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsd.model_directory import FoundModel, ModelError, find_models, version_of

MakeModels = Callable[..., Path]


def found(directory: Path) -> dict[str, tuple[int, ...]]:
    return {model.name: model.versions for model in find_models(directory)}


def refusal(directory: Path) -> str:
    with pytest.raises(ModelError) as error:
        find_models(directory)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("paths", "models"),
    [
        (["12345/saved_model.pb"], {"model": (12345,)}),
        (["export/Servo/1538687370/saved_model.pb"], {"Servo": (1538687370,)}),
        (["half/1/saved_model.pb"], {"half": (1,)}),
        (["a/b/c/half/1/saved_model.pb"], {"half": (1,)}),
        (["half/00000123/saved_model.pb"], {"half": (123,)}),
        (["half/0/saved_model.pb"], {"half": (0,)}),
        (["half/1/saved_model.pbtxt"], {"half": (1,)}),
        (["half/10/saved_model.pb", "half/9/saved_model.pb", "half/1/saved_model.pb"], {"half": (1, 9, 10)}),
        (["two/1/saved_model.pb", "one/2/saved_model.pb"], {"one": (2,), "two": (1,)}),
        (["half/1/saved_model.pb", "half/2/variables/"], {"half": (1,)}),
        (["half/1/saved_model.pb", "half/.2/saved_model.pb", "half/v3/saved_model.pb"], {"half": (1,)}),
        (["half/1/saved_model.pb", "half/1.5/saved_model.pb", "half/-2/saved_model.pb"], {"half": (1,)}),
        (["half/1/saved_model.pb", "half/²/saved_model.pb", "half/١/saved_model.pb"], {"half": (1,)}),
        (["half/1/saved_model.pb", ".hidden/1/saved_model.pb"], {"half": (1,)}),
        (["half/1/saved_model.pb", "half/1/assets/other/1/saved_model.pb"], {"half": (1,)}),
        (["7/saved_model.pb", "half/1/saved_model.pb"], {"model": (7,), "half": (1,)}),
        (["12/1/saved_model.pb"], {"12": (1,)}),
        (["half/9223372036854775807/saved_model.pb"], {"half": (2**63 - 1,)}),
        (["half/1/saved_model.pb", "half/9223372036854775808/saved_model.pb"], {"half": (1,)}),
        (["half/1/saved_model.pb", f"half/{'9' * 255}/saved_model.pb"], {"half": (1,)}),
    ],
)
def test_layouts(make_models: MakeModels, paths: list[str], models: dict[str, tuple[int, ...]]) -> None:
    assert found(make_models(*paths)) == models


@pytest.mark.parametrize(
    "paths",
    [
        ["1/saved_model.pb", "code/inference.py"],
        ["1/saved_model.pb", "code/lib/extra/1/saved_model.pb"],
        ["1/saved_model.pb", "code/inference.py", "code/1/saved_model.pb"],
    ],
)
def test_the_users_code_holds_no_models(make_models: MakeModels, paths: list[str]) -> None:
    assert found(make_models(*paths)) == {"model": (1,)}


def test_code_of_a_model_holds_no_models(make_models: MakeModels) -> None:
    directory = make_models(
        "half/1/saved_model.pb", "half/code/inference.py", "half/code/lib/x/2/saved_model.pb"
    )
    assert found(directory) == {"half": (1,)}


def test_a_model_may_be_called_code(make_models: MakeModels) -> None:
    assert found(make_models("code/1/saved_model.pb", "code/code/inference.py")) == {"code": (1,)}


def test_models_come_by_name_with_the_directory_of_their_versions(make_models: MakeModels) -> None:
    directory = make_models("b/x/1/saved_model.pb", "a/y/2/saved_model.pb")
    assert find_models(directory) == (
        FoundModel("x", directory / "b/x", (1,)),
        FoundModel("y", directory / "a/y", (2,)),
    )


@pytest.mark.parametrize(
    "name",
    [
        "half plus two",
        "übergröße",
        "模型",
        "it's",
        'say "hi"',
        "a;b",
        "50%",
        "a%(b)s",
        "$HOME",
        "x" * 200,
        "a,b=c",
        "{{x}}",
    ],
)
def test_a_model_is_called_what_its_directory_is_called(make_models: MakeModels, name: str) -> None:
    assert found(make_models(f"{name}/1/saved_model.pb")) == {name: (1,)}


def test_a_name_with_a_line_end_is_refused(make_models: MakeModels) -> None:
    message = refusal(make_models("a\nb/1/saved_model.pb"))
    assert "a\\nb" in message
    assert "rename" in message


@pytest.mark.parametrize("name", ["a[1]", "a\\b"])
def test_a_path_that_tensorflow_takes_for_a_pattern_is_refused(make_models: MakeModels, name: str) -> None:
    assert f"{name} has [ or \\, which TensorFlow takes for a pattern" in refusal(
        make_models(f"{name}/1/saved_model.pb")
    )


def test_a_name_that_is_not_unicode_is_refused(make_models: MakeModels) -> None:
    message = refusal(make_models(os.fsdecode(b"caf\xe9") + "/1/saved_model.pb"))
    assert "rename" in message
    message.encode()


class TestLinks:
    def test_a_linked_version_is_a_version(self, make_models: MakeModels, tmp_path: Path) -> None:
        directory = make_models("half/1/saved_model.pb", "../store/saved_model.pb")
        (directory / "half/2").symlink_to(tmp_path / "store")
        assert found(directory) == {"half": (1, 2)}

    def test_a_linked_model_has_the_links_name(self, make_models: MakeModels, tmp_path: Path) -> None:
        directory = make_models("../store/other/1/saved_model.pb")
        (directory / "half").symlink_to(tmp_path / "store/other")
        assert found(directory) == {"half": (1,)}

    def test_a_linked_model_directory(self, make_models: MakeModels, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(make_models("1/saved_model.pb"))
        assert found(tmp_path / "link") == {"model": (1,)}

    @pytest.mark.parametrize("target", [".", "..", "half", "half/1"])
    def test_a_loop_ends(self, make_models: MakeModels, target: str) -> None:
        directory = make_models("half/1/saved_model.pb", "half/deep/")
        (directory / "half/deep/loop").symlink_to(directory / target)
        assert found(directory) == {"half": (1,)}

    @pytest.mark.parametrize("link", ["a", "z", "a/link", "z/link"])
    def test_a_link_to_a_model_beside_it_is_no_second_model(self, make_models: MakeModels, link: str) -> None:
        directory = make_models("half/1/saved_model.pb")
        (directory / link).parent.mkdir(exist_ok=True)
        (directory / link).symlink_to(directory / "half")
        assert found(directory) == {"half": (1,)}

    def test_a_dangling_link_is_nothing(self, make_models: MakeModels) -> None:
        directory = make_models("half/1/saved_model.pb", "half/2/")
        (directory / "half/3").symlink_to("nowhere")
        (directory / "half/2/saved_model.pb").symlink_to("nowhere")
        (directory / "half/code").symlink_to("nowhere")
        assert found(directory) == {"half": (1,)}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every directory")
def test_a_directory_that_may_not_be_read_is_passed_over(make_models: MakeModels) -> None:
    directory = make_models("half/1/saved_model.pb", "lost+found/", "code/")
    for name in ("lost+found", "code"):
        (directory / name).chmod(0)
    assert found(directory) == {"half": (1,)}


class TestRefusals:
    def test_two_directories_of_one_version(self, make_models: MakeModels) -> None:
        message = refusal(make_models("half/007/saved_model.pb", "half/7/saved_model.pb"))
        for part in ("'007'", "'7'", "half", "version 7"):
            assert part in message

    def test_two_models_of_one_name(self, make_models: MakeModels) -> None:
        message = refusal(make_models("a/half/1/saved_model.pb", "b/half/2/saved_model.pb"))
        for part in ("'half'", "a/half", "b/half", "rename"):
            assert part in message

    def test_a_model_called_model_beside_root_versions(self, make_models: MakeModels) -> None:
        assert "'model'" in refusal(make_models("1/saved_model.pb", "model/1/saved_model.pb"))


WANTED = "<name>/<version>/saved_model.pb"


@pytest.mark.parametrize(
    ("paths", "parts"),
    [
        ([], ["is empty"]),
        (["half/saved_model.pb"], ["no version directory", "'half'"]),
        (["saved_model.pb"], ["no version directory", "'.'"]),
        (["half/v1/saved_model.pb"], ["no version directory", "'half/v1'"]),
        (["half/1/model.h5"], ["Keras file", "half/1/model.h5", "model.export()"]),
        (["net.keras"], ["Keras file", "net.keras", "model.export()"]),
        (["NET.HDF5"], ["Keras file", "NET.HDF5"]),
        (["weights.bin", "half/1/"], ["has half, weights.bin"]),
        (["code/inference.py"], ["has code"]),
        ([f"{letter}.txt" for letter in "abcdefghij"], ["a.txt", "h.txt, …"]),
        (["odd\nname"], ["has 'odd\\nname'"]),
    ],
)
def test_what_there_is_instead_of_a_model(
    make_models: MakeModels, paths: list[str], parts: list[str]
) -> None:
    message = refusal(make_models(*paths))
    for part in [*parts, WANTED]:
        assert part in message


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["1/saved_model.pb"], ["digits"]),
        (["1/saved_model.pb", "other/1/saved_model.pb"], ["digits", "other"]),
        (["1/saved_model.pb", "digits/1/saved_model.pb"], ["digits", "model"]),
    ],
)
def test_versions_without_a_name_get_the_one_that_is_asked_for(
    make_models: MakeModels, paths: list[str], names: list[str]
) -> None:
    assert [model.name for model in find_models(make_models(*paths), root_name="digits")] == names


def test_no_directory(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "missing")
    (tmp_path / "model.tar.gz").touch()
    assert "is a file" in refusal(tmp_path / "model.tar.gz")


@given(st.integers(0, 2**63 - 1), st.integers(0, 20))
def test_any_number_of_leading_zeros_means_the_same_version(version: int, zeros: int) -> None:
    assert version_of("0" * zeros + str(version)) == version


@given(st.text())
def test_no_other_name_is_a_version(name: str) -> None:
    is_number = set(name) <= set("0123456789") and name != "" and len(name.lstrip("0")) < 19
    if is_number or not set(name) <= set("0123456789"):
        assert (version_of(name) is not None) == is_number


@pytest.mark.parametrize(
    ("newest", "versions"), [(None, (1, 2, 10)), (1, (10,)), (2, (2, 10)), (9, (1, 2, 10))]
)
def test_so_many_of_the_newest(
    make_models: MakeModels, newest: int | None, versions: tuple[int, ...]
) -> None:
    directory = make_models(*(f"m/{version}/saved_model.pb" for version in ("1", "2", "10")))
    assert [model.versions for model in find_models(directory, newest)] == [versions]


def test_what_may_not_be_read_is_named(short_dir: Path) -> None:
    directory = short_dir
    directory.chmod(0o755)
    (directory / "m").mkdir(mode=0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(12345)
        with pytest.raises(
            ModelError, match="/m: Permission denied; look at its permissions; this is user id"
        ):
            find_models(directory)
    finally:
        os.seteuid(user)
        (directory / "m").chmod(0o755)
