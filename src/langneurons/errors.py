"""Every error langneurons raises on purpose.

    LangneuronsError
    |-- InputError       what was given cannot be used: a file, a folder, an option, a value
    |   |-- FormatError      a file of another tool is damaged, hostile or not of that tool
    |   |-- ModelError       what was named is no causal language model that can be loaded
    |   |-- SiteError        a model has no feed-forward activation where one is needed, or hides it
    |   `-- MismatchError    two things that must belong together do not (models, languages)
    |-- RecordError      a recording cannot go on: activations that are no numbers, no memory left
    |-- ServerError      a server that writes texts is not there, or does not recover
    |-- OutputError      the result cannot be written where it was asked for
    `-- MissingExtraError  a library of an optional extra is not installed

The message of each says what was seen, where, and what to do next, in one line. The command line
prints that line and exits with 2; anything that is not a `LangneuronsError` is our fault and exits
with 1.
"""


class LangneuronsError(Exception):
    """Root of the tree; catch this to catch everything langneurons raises on purpose."""


class InputError(LangneuronsError, ValueError):
    """What was given cannot be used: a missing folder, a value out of range, counts that contradict
    themselves.
    """


class FormatError(InputError):
    """A file of another tool is damaged, holds code, or is not what that tool writes."""


class ModelError(InputError):
    """What was named is no causal language model that can be loaded."""


class SiteError(InputError):
    """The model has no feed-forward activation where one is needed, or computes it where it cannot
    be read.
    """


class MismatchError(InputError):
    """Two things that must belong together do not: other layer widths, other languages, other
    settings.
    """


class RecordError(LangneuronsError, RuntimeError):
    """A recording cannot go on: activations that are not numbers, counts that do not add up, no
    memory left.
    """


class ServerError(LangneuronsError, RuntimeError):
    """A server that writes texts is not there, or keeps failing."""


class OutputError(LangneuronsError, OSError):
    """The result cannot be written where it was asked for: no permission, no space, something else
    stands there.
    """


class MissingExtraError(LangneuronsError, ImportError):
    """A library of an optional extra is needed and not installed."""


_EXTRAS = {
    "torch": "model",
    "transformers": "model",
    "datasets": "model",
    "huggingface_hub": "model",
    "tokenizers": "model",
    "gguf": "gguf",
    "jinja2": "report",
    "markupsafe": "report",
}
"""Libraries that an import may miss, and the extra that brings them."""


def missing_extra(error: BaseException) -> MissingExtraError | None:
    """What to say of an import that failed; None where no extra would mend it, or none failed."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    library = (error.name or "").partition(".")[0]
    if library not in _EXTRAS:
        return None
    return MissingExtraError(
        f"{library} is not installed; this needs: pip install 'langneurons[{_EXTRAS[library]}]'"
    )


def brief(text: str) -> str:
    """The beginning of a text, quoted, for a message."""
    return repr(text if len(text) <= 40 else f"{text[:39]}…")


def first_line(error: BaseException) -> str:
    """The first line of what an error says, without its full stop; with what follows a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if isinstance(error, (LookupError, AttributeError, ArithmeticError)):
        lines[0] = f"{type(error).__name__}: {lines[0]}"  # alone it is a word
    said = lines[0]
    for line in lines[1:]:
        if not said.endswith(":"):
            break
        said = f"{said} {line}"
    return said.removesuffix(".")
