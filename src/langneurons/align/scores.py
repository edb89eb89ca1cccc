"""Scores: how well each response agrees with the English responses to its question."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from langneurons import artifacts
from langneurons.texts.responses import Response
from langneurons.texts.rows import from_lines, to_lines


@dataclass(frozen=True, slots=True)
class Scored:
    """A response and how well it agrees with the English responses to its question.

    Attributes:
        response: the response.
        score: mean of its scores against each English reference; None without a reference.
        score_max: the highest of them; None without a reference.
        references: how many there were.
    """

    response: Response
    score: float | None
    score_max: float | None
    references: int

    def to_row(self) -> dict[str, Any]:
        """The row of `scored.jsonl`: the response's fields, then the score's."""
        scores = {"score": self.score, "score_max": self.score_max, "references": self.references}
        return self.response.to_row() | scores

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Scored":
        """What `to_row` wrote."""
        return cls(
            response=Response.from_row(row),
            score=row["score"],
            score_max=row["score_max"],
            references=row["references"],
        )


@dataclass(frozen=True)
class Scores:
    """Scored responses: what `reward` leaves in a folder.

    Attributes:
        scored: every response that is not English, in order.
    """

    KIND: ClassVar[str] = "scored"
    FILE: ClassVar[str] = "scored.jsonl"

    scored: tuple[Scored, ...]

    def write(self, draft: artifacts.Draft) -> None:
        """Add them to a folder that is being written."""
        draft.bytes(self.FILE, to_lines(scored.to_row() for scored in self.scored))

    def save(self, folder: Path | str) -> None:
        """Write them into a folder of their own; see `artifacts.save`."""
        artifacts.save(self, folder)

    @classmethod
    def load(cls, source: Path | str | artifacts.Artifact) -> "Scores":
        """Those in a finished folder.

        Raises:
            InputError: when there is none, or it holds something else.
            FormatError: when its file is damaged.
        """
        content = artifacts.opened(source, cls.KIND).file(cls.FILE).read_bytes()
        return cls(tuple(Scored.from_row(row) for row in from_lines(content)))
