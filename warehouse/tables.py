"""The tables of the warehouse. This file is the data dictionary.

A table is a set of Parquet shards of one schema. Times are integer samples of
the recording as it lies on disk; `seconds` columns are for people. Every table
ends with `dropped` and `detail`: a row that a stage refuses is kept, with its
reason, and the next stage skips it.
"""

from dataclasses import dataclass

import pyarrow as pa

SAMPLE_RATE = 24_000  # Hz, what EnCodec reads
HOP = 320  # samples of one frame
FRAME_RATE = SAMPLE_RATE // HOP  # frames per second: 75
NUM_CODEBOOKS = 8  # Q: 8 codebooks of 10 bits at 75 frames/s are 6 kb/s
CODEBOOK_SIZE = 1024  # entries per codebook, so a code fits in 10 bits
CODEBOOKS = tuple(f"codebook_{q}" for q in range(1, NUM_CODEBOOKS + 1))


@dataclass(frozen=True)
class Tally:
    """What is counted of a shard's rows when it is written, so that statistics need not open it."""

    by: tuple[str, ...]  # columns: rows and seconds are counted for each of their values
    distinct: tuple[str, ...] = ()  # columns whose values are counted once each
    spread: bool = False  # how many rows last 0 to 0.5 s, 0.5 to 1 s, …
    means: tuple[str, ...] = ()  # columns whose mean is kept, over the rows that have a value
    dropped: bool = False  # of the dropped rows rather than the kept

    @property
    def name(self) -> str:
        """Such as `speaker_id, split`; of all rows together, `all`."""
        return ", ".join(self.by) or "all"

    @property
    def columns(self) -> set[str]:
        """What it reads of a row."""
        return {*self.by, *self.distinct, *self.means}


@dataclass(frozen=True)
class Table:
    """A named set of rows with a schema and a grain."""

    name: str
    grain: str  # what one row is, in words
    schema: pa.Schema
    key: tuple[str, ...] = ()  # the columns that name a row
    files: bool = False  # its stage makes files beside its rows, and gets a folder for them
    lasting: bool = False  # stays current when the data above it merely grows
    tallies: tuple[Tally, ...] = ()  # what is counted when a shard is written
    counted: tuple[str, ...] = ()  # columns of lists; how often each value stands in kept rows is counted, too


def column(name: str, type_: pa.DataType, meaning: str) -> pa.Field:
    """A column with its meaning, which travels in the shard's schema."""
    return pa.field(name, type_, metadata={"meaning": meaning})


def schema(*columns: pa.Field) -> pa.Schema:
    """The columns of a table, and the two that every table ends with."""
    return pa.schema(
        [
            *columns,
            column("dropped", pa.string(), "null = kept, else a short reason code"),
            column("detail", pa.string(), "what a person wants to know about the reason"),
        ]
    )


def empty(table: Table) -> pa.Table:
    """No rows of a table."""
    return table.schema.empty_table()


_UTTERANCE_ID = column("utterance_id", pa.string(), "<recording_id>#<start_sample>-<end_sample>")

RECORDINGS = Table(
    "recordings",
    grain="an audio file",
    key=("recording_id",),
    tallies=(Tally(by=("speaker_id", "book_id")),),
    schema=schema(
        column(
            "recording_id", pa.string(), "path under the corpus without suffix, which stays where two would share an id"
        ),
        column("corpus", pa.string(), "librilight, librispeech, sample, or the folder's name when it was first listed"),
        column("subset", pa.string(), "such as small or test-clean"),
        column("speaker_id", pa.string(), "who reads; the folder's name where nothing else is known"),
        column("book_id", pa.string(), "LibriVox id or chapter, null where unknown"),
        column("title", pa.string(), "the book's, null where unknown"),
        column("genre", pa.string(), "LibriLight's meta_genre, null where unknown"),
        column("dramatic", pa.bool_(), "whether several voices read the book; null where unknown"),
        column("audio_path", pa.string(), "relative to the corpus"),
        column("sample_rate", pa.int32(), "Hz, as the decoder says"),
        column("num_channels", pa.int16(), "as the decoder says; stages read their mean"),
        column("num_samples", pa.int64(), "samples per channel, counted by decoding"),
        column("seconds", pa.float64(), "num_samples / sample_rate"),
        column("peak_db", pa.float32(), "dB of full scale, loudest sample of any channel; null where all are zero"),
        column("loudness_db", pa.float32(), "dB of full scale, root mean square over all channels; null likewise"),
        column("num_clipped", pa.int64(), "samples of any channel at full scale or above"),
        column(
            "channel_correlation",
            pa.float32(),
            "-1 to 1, the least of two channels that are heard; null where there are no two",
        ),
        column("snr_db", pa.float32(), "dB, null where unknown or NaN"),
        column(
            "speech",
            pa.list_(pa.struct({"start_sample": pa.int64(), "end_sample": pa.int64()})),
            "voiced stretches in samples; null where the corpus has none",
        ),
        column("text", pa.string(), "what is said, null unless the corpus has it"),
        column("language", pa.string(), "ISO 639-1, in which it is said; null unless the corpus says so"),
        column("sha256", pa.string(), "of the audio file's bytes"),
        column(
            "audio_digest", pa.string(), "of rate, channels and decoded samples: equal where files sound exactly alike"
        ),
    ),
)

UTTERANCES = Table(
    "utterances",
    grain="a stretch of one recording",
    key=("utterance_id",),
    tallies=(Tally(by=("speaker_id", "split"), distinct=("recording_id",), spread=True),),
    schema=schema(
        _UTTERANCE_ID,
        column("recording_id", pa.string(), "where it was cut from"),
        column("corpus", pa.string(), "as in recordings"),
        column("speaker_id", pa.string(), "who reads"),
        column("start_sample", pa.int64(), "first sample, in the recording's own rate"),
        column("end_sample", pa.int64(), "one past the last sample"),
        column("sample_rate", pa.int32(), "Hz, of the recording"),
        column("seconds", pa.float64(), "(end_sample - start_sample) / sample_rate"),
        column(
            "voiced_seconds", pa.float64(), "of them, with a voice in it; null where the recording carries its text"
        ),
        column(
            "zone", pa.string(), "opening or closing of a LibriVox chapter, where its boilerplate is read; else null"
        ),
        column("split", pa.string(), "train, dev or test, by speaker"),
    ),
)

TRANSCRIPTS = Table(
    "transcripts",
    grain="the words of an utterance",
    key=("utterance_id",),
    schema=schema(
        _UTTERANCE_ID,
        column("text", pa.string(), "as the judge heard it, or as the corpus says"),
        column("language", pa.string(), "ISO 639-1"),
        column("language_prob", pa.float32(), "0..1, null where nobody guessed"),
        column("avg_logprob", pa.float32(), "natural log, mean over text tokens"),
        column("no_speech_prob", pa.float32(), "0..1"),
        column("compression_ratio", pa.float32(), "bytes of text over bytes of it compressed"),
        column("temperature", pa.float32(), "of the decoding that was kept"),
        column("num_tokens", pa.int32(), "of that decoding; at 224 it was cut off"),
        column("chars_per_second", pa.float32(), "of the text, spaces and punctuation included; null where none"),
        column("flags", pa.list_(pa.string()), "what is odd about the text; null where there is none"),
        column(
            "reference_errors", pa.int32(), "words heard otherwise than the corpus's own text; null where it has none"
        ),
        column("reference_words", pa.int32(), "words of that text"),
        column(
            "words",
            pa.list_(
                pa.struct({"word": pa.string(), "start": pa.float64(), "end": pa.float64(), "prob": pa.float32()})
            ),
            "seconds from the utterance's start; null unless asked for",
        ),
        column("judge", pa.string(), "engine and model"),
    ),
)

PHONES = Table(
    "phones",
    grain="the phonemes of an utterance",
    key=("utterance_id",),
    counted=("phones",),
    schema=schema(
        _UTTERANCE_ID,
        column("text_spoken", pa.string(), "the text with numbers and abbreviations said out"),
        column("phones", pa.list_(pa.string()), "IPA, with stress marks and word boundaries"),
        column("phone_ids", pa.list_(pa.uint16()), "places in the symbol table"),
    ),
)

CODES = Table(
    "codes",
    grain="the EnCodec codes of an utterance",
    key=("utterance_id",),
    tallies=(Tally(by=(), means=("si_sdr_db", "fp32_agreement")),),
    counted=CODEBOOKS,
    schema=schema(
        _UTTERANCE_ID,
        column("num_frames", pa.int32(), "T, 75 per second: ceil(samples at 24 kHz / 320)"),
        *(column(name, pa.list_(pa.uint16()), "[T], 0 <= code < 1024") for name in CODEBOOKS),
        column("si_sdr_db", pa.float32(), "dB, of the first 30 s decoded against what was encoded; null: not checked"),
        column(
            "fp32_agreement",
            pa.float32(),
            "0..1, share of its first 5 s that a CPU gives in fp32, too; null: not compared",
        ),
    ),
)

EXAMPLES = Table(
    "examples",
    grain="an utterance that may train",
    key=("utterance_id",),
    tallies=(Tally(by=("split",)), Tally(by=("failed", "dropped"), dropped=True)),
    schema=schema(
        _UTTERANCE_ID,
        column("speaker_id", pa.string(), "as in utterances"),
        column("language", pa.string(), "as in transcripts"),
        column("split", pa.string(), "train, dev or test"),
        column("failed", pa.list_(pa.string()), "every condition that refuses it; `dropped` is the first of them"),
    ),
)

CHECKPOINTS = Table(
    "checkpoints",
    grain="weights at a step",
    key=("checkpoint_id",),
    files=True,
    lasting=True,
    schema=schema(
        column("checkpoint_id", pa.string(), "<half>-<step>-<first 12 digits of sha256>"),
        column("half", pa.string(), "ar or nar"),
        column("step", pa.int64(), "optimizer steps"),
        column("learning_rate", pa.float64(), "of the last step"),
        column("train_loss", pa.float64(), "nats per code, mean since the last row"),
        column("valid_loss", pa.float64(), "nats per code, over dev"),
        column("valid_perplexity", pa.float64(), "e to the valid_loss: as if among so many like codes"),
        column("valid_top10", pa.float64(), "0..1, share of codes among the ten likeliest, over dev"),
        column("valid_loss_by_codebook", pa.list_(pa.float64()), "of codebooks 1 to 8; null where a half says none"),
        column("valid_top10_by_codebook", pa.list_(pa.float64()), "likewise"),
        column("valid_loss_shuffled", pa.float64(), "nats per code with phones shuffled: how much they are read"),
        column("alarms", pa.list_(pa.string()), "since the last row: loss_spike, dead_codebook, at_chance, ..."),
        column("is_best", pa.bool_(), "whether its valid_loss is the least"),
        column("tokens_seen", pa.int64(), "acoustic codes trained on"),
        column("num_parameters", pa.int64(), "of this half"),
        column("path", pa.string(), "of the weights' folder, relative to the root"),
        column("sha256", pa.string(), "of the weights; null where not kept: the last and the best are"),
    ),
)

SAMPLES = Table(
    "samples",
    grain="a piece of speech to judge",
    key=("sample_id",),
    files=True,
    schema=schema(
        column("sample_id", pa.string(), "<system>/<utterance_id>/<seed>"),
        column("checkpoint_id", pa.string(), "of the AR and the NAR, joined by +; null for ground truth and the codec"),
        column(
            "system",
            pa.string(),
            "valle, valle-continual, ground-truth, codec-resynthesis, or an ablation such as valle-no-prompt",
        ),
        column("utterance_id", pa.string(), "whose text is spoken; of a published list, its utt"),
        column("speaker_id", pa.string(), "who gives the voice; of a published list, its prompt_wav"),
        column("prompt_id", pa.string(), "utterance that gives the voice; of a published list, its prompt_wav"),
        column("text", pa.string(), "what should be heard"),
        column("seed", pa.int64(), "of the sampling"),
        column("audio_path", pa.string(), "relative to the root"),
        column("seconds", pa.float64(), "of speech"),
        column("seconds_to_make", pa.float64(), "wall clock"),
        column("protocol", pa.string(), "vall-e (pairs of the corpus) or seed-tts (a published list)"),
        column("evaluation_set", pa.string(), "digest of all pairs, of whatever shard"),
        column("prompt_text", pa.string(), "the words in the prompt; null where they are not known"),
        column("prompt_seconds", pa.float64(), "of the prompt, as the model has it; null where there is none"),
        column(
            "prompt_cut",
            pa.string(),
            "whole; word: behind the last that ends in time; share: of the text, for lack of words' times; else null",
        ),
        column("prompt_path", pa.string(), "the prompt as recorded, relative to the root; null where it is unreadable"),
        column("prompt_decoded_path", pa.string(), "the prompt as its codes are decoded, likewise"),
    ),
)

SCORES = Table(
    "scores",
    grain="one metric of one sample",
    key=("sample_id", "metric", "judge"),
    schema=schema(
        column("sample_id", pa.string(), "what was judged"),
        column("system", pa.string(), "as in samples"),
        column(
            "metric", pa.string(), "wer, speaker_similarity, speaker_similarity_decoded, and what further judges say"
        ),
        column(
            "value", pa.float64(), "a fraction for wer, a cosine for similarity, 1 to 5 for dnsmos_…, Hz for f0_mean"
        ),
        column("errors", pa.int32(), "wrong words, null unless wer"),
        column("words", pa.int32(), "words of the reference, null unless wer"),
        column("judge", pa.string(), "engine and model, with the digest of its weights"),
        column(
            "failures",
            pa.list_(pa.string()),
            "empty, endless, repeated, skipped, leaked: those that this judge finds; null unless wer",
        ),
        column("speaker_id", pa.string(), "as in samples; what intervals cluster by"),
        column("protocol", pa.string(), "as in samples"),
        column("evaluation_set", pa.string(), "as in samples"),
    ),
)

TABLES = (RECORDINGS, UTTERANCES, TRANSCRIPTS, PHONES, CODES, EXAMPLES, CHECKPOINTS, SAMPLES, SCORES)
