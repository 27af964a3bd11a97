"""How many utterances are phonemized in a minute of one CPU, beside a call of `phonemizer.phonemize` for each.

    python -m bench.phones [--utterances 2000] [--short]

The call is what the documentation of phonemizer shows first, and begins a new espeak-ng each time. Both get the same
texts, in turns within one run; the loop gets fewer of them, since it is slow.
"""

import argparse
import itertools
import json
import statistics
import time

import pyarrow as pa
import pyarrow.dataset as ds

from bench.progress import options, tell
from warehouse.tables import TRANSCRIPTS, UTTERANCES

FEWER = 20  # the loop gets one text in so many
CHARACTERS = 185  # of one text: about 15 s of reading


def texts(num: int) -> list[str]:
    """Sentences of our own, joined to the length of an utterance."""
    from tasks.text.sentences import sentences

    made = sentences(seed=1)
    joined = []
    for _ in range(num):
        text = next(made)
        while len(text) < CHARACTERS:
            text = f"{text} {next(made)}"
        joined.append(text)
    return joined


def stage_seconds(said: list[str]) -> float:
    """Of the stage, from transcripts to phones."""
    from tasks.phones import Phones

    rows = [{"utterance_id": str(i), "text": text} for i, text in enumerate(said)]
    transcripts = ds.dataset(pa.Table.from_pylist(rows, schema=TRANSCRIPTS.schema))
    utterances = ds.dataset(UTTERANCES.schema.empty_table())
    begun = time.process_time()
    made = Phones()(transcripts, utterances)
    assert made.num_rows == len(said)
    assert made["dropped"].null_count == len(said)
    return time.process_time() - begun


def loop_seconds(said: list[str]) -> float:
    """Of a call for each text."""
    from phonemizer import phonemize

    begun = time.process_time()
    for text in said:
        phonemize(text, language="en-us", backend="espeak", with_stress=True, preserve_punctuation=True)
    return time.process_time() - begun


def measure(num: int, rounds: int = 3) -> dict[str, float]:
    """Utterances a minute of one CPU either way, and their ratio; medians of the rounds."""
    said = texts(num)
    stage_seconds(said[:1])  # espeak-ng is begun, once for a process
    few = list(itertools.islice(said, 0, None, FEWER))
    pairs = []
    for _ in range(rounds):
        pairs.append((60 * num / stage_seconds(said), 60 * len(few) / loop_seconds(few)))
        tell("the stage {:.0f}, the loop {:.0f} utterances a CPU minute".format(*pairs[-1]))
    return {
        "phones, utterances a CPU minute (goal 20000)": round(statistics.median(ours for ours, _ in pairs)),
        "phonemizer per call, utterances a CPU minute": round(statistics.median(loop for _, loop in pairs)),
        "ratio": round(statistics.median(ours / loop for ours, loop in pairs), 1),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utterances", type=int, default=2_000)
    print(json.dumps(measure(options(parser, utterances=600).utterances), indent=1))


if __name__ == "__main__":
    main()
