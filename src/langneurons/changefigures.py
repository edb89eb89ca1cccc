"""Change figures: what changed, as Vega-Lite charts in the style of `figures`, drawn from the tables of `changetables`.

Bars are changes by own thresholds, with intervals; a diamond is the same change by the base's thresholds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from langneurons.figures import WIDTH, Figure, altair
from langneurons.neurons import KINDS
from langneurons.tables import Table

_MARKS = "Bars: each model by its own thresholds, with 95% intervals. Diamonds: both by those before."


def change_figures(tables: Mapping[str, Table]) -> tuple[Figure, ...]:
    """Every figure the tables allow, of the last `after` they hold; the one over checkpoints where there are several.

    Args:
        tables: by name, as `changetables.tables` and `accuracy_table` give them.
    """
    makers = (
        ("shared-changes", shared_change_figure),
        ("layer-changes", layer_change_figure),
        ("layer-changes", checkpoint_figure),
        ("group-changes", group_figure),
        ("transitions", transition_figure),
        ("accuracy-changes", accuracy_figure),
    )
    made = (make(tables[name]) for name, make in makers if name in tables and tables[name].rows)
    return tuple(figure for figure in made if figure)


def shared_change_figure(table: Table) -> Figure:
    """Neurons shared by N languages: before, after, and the change (Fig. 5 and 10 of the paper)."""
    alt = altair()
    shown = _last(table)
    k = max(row["N"] for row in shown.records())
    kinds = ["none", "specific", *["related"] * (k - 2), "general"]
    views = []
    for where, title in (("selected", "among the selected"), ("all", "over all neurons, N from 1 up")):
        rows = [
            row | {"kind": kinds[row["N"]]}
            for row in shown.records()
            if row["neurons of"] == where and row["now"] is not None and (where == "selected" or row["N"])
        ]
        if not rows:
            continue
        own = [row for row in rows if row["thresholds"] == "own"]
        both = [
            {"N": row["N"], "model": model, "kind": row["kind"], "neurons": row[column]}
            for row in own
            for model, column in (("before", "before"), ("after", "now"))
        ]
        x = alt.X("N:O", title="N, languages in which a neuron is highly active")
        sizes = alt.Chart(alt.Data(values=both), title=f"before (pale) and after, {title}").mark_bar()
        sizes = sizes.encode(
            x=alt.X("N:O", title=None),
            xOffset=alt.XOffset("model:N", sort=["before", "after"]),
            y=alt.Y("neurons:Q", title="neurons"),
            color=_color(),
            opacity=alt.Opacity("model:N", scale=alt.Scale(domain=["before", "after"], range=[0.45, 1]), legend=None),
            tooltip=[alt.Tooltip("N:O"), alt.Tooltip("model:N"), alt.Tooltip("neurons:Q", format=",")],
        )
        views.append(sizes.properties(width=WIDTH, height=130))
        views.append(_bars(rows, x, "N:O").properties(width=WIDTH, height=130, title=f"change, {title}"))
    text = f"In how many languages neurons are highly active, before and after. {_MARKS}"
    spec = alt.vconcat(*views, spacing=10).to_dict()
    return Figure("shared-changes", "Neurons shared by N languages, before and after", text, spec, shown)


def layer_change_figure(table: Table) -> Figure:
    """Change of each kind per layer (Fig. 4 and 11 of the paper)."""
    alt = altair()
    shown = _last(table)
    panels = []
    for kind in ("specific", "related", "general"):
        rows = [row for row in shown.records() if row["kind"] == kind]
        last = kind == "general"
        axis = alt.Axis(title="layer" if last else None, labels=last, ticks=last, labelOverlap=True)
        panel = _bars(rows, alt.X("layer:O", axis=axis), "layer:O", title=kind)
        panels.append(panel.properties(width=WIDTH, height=110))
    text = f"Change in the number of neurons of each kind per layer. {_MARKS}"
    spec = alt.vconcat(*panels, spacing=8).to_dict()
    return Figure("layer-changes", "Change by layer", text, spec, shown)


def checkpoint_figure(table: Table) -> Figure | None:
    """Change of each kind per layer over checkpoints (Fig. 12 to 14 of the paper); None with a single one."""
    alt = altair()
    order = list(dict.fromkeys(row["after"] for row in table.records()))
    if len(order) < 2:
        return None
    panels = []
    for kind in ("specific", "related", "general"):
        rows = [row for row in table.records() if row["kind"] == kind and row["thresholds"] == "own"]
        limit = max(abs(row["change"]) for row in rows) or 1
        last = kind == "general"
        chart = alt.Chart(alt.Data(values=rows), title=kind).mark_rect()
        panels.append(
            chart.encode(
                x=alt.X("layer:O", title="layer" if last else None, axis=alt.Axis(labels=last, labelOverlap=True)),
                y=alt.Y("after:N", sort=order, title=None),
                color=alt.Color(
                    "change:Q",
                    title=f"change, {kind}",
                    scale=alt.Scale(scheme="blueorange", domain=[-limit, limit], domainMid=0),
                    legend=alt.Legend(gradientLength=70, tickCount=3),
                ),
                tooltip=_tips("after:N", "layer:O"),
            ).properties(width=WIDTH - 120, height=alt.Step(18))
        )
    text = "Change in the number of neurons of each kind per layer, for each model, by its own thresholds."
    spec = alt.vconcat(*panels, spacing=10).resolve_scale(color="independent").to_dict()
    own = tuple(row for row in table.rows if row[table.columns.index("thresholds")] == "own")
    shown = table._replace(name="checkpoints", rows=own)
    return Figure("checkpoints", "Change by layer over checkpoints", text, spec, shown)


def group_figure(table: Table) -> Figure:
    """Mean change per language, trained languages against the others (Table 2 of the paper)."""
    alt = altair()
    shown = _last(table)
    names = list(dict.fromkeys(row["languages"] for row in shown.records()))
    panels = [
        _bars(
            [row for row in shown.records() if row["languages"] == name],
            alt.X("kind:N", sort=["specific", "related"], title=None),
            "kind:N",
        ).properties(width=WIDTH / 2 - 60, height=170, title=name)
        for name in names
    ]
    text = f"Mean change in neurons per language. {_MARKS}"
    spec = alt.hconcat(*panels, spacing=24).resolve_scale(y="shared").to_dict()
    return Figure("group-changes", "Trained and other languages", text, spec, shown)


def transition_figure(table: Table) -> Figure:
    """What became of the neurons of each class: share of each class before that is of each class after."""
    alt = altair()
    shown = _last(table)
    order = [*KINDS, "not listed"]
    panels = []
    for choice in dict.fromkeys(row["thresholds"] for row in shown.records()):
        rows = [
            row | {"share": row["share"] or 0, "label": f"{row['neurons']:,}"}
            for row in shown.records()
            if row["thresholds"] == choice
        ]
        base = alt.Chart(alt.Data(values=rows)).encode(
            x=alt.X("now:N", sort=order, title="after", axis=alt.Axis(orient="top", domain=False, ticks=False)),
            y=alt.Y("before:N", sort=order, title=None if panels else "before"),
        )
        color = alt.Color(
            "share:Q",
            title="share of those before",
            scale=alt.Scale(scheme="blues", domain=[0, 1]),
            legend=alt.Legend(orient="bottom", format=".0%", gradientLength=200),
        )
        tips = [alt.Tooltip("before:N"), alt.Tooltip("now:N", title="after"), alt.Tooltip("neurons:Q", format=",")]
        tips += [alt.Tooltip("low:Q", format=",.1f"), alt.Tooltip("high:Q", format=",.1f")]
        tips.append(alt.Tooltip("share:Q", format=".1%"))
        ink = alt.condition("datum.share > 0.55", alt.value("white"), alt.value("#1c1c1a"))
        cells = (
            base.mark_rect().encode(color=color, tooltip=tips),
            base.mark_text(fontSize=10).encode(text="label:N", color=ink),
        )
        panels.append(alt.layer(*cells).properties(width=270, height=alt.Step(28), title=f"thresholds: {choice}"))
    text = "What the neurons of each class before (rows) are after (columns): numbers, shaded by share of the row."
    return Figure("transitions", "What became of them", text, alt.hconcat(*panels).to_dict(), shown)


def accuracy_figure(table: Table) -> Figure:
    """Change in accuracy per language with intervals (Tables 1 and 5 of the paper)."""
    alt = altair()
    shown = _last(table)
    rows = [
        row | {"group": "mean" if row["language"] == "mean" else "trained" if row["trained"] == "yes" else "other"}
        for row in shown.records()
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(y=alt.Y("name:N", sort=[row["name"] for row in rows], title=None))
    tips = [alt.Tooltip("name:N", title="language")]
    tips += [alt.Tooltip(f"{name}:Q", format=".1%") for name in ("before", "now")]
    tips += [alt.Tooltip(f"{name}:Q", format="+.1%") for name in ("change", "low", "high")]
    tips.append(alt.Tooltip("p:Q", format=".2g"))
    color = alt.Color(
        "group:N",
        scale=alt.Scale(domain=["trained", "other", "mean"], range=["#c8501e", "#1f6fb2", "#9a9a96"]),
        legend=alt.Legend(orient="top", title=None),
    )
    x = alt.X("change:Q", title="change in accuracy", axis=alt.Axis(format="+.0%"))
    spec = alt.layer(
        base.mark_bar().encode(x=x, color=color, tooltip=tips), base.mark_rule().encode(x="low:Q", x2="high:Q")
    )
    text = "Change in the share of right answers to the same questions, with 95% intervals over questions."
    spec = spec.properties(width=WIDTH - 120, height=alt.Step(22)).to_dict()
    return Figure("accuracy-changes", "Accuracy, before and after", text, spec, shown)


def _last(table: Table) -> Table:
    """The rows of the last `after`."""
    at = table.columns.index("after")
    return table._replace(rows=tuple(row for row in table.rows if row[at] == table.rows[-1][at]))


def _bars(rows: Sequence[dict[str, Any]], x: Any, place: str, *, title: str = "change") -> Any:
    """Changes as bars with intervals, those by the base's thresholds as diamonds."""
    alt = altair()
    own = [row for row in rows if row["thresholds"] == "own"]
    y = alt.Y("change:Q", title=title, stack=None, axis=alt.Axis(tickCount=5))
    base = alt.Chart(alt.Data(values=own)).encode(x=x)
    marks = [base.mark_bar().encode(y=y, color=_color(), tooltip=_tips(place))]
    if any(row["low"] is not None for row in own):
        marks.append(base.mark_rule().encode(y="low:Q", y2="high:Q"))
    other = [row for row in rows if row["thresholds"] != "own"]
    if other:
        diamonds = alt.Chart(alt.Data(values=other)).encode(x=x, y=y, tooltip=_tips(place))
        marks.append(diamonds.mark_point(shape="diamond", size=40, fill="white", stroke="#3d3d3a", opacity=1))
    return alt.layer(*marks)


def _color() -> Any:
    alt = altair()
    return alt.Color("kind:N", scale=alt.Scale(domain=list(KINDS)), legend=None)


def _tips(*first: str) -> list[Any]:
    alt = altair()
    whole = [alt.Tooltip(f"{name}:Q", format=",.4~g") for name in ("before", "now")]
    moved = [alt.Tooltip(f"{name}:Q", format="+,.4~g") for name in ("change", "low", "high")]
    return [*(alt.Tooltip(name) for name in (*first, "thresholds:N")), *whole, *moved]
