"""Drawing: a Vega-Lite chart as SVG and PNG without a browser, and the scripts that draw it in one.

All of it is vl-convert's, which the extra `report` brings; it is imported when something is drawn.
"""

import re
from collections.abc import Mapping
from typing import Any

from langneurons.errors import MissingExtraError

SCALE = 2
"""Pixels of a PNG for each of the SVG's."""

_NUMBERED = r"(?:gradient_|clip)\d+"


def svg(spec: Mapping[str, Any], theme: Mapping[str, Any]) -> str:
    """A chart as SVG; the same chart gives the same text, whatever was drawn before it."""
    return _numbered_anew(vl_convert().vegalite_to_svg(spec, config=theme))


def png(drawn: str) -> bytes:
    """An SVG as PNG."""
    return vl_convert().svg_to_png(drawn, scale=SCALE)


def script() -> str:
    """The JavaScript that draws Vega-Lite charts in a browser."""
    return vl_convert().javascript_bundle()


def vl_convert() -> Any:
    """The library that draws without a browser, imported when first needed.

    Raises:
        MissingExtraError: when it is not installed.
    """
    try:
        import vl_convert as library
    except ImportError:
        raise MissingExtraError(
            "vl-convert-python is not installed; the report needs: pip install "
            "'langneurons[report]'"
        ) from None
    return library


def _numbered_anew(drawn: str) -> str:
    """The same image with its gradients and clips numbered from 0.

    Vega numbers them over the life of the process.
    """
    names = list(dict.fromkeys(re.findall(rf'id="({_NUMBERED})"', drawn)))
    anew = {name: re.sub(r"\d+", str(place), name) for place, name in enumerate(names)}
    return re.sub(rf"\b{_NUMBERED}\b", lambda match: anew.get(match[0], match[0]), drawn)
