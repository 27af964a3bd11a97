"""Pictures: rows as vector graphics, by Vega-Lite, in the page's own colours, so that they read in light and in dark.

Each is narrower than a phone's column, so that its letters are never scaled down. A colour is a name of the page's
stylesheet, `var(--ink)`, which a browser looks up where the picture stands.
"""

import math
import re
from collections.abc import Callable
from typing import Any

Rows = list[dict[str, Any]]
Picture = dict[str, Any]  # Vega-Lite, without what all pictures share

WIDTH = 312  # CSS pixels: less than a phone of 390 leaves
_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # a name, and not fetched
_COLOURS = {name: f"var(--{name})" for name in ("ink", "soft", "line", "main", "second", "third", "warn")}
_LETTERS = {"labelFontSize": 14, "titleFontSize": 14, "titleFontWeight": "normal"}  # the stylesheet's are of 12: a
# reader's font may be wider than the one that is measured here
_CONFIG: Picture = {
    "aria": False,
    "view": {"stroke": None},
    "axis": _LETTERS
    | {
        "labelColor": _COLOURS["ink"],
        "titleColor": _COLOURS["soft"],
        "gridColor": _COLOURS["line"],
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
        "titlePadding": 8,
    },
    "axisY": {"labelLimit": 150},
    "axisBand": {"grid": False},
}


def draw(picture: Picture) -> str:
    """A picture as SVG, its letters left as letters; the page says in words what it shows."""
    import vl_convert

    whole = {
        "$schema": _SCHEMA,
        "width": WIDTH,
        "autosize": {"type": "fit", "contains": "padding"},
        "padding": {"left": 0, "right": 8, "top": 4, "bottom": 6},
        "background": None,
        "config": _CONFIG,
    } | picture
    svg = vl_convert.vegalite_to_svg(whole)
    svg = re.sub(r' (role|aria-[a-z]+|class|xmlns:xlink|version)="[^"]*"', "", svg)
    return svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


def legend(picture: Picture) -> list[tuple[str, str]]:
    """What its colours mean, as far as they occur: a word and the name of a colour; the page says it in its letters."""
    colour = picture.get("encoding", {}).get("color")
    if not colour:
        return []
    there = {row.get(colour["field"]) for row in picture["data"]["values"]}
    named = {value: name for name, value in _COLOURS.items()}
    scale = colour["scale"]
    return [(word, named[value]) for word, value in zip(scale["domain"], scale["range"], strict=True) if word in there]


def bars(
    name: str | tuple[str, ...],
    value: str,
    title: str,
    *,
    colour: str = "main",
    first: int | None = None,
    most: float | None = None,
) -> Callable[[Rows], Picture]:
    """A horizontal bar for each row, in their order, with its value; several columns name it together."""
    names = (name,) if isinstance(name, str) else name

    def picture(rows: Rows) -> Picture:
        drawn = [{"name": ": ".join(str(row[name]) for name in names), "value": row[value]} for row in rows[:first]]
        top = most or max((row["value"] or 0 for row in drawn), default=0) or 1
        x = _number("value", title, axis={"labels": False, "grid": False}, scale={"domain": [0, 1.22 * top]})
        return {
            "data": {"values": drawn},
            "height": {"step": 20},
            "encoding": {
                "y": {"field": "name", "type": "nominal", "sort": None, "axis": {"title": None}},
                "x": x,
            },
            "layer": [
                {"mark": {"type": "bar", "color": _COLOURS[colour], "height": {"band": 0.64}}},
                {
                    "mark": {"type": "text", "align": "left", "dx": 5, "color": _COLOURS["ink"]},
                    "encoding": {"text": {"field": "value", "type": "quantitative", "format": ",.3~r"}},
                },
            ],
        }

    return picture


def histogram(title: str, counted: str = "utterances") -> Callable[[Rows], Picture]:
    """How many rows lie between `low` and `high`."""

    def picture(rows: Rows) -> Picture:
        return {
            "data": {"values": rows},
            "height": 170,
            "mark": {"type": "bar", "color": _COLOURS["main"], "binSpacing": 1},
            "encoding": {
                "x": _number("low", title, bin={"binned": True}, scale={"zero": False}, axis={"grid": False}),
                "x2": {"field": "high"},
                "y": _number("n", counted),
            },
        }

    return picture


def funnel(rows: Rows) -> Picture:
    """Hours in each table: kept, dropped, pending, failed."""
    kinds = ("kept", "dropped", "pending", "failed")
    values = [
        {"table": row["table_name"], "kind": kind, "place": place, "hours": row[f"hours_{kind}"]}
        for row in rows
        for place, kind in enumerate(kinds)
        if row[f"hours_{kind}"]
    ]
    return {
        "data": {"values": values},
        "height": {"step": 26},
        "mark": {"type": "bar", "height": {"band": 0.66}},
        "encoding": {
            "y": {"field": "table", "type": "nominal", "sort": None, "axis": {"title": None}},
            "x": _number("hours", "hours of audio"),
            "color": _colours(kinds, ("main", "warn", "soft", "ink"), "kind"),
            "order": {"field": "place"},
        },
    }


def lengths(rows: Rows) -> Picture:
    """How many utterances last how long, by split."""
    values = [row | {"to_seconds": row["from_seconds"] + 0.5} for row in rows]
    return {
        "data": {"values": values},
        "height": 170,
        "mark": {"type": "bar", "binSpacing": 1},
        "encoding": {
            "x": _number("from_seconds", "seconds", bin={"binned": True, "step": 0.5}, axis={"grid": False}),
            "x2": {"field": "to_seconds"},
            "y": _number("utterances", "utterances", stack="zero"),
            "color": _colours(("train", "dev", "test"), ("main", "second", "third"), "split"),
        },
    }


def losses(rows: Rows) -> Picture:
    """Loss by step: of training, of validation, and of validation with phones shuffled."""
    kinds = {"train": "train_loss", "valid": "valid_loss", "phones shuffled": "valid_loss_shuffled"}
    values = [
        {"step": row["step"], "kind": kind, "loss": row[column]}
        for kind, column in kinds.items()
        for row in rows
        if row[column] is not None
    ]
    return {
        "data": {"values": values},
        "height": 200,
        "mark": {"type": "line", "point": {"size": 36, "filled": True}, "strokeWidth": 2},
        "encoding": {
            "x": _number("step", "step", axis={"grid": False, "format": "~s"}),
            "y": _number("loss", "nats per code", scale={"zero": False}),
            "color": _colours(tuple(kinds), ("second", "main", "warn"), "kind"),
        },
    }


def intervals(metric: str, title: str) -> Callable[[Rows], Picture]:
    """A line for each system: its interval and a dot; what papers say of a system of this name in another colour."""

    def picture(rows: Rows) -> Picture:
        values = [
            {
                "name": row["system"],
                "value": row[metric],
                "low": row[f"{metric}_low"],
                "high": row[f"{metric}_high"],
                "by": "this warehouse" if row["source"] == "this warehouse" else "as published",
            }
            for row in rows
        ]
        y = {"field": "name", "type": "nominal", "sort": None, "axis": {"title": None, "grid": True}}
        colour = _colours(("this warehouse", "as published"), ("main", "second"), "by")
        return {
            "data": {"values": values},
            "height": {"step": 26},
            "encoding": {"y": y, "color": colour},
            "layer": [
                {
                    "transform": [{"filter": "datum.low != null"}],
                    "mark": {"type": "rule", "strokeWidth": 2.5},
                    "encoding": {"x": _number("low", title), "x2": {"field": "high"}},
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
                    "encoding": {"x": _number("value", title)},
                },
            ],
        }

    return picture


def throughput(rows: Rows) -> Picture:
    """Hours of audio an hour, on a scale of powers of ten."""
    values = [
        {"name": f"{row['table_name']} ({row['device']})", "value": row["audio_hours_per_hour"]}
        for row in rows
        if row["audio_hours_per_hour"]
    ]
    logs = [math.log10(value["value"]) for value in values]
    powers = [10.0**power for power in range(math.floor(min(logs, default=0)), math.ceil(max(logs, default=0)) + 1)]
    return {
        "data": {"values": values},
        "height": {"step": 24},
        "encoding": {"y": {"field": "name", "type": "nominal", "sort": None, "axis": {"title": None}}},
        "layer": [
            {
                "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1, "color": _COLOURS["main"]},
                "encoding": {
                    "x": _number(
                        "value",
                        "hours an hour",
                        scale={"type": "log", "domain": [powers[0], powers[-1]]},
                        axis={"values": powers, "format": "~g"},
                    )
                },
            }
        ],
    }


def reads(rows: Rows) -> Picture:
    """A dot where a table, a line each, reads another, a column each."""
    order = list(dict.fromkeys(row["table_name"] for row in rows))
    others = [name for name in dict.fromkeys(row["reads"] for row in rows) if name not in order]
    columns = others + [name for name in order if any(row["reads"] == name for row in rows)]
    return {
        "data": {"values": rows},
        "height": {"step": 24},
        "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1, "color": _COLOURS["main"]},
        "encoding": {
            "y": {
                "field": "table_name",
                "type": "nominal",
                "sort": order,
                "axis": {"title": None, "grid": True, "tickBand": "center"},
            },
            "x": {
                "field": "reads",
                "type": "nominal",
                "sort": columns,
                "axis": {"title": "reads", "orient": "top", "labelAngle": -55, "grid": True, "tickBand": "center"},
            },
        },
    }


def _number(field: str, title: str, axis: Picture | None = None, **more: Any) -> Picture:
    ticks = {"title": title, "tickCount": 4} | (axis or {})
    return {"field": field, "type": "quantitative", "axis": ticks} | more


def _colours(names: tuple[str, ...], colours: tuple[str, ...], field: str) -> Picture:
    return {
        "field": field,
        "type": "nominal",
        "scale": {"domain": names, "range": [_COLOURS[colour] for colour in colours]},
        "legend": None,
    }
