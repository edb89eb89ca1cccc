"""A study made up without a model, as a run, as values and as a page."""

from pathlib import Path
from typing import Any

import pytest

from langneurons.report.html import render
from langneurons.report.pages import results_page, study_page
from langneurons.report.parts import Page
from langneurons.report.results import FolderResults, StudyResults, read_folder, read_study
from support import made_up_study


@pytest.fixture(scope="session")
def study(example: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a study: one model, two sets of questions, two alignments of two steps."""
    folder = tmp_path_factory.mktemp("runs") / "study"
    return made_up_study.write(folder, made_up_study.narrow_counts(example))


@pytest.fixture(scope="session")
def found(study: Path) -> StudyResults:
    """What the study has found."""
    return read_study(study)


@pytest.fixture(scope="session")
def page(found: StudyResults) -> Page:
    """Its page."""
    return study_page("study", found)


@pytest.fixture(scope="session")
def html(page: Page) -> str:
    """The same as HTML."""
    return render(page)


@pytest.fixture(scope="session")
def school(study: Path) -> FolderResults:
    """Results of the model before alignment on the first questions."""
    return read_folder(study / "models" / "small" / "base" / "school")


@pytest.fixture(scope="session")
def school_page(school: FolderResults) -> Page:
    """Their page."""
    return results_page("school", school.results, school.provenance)
