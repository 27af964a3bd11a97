"""The recipe that trains the VALL-E that ships, by the project's own stages, so that the training proves the pipeline.

    valle run --recipe deploy/embedded/recipe.py:embedded --audio FOLDER/audio --root FOLDER/root --until checkpoints

FOLDER is what `deploy.embedded.corpus` made. Speech made later is taken up by the next run; the checkpoints of the last
one are what it starts from with `--set checkpoints.start_from=DIR`.
"""

from flows.engine.recipe import Recipe
from tasks.checkpoints import Checkpoints
from tasks.codes import Codes
from tasks.examples import Examples
from tasks.phones import Phones
from tasks.recordings import Recordings
from tasks.samples import Samples
from tasks.scores import Scores
from tasks.transcripts import Transcripts
from tasks.utterances import Utterances


def two_languages() -> Recipe:
    """The same pair fine-tuned on speech of two languages, each text's phones in its own (VALL-E X in small)."""
    return embedded().set(
        (
            "transcripts.language=none",
            "phones.language=auto",
            'checkpoints.languages=["en","es"]',
            "checkpoints.start_from=embedded",
            "checkpoints.num_validations=4",
            "checkpoints.curriculum=0",
            "checkpoints.ar_steps=300",
            "checkpoints.ar_warmup_steps=20",
            "checkpoints.ar_learning_rate=6e-4",
            "checkpoints.nar_steps=60",
            "checkpoints.nar_warmup_steps=10",
            "checkpoints.nar_learning_rate=6e-4",
        )
    )


def embedded() -> Recipe:
    """From the speech of mixed voices to a pair of 17 MB."""
    return Recipe(
        (
            Recordings(layout="folder", min_seconds=0.3),
            Utterances(min_seconds=0.3, dev_share=0.03, test_share=0.0),
            Transcripts(model="reference"),
            Phones(),
            Codes(model="embedded"),
            Examples(),
            Checkpoints(
                size="embedded",
                num_validations=20,
                ema=0.995,
                curriculum=0.3,
                paired=0.3,
                phone_frames=4.6,
                codebooks=True,
                ar_group=2,
                ar_chained=True,
                ar_monotonic=True,
                nar_layers=4,
                nar_stem=4,
                nar_monotonic=True,
                nar_stages="early",
                nar_choice="expected",
                ar_steps=2_600,
                ar_warmup_steps=150,
                ar_learning_rate=2e-3,
                ar_batch_frames=2_500,
                nar_steps=4_000,
                nar_warmup_steps=150,
                nar_learning_rate=2e-3,
                nar_batch_frames=2_500,
            ),
            Samples(num_utterances=16, seeds=(0,), min_seconds=2.0, max_seconds=20.0),
            Scores(judge="embedded"),
        )
    )
