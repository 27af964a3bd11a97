"""Figures: what a report shows, each as a query, a picture in Vega-Lite where it has one, and words."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flows.report import pictures
from flows.report.pictures import Picture
from flows.report.questions import (
    CONFIDENCE,
    DROPPED_AUDIO,
    FUNNEL,
    HEADLINE,
    LEADERBOARD,
    LENGTHS,
    LINEAGE,
    LOSSES,
    LOSSES_BY_CODEBOOK,
    LOUDNESS,
    PACE,
    PAIRS,
    PREFERENCES,
    READS,
    REASONS,
    SAMPLES,
    THROUGHPUT,
)

Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of the page."""

    name: str
    title: str
    sql: str
    words: str = ""  # what to look at
    nothing: str = "Nothing yet."  # said where there are no rows
    picture: Callable[[Rows], Picture] | None = None  # Vega-Lite of the rows
    kind: str = "table"  # table, numbers, samples or dropped
    open: bool = False  # whether its rows are shown at once


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """Figures that belong together."""

    name: str
    title: str
    words: str
    figures: tuple[Figure, ...]


CHAPTERS = (
    Chapter(
        name="glance",
        title="At a glance",
        words="What this warehouse holds, as its last run asked for it.",
        figures=(Figure(name="headline", title="In one line", sql=HEADLINE, kind="numbers"),),
    ),
    Chapter(
        name="funnel",
        title="What was kept",
        words="Rows from stage to stage: in = kept + dropped + pending + failed. Nothing leaves without a reason.",
        figures=(
            Figure(
                name="funnel",
                title="Hours through each stage",
                sql=FUNNEL,
                picture=pictures.funnel,
                nothing="No recipe has run here yet.",
            ),
            Figure(
                name="reasons",
                title="Rows dropped, by reason",
                sql=REASONS,
                picture=pictures.bars(("table_name", "reason"), "num_rows", "rows", colour="warn"),
                nothing="Nothing was dropped.",
            ),
            Figure(
                name="conditions",
                title="What each condition costs",
                sql="from conditions order by condition",
                picture=pictures.bars("condition", "rows_refused", "examples refused", colour="warn"),
                nothing="The recipe has no conditions, or no examples are made.",
            ),
            Figure(
                name="failures",
                title="Shards that failed",
                sql="select table_name, shard, attempt, error from failures order by table_name, shard limit 200",
                nothing="No shard has failed.",
                open=True,
            ),
        ),
    ),
    Chapter(
        name="dropped",
        title="What was dropped, by ear",
        words="For each reason the longest stretch and two drawn by hash, so that a threshold is judged by listening.",
        figures=(
            Figure(
                name="dropped-audio",
                title="Dropped audio",
                sql=DROPPED_AUDIO,
                kind="dropped",
                nothing="Nothing was dropped that can be heard.",
            ),
        ),
    ),
    Chapter(
        name="speech",
        title="The speech",
        words="Who speaks, for how long, how loudly, and how sure Whisper is of the words.",
        figures=(
            Figure(
                name="lengths",
                title="Length of utterances",
                sql=LENGTHS,
                picture=pictures.lengths,
                nothing="No utterances yet.",
            ),
            Figure(
                name="confidence",
                title="Confidence of transcripts",
                sql=CONFIDENCE,
                picture=pictures.histogram("mean log-probability of a token"),
                nothing="No transcripts with a probability yet.",
            ),
            Figure(
                name="pace",
                title="Pace",
                sql=PACE,
                picture=pictures.histogram("characters a second"),
                nothing="No transcripts yet.",
            ),
            Figure(
                name="loudness",
                title="Loudness of recordings",
                sql=LOUDNESS,
                picture=pictures.histogram("dB of full scale", "recordings"),
                nothing="No recordings yet.",
            ),
            Figure(
                name="speakers",
                title="Speakers",
                sql="select speaker_id, split, hours * 60 as minutes, utterances, books from speakers "
                "order by hours desc, speaker_id limit 200",
                picture=pictures.bars("speaker_id", "minutes", "minutes kept", first=12),
                words="The twelve with most; the rows have up to 200.",
                nothing="No speakers yet.",
            ),
            Figure(
                name="splits",
                title="Splits",
                sql="from overview order by split",
                picture=pictures.bars("split", "hours", "hours kept"),
                nothing="No splits yet.",
            ),
        ),
    ),
    Chapter(
        name="symbols",
        title="Codes and phones",
        words="What the model reads and writes. A codebook whose entropy is far below 10 bits is little used.",
        figures=(
            Figure(
                name="codebooks",
                title="Entropy of codebooks",
                sql="from codebook_usage order by codebook",
                picture=pictures.bars("codebook", "entropy_bits", "bits, of 10", most=10),
                nothing="No codes yet.",
            ),
            Figure(
                name="phones",
                title="Phones",
                sql="select phone, occurrences, utterances from phone_coverage where phone not in (' ', 'ˈ', 'ˌ') "
                "order by occurrences desc, phone",
                picture=pictures.bars("phone", "occurrences", "occurrences", first=14),
                words="The fourteen most frequent; the rows have all.",
                nothing="No phones yet.",
            ),
        ),
    ),
    Chapter(
        name="training",
        title="Training",
        words="Loss in nats per code. With phones shuffled it should be much higher: as far as it is not, "
        "the text is not read.",
        figures=(
            Figure(
                name="losses-ar",
                title="The AR half",
                sql=LOSSES.format(half="ar"),
                picture=pictures.losses,
                nothing="No AR checkpoint yet.",
            ),
            Figure(
                name="losses-nar",
                title="The NAR half",
                sql=LOSSES.format(half="nar"),
                picture=pictures.losses,
                nothing="No NAR checkpoint yet.",
            ),
            Figure(
                name="losses-by-codebook",
                title="Loss by codebook",
                sql=LOSSES_BY_CODEBOOK,
                picture=pictures.bars("codebook", "valid_loss", "nats per code, of the best step"),
                nothing="No checkpoint says it yet.",
            ),
            Figure(
                name="alarms",
                title="Alarms",
                sql="select half, step, alarm from alarms order by half, step nulls last, alarm",
                nothing="No alarm: nothing to worry about, as far as is watched.",
                open=True,
            ),
        ),
    ),
    Chapter(
        name="leaderboard",
        title="Leaderboard",
        words="With 95 % intervals. Numbers of different judges are not comparable; the papers' had other judges.",
        figures=(
            Figure(
                name="word-errors",
                title="Word error rate",
                words="Wrong words over words, pooled.",
                sql=LEADERBOARD.format(metric="wer", judge="wer_judge", order="asc"),
                picture=pictures.intervals("wer", "lower is better"),
                nothing="Nothing has been scored yet.",
            ),
            Figure(
                name="similarity",
                title="Speaker similarity",
                sql=LEADERBOARD.format(metric="similarity", judge="similarity_judge", order="desc"),
                picture=pictures.intervals("similarity", "higher is better"),
                words="Cosine with the prompt as recorded.",
                nothing="Nothing has been scored yet.",
            ),
            Figure(
                name="similarity-decoded",
                title="Speaker similarity, decoded",
                sql=LEADERBOARD.format(metric="similarity_decoded", judge="similarity_judge", order="desc"),
                picture=pictures.intervals("similarity_decoded", "higher is better"),
                words="Cosine with the prompt as decoded from its codes.",
                nothing="Nothing has been scored yet.",
            ),
            Figure(
                name="judges",
                title="The judges' own scale",
                sql="select metric, estimate, low, high, judge, num_samples, num_speakers, protocol, evaluation_set "
                "from estimates where system = 'ground-truth' order by metric, judge, protocol, evaluation_set",
                words="What each judge makes of the same true speech.",
                nothing="No true speech has been scored yet.",
            ),
            Figure(
                name="failure-classes",
                title="How systems fail",
                sql="select system, failure, samples, judged, share, judge from failure_classes where samples > 0 "
                "order by share desc, system, failure, judge, protocol, evaluation_set",
                words="What the judge of words finds; what it finds in true speech is its own doing.",
                nothing="No failure has been found, or nothing has been scored yet.",
            ),
            Figure(
                name="preferences",
                title="Blind preference",
                sql=PREFERENCES,
                picture=pictures.intervals("share", "share preferred"),
                words="Of the test below. The intervals take all answers as independent.",
                nothing="Nobody has listened yet: the test is below, and valle ratings takes its answers.",
            ),
            Figure(
                name="pairs",
                title="Pair by pair",
                sql=PAIRS,
                nothing="Nobody has listened yet.",
            ),
        ),
    ),
    Chapter(
        name="samples",
        title="Listen",
        words="The same sentences by each system, as they were judged.",
        figures=(
            Figure(name="samples", title="Samples", sql=SAMPLES, kind="samples", nothing="There are no samples yet."),
        ),
    ),
    Chapter(
        name="making",
        title="How it was made",
        words="What each stage took, and what each table was made from, by fingerprint.",
        figures=(
            Figure(
                name="throughput",
                title="Speed of a worker",
                words="Hours of audio an hour; each line is ten times the last.",
                sql=THROUGHPUT,
                picture=pictures.throughput,
                nothing="No attempt has been recorded yet.",
            ),
            Figure(
                name="reads",
                title="Which table reads which",
                sql=READS,
                picture=pictures.reads,
                nothing="Nothing is made yet.",
            ),
            Figure(
                name="lineage",
                title="Tables and their fingerprints",
                sql=LINEAGE,
                nothing="No recipe has run here yet.",
                open=True,
            ),
        ),
    ),
)
FIGURES = tuple(figure for chapter in CHAPTERS for figure in chapter.figures)
COSTLY = "leaderboard"  # the view that five of them ask, with intervals of a thousand replicates
