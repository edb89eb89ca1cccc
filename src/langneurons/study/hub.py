"""Hub: whether the Hugging Face Hub has something that we may read. It is asked about ids only."""

from functools import cache
from typing import Literal, NamedTuple


class OnHub(NamedTuple):
    """What the Hub says of an id.

    Attributes:
        there: whether it is there and may be read; None when that could not be checked.
        words: the same in words.
        weights: how many weights a model has, counted in its files; None when the Hub does not say.
    """

    there: bool | None
    words: str
    weights: int | None = None


@cache
def look(name: str, kind: Literal["model", "dataset"]) -> OnHub:
    """Ask the Hub for an id; once, whoever wants to know."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        info = HfApi().repo_info(name, repo_type=kind, timeout=5)
    except GatedRepoError:
        return OnHub(there=False, words="on the Hub, and one must ask for it there")
    except (RepositoryNotFoundError, HFValidationError):
        return OnHub(there=False, words="neither here nor on the Hub")
    except Exception as error:  # noqa: BLE001 - whatever the network says, it could not be checked
        words = f"could not be checked: {type(error).__name__} from the Hub"
        return OnHub(there=None, words=words)
    counted = getattr(info, "safetensors", None)
    return OnHub(there=True, words="on the Hub", weights=counted.total if counted else None)
