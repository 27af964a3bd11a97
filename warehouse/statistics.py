"""Statistics of a warehouse: the names of the views of the catalogue, and of what else it holds.

Each `views/<name>.sql` is one view. They count with what the catalogue knows of
every shard, so they need not open the shards themselves.
"""

from warehouse.tables import CODES, EXAMPLES, PHONES, UTTERANCES

VIEWS = (
    "status",
    "refusals",
    "tallies",
    "funnel",
    "funnel_at_a_glance",
    "failures",
    "throughput",
    "dataset",
    "dataset_versions",
    "conditions",
    "overview",
    "speakers",
    "duplicates",
    "codebook_usage",
    "codec_fidelity",
    "phone_coverage",
    "alarms",
    "claims",
    "estimates",
    "leaderboard",
    "failure_classes",
)

PUBLISHED = ("artifacts", "runs", "archives", "consents", "ratings", "foreign_scores", "value_sums")
"""The tables that a published catalogue has from the private database."""

UNCOUNTED = {table.name: f"uncounted_{table.name}" for table in (UTTERANCES, PHONES, CODES, EXAMPLES)}
"""Views of the rows of shards that were written before what is counted of them now was counted: mostly none."""

INDEX = (*PUBLISHED, "stages", "wanted", *UNCOUNTED.values())
"""The names of what a published catalogue holds itself, beside the views."""
