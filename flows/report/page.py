"""The page: figures, players and the listening test in one file of HTML that asks nothing of any network.

Each figure stands between two comments, the first with a digest of what is between them, and carries its query and its
rows as JSON, which `flows.report.page_verification` reads back. Scripts and styles are allowed by their hashes alone.
"""

import json
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from flows.report.clips import Clip, Clips
from flows.report.figures import CHAPTERS, COSTLY, FIGURES, Figure, Rows
from flows.report.pictures import draw, legend
from flows.terminal.output import render
from warehouse.errors import Mistake
from warehouse.reader import Reader
from warehouse.working_copy import here

BEGIN, END, SEAL = "<!--figure {name} {digest}-->", "<!--/figure {name}-->", "<!--page {digest}-->\n"
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Cell:
    """One value of a table as it is shown and as it sorts."""

    text: str
    value: float | None  # of a number

    @property
    def is_number(self) -> bool:
        """Whether it stands on the right."""
        return self.value is not None


def build(root: Path, corpus: Path, told: str) -> str:
    """The page of a warehouse.

    Args:
        root: the warehouse.
        corpus: where its recordings lie.
        told: the recipe and when it ran, in words.

    Raises:
        Mistake: nothing has been published there, or a query cannot be answered.
    """
    with Reader(root) as reader:
        if not reader.sql("select 1 from duckdb_tables() where table_name = 'ratings'").num_rows:
            raise Mistake(f"the catalogue of {root} is of an older version: `valle catalogue rebuild` makes it anew")
        reader.keep(COSTLY)
        rows = {figure.name: rows_of(reader, figure.sql) for figure in FIGURES}
        versions = reader.sql(
            "select distinct fingerprint from wanted where table_name = 'samples' and state = 'made'"
        )["fingerprint"].to_pylist()
    clips = Clips()
    samples = {row["sample_id"]: clips.take(here(root / row["audio_path"])) for row in rows["samples"]}
    dropped = [_dropped(row, root, corpus, clips) for row in rows["dropped-audio"]]
    template = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template.filters |= {"cell": cell, "short": short, "rounded": rounded}
    drawn = template.get_template("figure.html.jinja")
    fragments = {
        figure.name: _sealed(
            figure,
            drawn.render(
                figure=figure,
                rows=rows[figure.name],
                **_drawing(figure, rows[figure.name]),
                samples=samples,
                dropped=dropped,
                json=_json({"name": figure.name, "sql": figure.sql, "rows": rows[figure.name]}),
            ),
        )
        for figure in FIGURES
    }
    style, script = ((_HERE / f"page.{suffix}").read_text(encoding="utf-8") for suffix in ("css", "js"))
    page = template.get_template("page.html.jinja").render(
        name=root.name,
        told=told,
        chapters=CHAPTERS,
        fragments=fragments,
        names=" ".join(fragments),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        pairs=len(_pairs(rows["samples"], samples)),
        listening=_json(_listening(rows["samples"], samples, versions)),
    )
    return page + SEAL.format(digest=digest(page))


def rows_of(reader: Reader, sql: str) -> Rows:
    """The rows of a query as JSON tells them, so that they can be compared with what a page has."""
    found: Rows = json.loads(render(reader.sql(sql).to_pylist(), "json"))
    return found


def digest(text: str) -> str:
    """Twelve hex digits of a text."""
    return sha256(text.encode()).hexdigest()[:12]


def cell(value: Any) -> Cell:
    """A value as a table shows it."""
    if isinstance(value, bool):
        return Cell("yes" if value else "no", None)
    if isinstance(value, int | float):
        return Cell(short(value), float(value))
    if value is None:
        return Cell("–", None)
    return Cell(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), None)


def short(value: float | None, digits: int = 4) -> str:
    """A number in so many digits, thousands apart."""
    if value is None:
        return "–"
    if isinstance(value, int) or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def rounded(value: float | None) -> str:
    """A number to a hundredth, thousands apart."""
    return "–" if value is None else f"{value:,.2f}".rstrip("0").rstrip(".")


def _drawing(figure: Figure, rows: Rows) -> dict[str, Any]:
    """A figure's picture, where it has one and something to show, and what its colours mean."""
    if not figure.picture or not rows:
        return {"svg": None, "legend": []}
    picture = figure.picture(rows)
    return {"svg": Markup(draw(picture)), "legend": legend(picture)}


def _sealed(figure: Figure, fragment: str) -> Markup:
    begin = BEGIN.format(name=figure.name, digest=digest(fragment))
    return Markup(f"{begin}{fragment}{END.format(name=figure.name)}")


def _dropped(row: dict[str, Any], root: Path, corpus: Path, clips: Clips) -> Clip:
    if row["sample"]:
        return clips.take(here(root / row["sample"]))
    if not row["recording"]:
        return Clip(trouble="its recording is not known any more")
    return clips.take(corpus / row["recording"], row["start_sample"], row["end_sample"])


def _pairs(rows: Rows, clips: dict[str, Clip]) -> list[tuple[str, str]]:
    """Every two systems' samples of one sentence that can both be heard."""
    heard = [row for row in rows if clips[row["sample_id"]].audio]
    return [
        (one["sample_id"], other["sample_id"])
        for one, other in combinations(heard, 2)
        if one["utterance_id"] == other["utterance_id"]
    ]


def _listening(rows: Rows, clips: dict[str, Clip], versions: list[str]) -> dict[str, Any]:
    """What the listening test asks of; nothing where samples of several versions are mixed."""
    texts = {row["sample_id"]: row["text"] for row in rows}
    pairs = _pairs(rows, clips) if len(versions) == 1 else []
    return {"version": versions[0] if pairs else "", "pairs": [[*pair, texts[pair[0]]] for pair in pairs]}


def _json(value: Any) -> Markup:
    """JSON that can stand in a script element, whatever a text has in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
