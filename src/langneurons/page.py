"""The page: one self-contained HTML file of a report.

It works from a file and offline: styles, scripts and the plotting library are inside it, and its content security
policy forbids it to ask the network for anything.
"""

import html
import json
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from langneurons.counts import describe_widths
from langneurons.figures import LIGHT
from langneurons.languages import language
from langneurons.neurons import Neurons
from langneurons.report import Report, vl_convert
from langneurons.summary import lambda_words
from langneurons.tables import Table


class Provenance(NamedTuple):
    """Where a result came from, as the page tells it.

    Attributes:
        name: folder of the result.
        manifest: its manifest.
    """

    name: str
    manifest: dict[str, Any]


def render(title: str, neurons: Neurons, report: Report, provenance: list[Provenance]) -> str:
    """The page, whole, as HTML."""
    here = files("langneurons") / "template"
    data = {
        "languages": [{"code": c, "name": language(c).name} for c in neurons.languages],
        "tau": neurons.rule.tau,
        "figures": [
            {"name": f.name, "title": f.title, "text": f.text, "spec": f.spec}
            | {"csv": f.table.to_csv(), "latex": f.table.to_latex()}
            for f in report.figures
        ],
        "tables": [
            {"name": t.name, "caption": t.caption, "csv": t.to_csv(), "latex": t.to_latex()} for t in report.tables
        ],
        "neurons": _columns(neurons),
        "light": LIGHT,
    }
    parts = {
        "title": html.escape(title),
        "subtitle": html.escape(_subtitle(neurons)),
        "numbers": _numbers(neurons),
        "sections": "".join(
            _section(f.name, f.title, f.text, f.table) for f in report.figures if f.name[:5] != "card-"
        ),
        "tables": "".join(_section(t.name, _TITLES[t.name], t.caption, t, figure=False) for t in report.tables),
        "method": _method(neurons),
        "provenance": "".join(map(_provenance, provenance)),
        "style": (here / "page.css").read_text("utf-8"),
        "vega": vl_convert().javascript_bundle().replace("</script", "<\\/script"),
        "data": json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/"),
        "script": (here / "page.js").read_text("utf-8"),
    }
    text = (here / "page.html").read_text("utf-8")
    for key, value in parts.items():
        text = text.replace(f"<!--{key}-->", value)
    return text


_TITLES = {
    "stages": "Stages of the layers",
    "english": "English and the others",
    "dominance": "Is the diagonal hurt most?",
}


def _columns(neurons: Neurons) -> dict[str, Any]:
    """The neurons by column, compactly: probabilities in units of 1e-5, memberships as lists of language positions."""
    numbers = {
        "score": np.round(neurons.score, 6),
        "margin": np.round(neurons.margin, 6),
        "keeps": np.round(neurons.keeps, 3),
    }
    return {
        "layer": neurons.layer.tolist(),
        "expert": neurons.expert.tolist() if (neurons.expert >= 0).any() else None,
        "neuron": neurons.neuron.tolist(),
        "kind": neurons.kind.tolist(),
        "member": [np.flatnonzero(row).tolist() for row in neurons.member],
        "selected": neurons.selected.astype(int).tolist(),
        "p": None if np.isnan(neurons.probability).all() else np.round(neurons.probability * 1e5).astype(int).tolist(),
    } | {name: None if np.isnan(v).all() else [x if np.isfinite(x) else None for x in v] for name, v in numbers.items()}


def _subtitle(neurons: Neurons) -> str:
    rule = neurons.rule
    widths = f"{describe_widths(neurons.widths)} neurons" if neurons.widths else f"{neurons.layers} layers"
    method = {"ternary": "ternary classification", "lape": "LAPE", "imported": "imported mask"}[rule.method]
    return f"{len(neurons.languages)} languages · {widths} · {method}"


def _numbers(neurons: Neurons) -> str:
    """The figures that matter most, as tiles."""
    rule, kinds = neurons.rule, neurons.kind
    tiles = []
    if rule.lam:
        name = "λ*" if rule.lam.status == "bound" else "λ"
        text = f"{rule.lam.value * rule.lam.factor:.5f} in the units of Eq. 5; {lambda_words(rule.lam)}"
        tiles.append((name, f"{rule.lam.value:.5f}", text, "lambda"))
    for kind, what in (
        ("specific", "active in one language"),
        ("related", "active in several"),
        ("general", "active in every language"),
    ):
        tiles.append((kind, f"{int((kinds == kind).sum()):,}", f"neurons highly {what}", kind))
    if rule.tau is not None:
        text = f"a neuron is highly active above it; quantile {rule.tau_quantile:g} of all probabilities"
        tiles.insert(1, ("τ", f"{rule.tau:.5f}", text, "tau"))
    out = []
    for name, value, text, key in tiles:
        if neurons.uncertainty and key in neurons.uncertainty.intervals:
            low, high = neurons.uncertainty.intervals[key]
            digits = 5 if key in ("lambda", "tau") else 0
            text += f'<br><span class="interval">95% interval {low:,.{digits}f} to {high:,.{digits}f}</span>'
        out.append(f'<div class="tile {key}"><dt>{name}</dt><dd><b>{value}</b><span>{text}</span></dd></div>')
    return "".join(out)


def _section(name: str, title: str, text: str, table: Table, *, figure: bool = True) -> str:
    drawing = f'<div class="chart" id="chart-{name}" data-figure="{name}"></div>' if figure else _html_table(table)
    numbers = f"<details><summary>Numbers</summary>{_html_table(table)}</details>" if figure else ""
    formats = ("SVG", "PNG", "CSV", "LaTeX") if figure else ("CSV", "LaTeX")
    buttons = "".join(
        f'<button type="button" data-download="{name}" data-format="{f.lower()}">{f}</button>' for f in formats
    )
    return (
        f'<section id="{name}"><header><h2>{html.escape(title)}</h2><div class="downloads">{buttons}</div></header>'
        f"<p>{html.escape(text)}</p>{drawing}{numbers}</section>"
    )


def _html_table(table: Table) -> str:
    head = "".join(f'<th scope="col">{html.escape(c)}</th>' for c in table.columns)
    body = "".join("<tr>" + "".join(map(_html_cell, row)) + "</tr>" for row in table.rows)
    return f'<div class="scroll"><table class="plain"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _html_cell(cell: str | int | float | None) -> str:
    if cell is None:
        return "<td></td>"
    if isinstance(cell, str):
        return f"<td>{html.escape(cell)}</td>"
    return f'<td class="number">{cell:,}</td>'


def _method(neurons: Neurons) -> str:
    """How the numbers were computed, in words, from the rule itself."""
    rule, facts = neurons.rule, []
    if rule.method == "imported":
        facts.append("These memberships were imported from a mask; it holds no scores and no probabilities.")
    else:
        total = sum(rule.histogram)
        facts += [
            f"The lowest {rule.rate:g} of {total:,} neurons by score are selected: {int(neurons.selected.sum()):,}.",
            f"τ = {rule.tau:.6f}: the {rule.tau_quantile:g} quantile of all {total * len(neurons.languages):,} "
            "activation probabilities; highly active is strictly above it.",
            "Neurons highly active in no language were dropped before the selection."
            if rule.prefilter
            else "No neuron was dropped before the selection: a selected neuron can be highly active in no language.",
        ]
    if rule.lam:
        facts.append(
            f"score = H(p') / ln K − λ · max p / h, with h the mean of 1, 1/2, …, 1/K; λ = {rule.lam.value!r}, "
            f"{lambda_words(rule.lam)}; in the units of Eq. 5 it is {rule.lam.value * rule.lam.factor:.6f}."
        )
        if len(rule.lam.feasible) > 1:
            later = ", ".join(f"{a:.5f} to {b:.5f}" for a, b in rule.lam.feasible[1:])
            facts.append(f"No general neuron is selected in these later intervals of λ either: {later}.")
    u = neurons.uncertainty
    if u:
        failed = f"; {u.failed} of them allow no λ and are left out" if u.failed else ""
        facts.append(
            f"Intervals: {u.level:.0%} of {u.replicates} resamplings of the {u.blocks} blocks of questions, the same "
            f"for every language{failed}."
        )
    elif rule.method != "imported":
        facts.append("Intervals are unavailable: the counts hold one block, or no resampling was asked for.")
    return "".join(f"<li>{fact}</li>" for fact in facts)


def _provenance(source: Provenance) -> str:
    manifest = source.manifest
    rows = {
        "holds": manifest["kind"],
        "made by": f"langneurons {manifest['command']}, {manifest['created']}",
        "settings": json.dumps(manifest["config"], ensure_ascii=False),
        "files": ", ".join(f"{name} {digest[:12]}" for name, digest in manifest["files"].items()),
        "versions": ", ".join(f"{name} {v}" for name, v in manifest["packages"].items() if v),
    }
    body = "".join(f"<dt>{k}</dt><dd>{html.escape(str(v))}</dd>" for k, v in rows.items())
    inputs = "".join(f"<li>{html.escape(name)} {digest[:12]}</li>" for name, digest in manifest["inputs"].items())
    opened = f"<details><summary>{len(manifest['inputs'])}, with digests</summary><ul>{inputs}</ul></details>"
    body += f"<dt>inputs</dt><dd>{opened}</dd>"
    facts = manifest["facts"].get("import")
    if facts:
        table = Table("import", "", tuple(facts[0]), tuple(tuple(row.values()) for row in facts))
        body += f"<dt>found on import</dt><dd>{_html_table(table)}</dd>"
    return f"<h3>{html.escape(source.name)}</h3><dl>{body}</dl>"
