"""Where a run keeps what: folders by name, and the step a folder is of."""

import pytest

from langneurons import run_folder


def test_where_things_are() -> None:
    assert run_folder.questions("school") == "questions/school"
    assert run_folder.questions(run_folder.SEEDS) == "questions/seeds"
    assert run_folder.base("nano", "school") == "models/nano/base/school"
    assert run_folder.seeds("nano") == "models/nano/seeds"
    assert run_folder.alignment("nano", "sw-th") == "models/nano/sw-th"
    assert run_folder.step("nano", "sw-th", 60, "school") == "models/nano/sw-th/step-60/school"
    assert run_folder.comparison("nano", "sw-th", "a") == "models/nano/sw-th/comparison/a"
    assert run_folder.checkpoints("nano", "sw-th", "a") == "models/nano/sw-th/checkpoints/a"


@pytest.mark.parametrize("number", [0, 7, 1200])
def test_a_folder_says_its_step(number: int) -> None:
    """Also where models, alignments and questions are named like a step."""
    for name in ("nano", "step-5"):
        assert run_folder.step_number(run_folder.step(name, name, number, name)) == number


@pytest.mark.parametrize(
    "folder", ["models/nano/base/school", "models/a/b/step-x/c", "models/a/b/step-/c", "step-5", ""]
)
def test_other_folders_have_none(folder: str) -> None:
    assert run_folder.step_number(folder) is None
