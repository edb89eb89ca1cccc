"""Served: whose tokenizer belongs to the model that a server knows by some name.

A prompt by a server is to be the one in process, so the model's own chat template has to be found
where the model has an alias.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from langneurons.ask.replies import Listed
from langneurons.ask.server import Server
from langneurons.errors import ModelError, ServerError, brief
from langneurons.texts.prompts import CHAT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Known(NamedTuple):
    """What could be found out of a served model's chat template.

    Attributes:
        tokenizer: the model's; None where nothing says what the model is.
        name: the folder or id that the tokenizer is of.
        note: what to say where there is none.
    """

    tokenizer: "PreTrainedTokenizerBase | None"
    name: str | None = None
    note: str | None = None


def tokenizer_of(
    server: Server,
    *,
    named: str | None = None,
    template: str | None = None,
    revision: str | None = None,
) -> Known:
    """The tokenizer of the model that a server is asked for.

    It is the one that is named, else that of what the server says it has loaded (see
    `replies.Listed`), else that of a folder or id by the model's name.

    Args:
        server: the server, with the model's name.
        named: whose tokenizer it is, where somebody says.
        template: `chat` or None; how it is to be asked.
        revision: branch, tag or commit on the Hub.

    Returns:
        without a tokenizer where the server has no list of models, no tokenizer is found by the
        model's name, and no chat template was asked for.

    Raises:
        ModelError: when the one that is named is none; when a server that lists its models does
            not say enough, or `chat` was asked for and cannot be known.
        ServerError: when the server is not there, or does not recover, and the name is unknown.
    """
    from langneurons.model.loading import load_tokenizer

    if named:
        return Known(load_tokenizer(named, revision=revision), named)
    models, absent = None, None
    try:
        models = server.models()
    except ServerError as error:
        absent = error
    reasons: list[str] = []
    for name in _names(server.model, models or ()):
        try:
            return Known(load_tokenizer(name, revision=revision), name)
        except ModelError as error:
            if Path(name).exists():
                reasons.append(str(error))
    if absent:
        raise absent
    unsaid = "has no list of models" if models is None else "does not say what it is"
    if models is None and template != CHAT and not reasons:
        return Known(None, None, _unknown(server))
    why = reasons[0] if reasons else f"no tokenizer is found by that name, and the server {unsaid}"
    others = "mathoctopus, plain or a text of yours"
    if template != CHAT:
        others = f"chat, {others}"
    raise ModelError(
        f"the chat template of {brief(server.model)} cannot be known: {why}; name its tokenizer "
        f"with --tokenizer, a folder or an id on the Hub, or ask with --template {others}"
    )


def _unknown(server: Server) -> str:
    return (
        f"{server.url} has no list of models and no tokenizer is found by the name "
        f"{brief(server.model)}, so it was asked with template mathoctopus, whether the model has "
        "a chat template or not; --tokenizer or --template says otherwise"
    )


def _names(model: str, models: Sequence[Listed]) -> Iterator[str]:
    """Folders or ids that the tokenizer of a model may be of, the likeliest first.

    What an adapter's own folder does not tell, the model does that it adapts. Where a server has
    one model and answers to any name, it is that.
    """
    by_id = {entry.id: entry for entry in models}
    only = models[0] if len(models) == 1 else Listed(model, None, None)
    entry = by_id.get(model, only)

    def names() -> Iterator[str | None]:
        yield entry.root
        yield model
        yield entry.id
        parent, seen = entry.parent, {entry.id}
        while parent and parent not in seen:
            seen.add(parent)
            above = by_id.get(parent, Listed(parent, None, None))
            yield above.root
            yield above.id
            parent = above.parent

    yield from dict.fromkeys(filter(None, names()))
