"""The demo: the whole pipeline on the sample corpus, and what came of it."""

from pathlib import Path

from flows.commands import Request, run
from flows.show import render
from warehouse.query import select

GOOD_STOI = 0.90
LEADERBOARD = """
    select
        source, system, num_utterances as n,
        round(wer, 3) as wer, round(similarity, 3) as similarity, round(similarity_decoded, 3) as similarity_decoded,
        wer_judge
    from leaderboard
"""


def run_demo(request: Request) -> None:
    """Make what is missing of the demo; print the funnel, what Whisper misheard, the leaderboard, where speech is."""
    run(request)
    site = request.where()
    print("\nThe funnel: what came in, what was kept, what was dropped and why\n")
    print(render(select(site.root, "from funnel_at_a_glance"), "table"))
    errors, words = misheard(site.root, site.corpus)
    print(f"Whisper against the known text: {errors} of {words} words wrong, a WER of {errors / max(1, words):.1%}\n")
    print("The leaderboard (judged by the embedded Whisper and by Resemblyzer; the papers' rows had other judges)\n")
    print(render(select(site.root, LEADERBOARD), "table"))
    print(codec_in_words())
    query = "select distinct array_to_string(string_split(audio_path, '/')[:3], '/') as folder from samples"
    for folder in select(site.root, f"{query} where dropped is null")["folder"].to_pylist():
        print(f"Speech to listen to, a folder for each system: {site.root / folder}")


def misheard(root: Path, corpus: Path) -> tuple[int, int]:
    """Words that the transcripts of the sample corpus have wrong, and words that were said.

    A sentence belongs to the kept utterance that holds its middle; one in no kept utterance is heard by nobody, and
    all of its words are wrong.
    """
    from tasks.sample_corpus import truth
    from tasks.scores import load_normalizer, word_errors

    query = """
        select recording_id, start_sample, end_sample, utterance_id, coalesce(t.text, '') as heard
        from utterances join transcripts as t using (utterance_id)
        order by recording_id, start_sample
    """
    utterances = select(root, query).to_pylist()
    said: dict[str | None, list[str]] = {utterance["utterance_id"]: [] for utterance in utterances}
    for recording_id, start, end, text in truth(corpus):
        holders = [
            utterance["utterance_id"]
            for utterance in utterances
            if utterance["recording_id"] == recording_id
            and utterance["start_sample"] <= (start + end) // 2 < utterance["end_sample"]
        ]
        said.setdefault(holders[0] if holders else None, []).append(text)
    heard = {utterance["utterance_id"]: utterance["heard"] for utterance in utterances}
    normalize = load_normalizer()
    counts = [word_errors(normalize(" ".join(t)), normalize(heard.get(u or "", ""))) for u, t in said.items() if t]
    return sum(errors for errors, _ in counts), sum(words for _, words in counts)


def codec_in_words() -> str:
    """How good the embedded codec is, by the figures that lie beside its weights."""
    from model.codec_weights import figures

    stoi = figures()["stoi"]
    words = f"The embedded EnCodec keeps an STOI of {stoi:.2f} on voices it never heard"
    if stoi >= GOOD_STOI:
        return f"{words}."
    return f"{words}, short of {GOOD_STOI:.2f}: speech through it is coarse, and so is what learns from it."
