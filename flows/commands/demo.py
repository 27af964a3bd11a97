"""`valle demo`: the whole pipeline on the sample corpus, and what came of it."""

from pathlib import Path

from flows.commands.options import RunOptions
from flows.commands.report import report_where_it_differs
from flows.commands.run import run
from flows.engine.site import Site
from flows.terminal.output import render
from warehouse.query import select
from warehouse.working_copy import said

SENTENCE = "My brother opened a window in the old house."
LEADERBOARD = """
    select
        source, system, num_utterances as n,
        round(wer, 3) as wer, round(similarity, 3) as similarity, round(similarity_decoded, 3) as similarity_decoded,
        wer_judge
    from leaderboard
"""


def run_demo(options: RunOptions) -> None:
    """Make what is missing; print the funnel, what Whisper misheard, the leaderboard, where speech and report are."""
    run(options)
    site = options.where()
    print("\nThe funnel: what came in, what was kept, what was dropped and why\n")
    print(render(select(site.root, "from funnel_at_a_glance"), "table"))
    errors, words = misheard(site.root, site.corpus)
    print(f"Whisper against the known text: {errors} of {words} words wrong, a WER of {errors / max(1, words):.1%}\n")
    print(
        "The leaderboard (judged by the embedded Whisper, which also taught the VALL-E that ships, and Resemblyzer; "
        "the papers' rows had others)\n"
    )
    print(render(select(site.root, LEADERBOARD), "table"))
    print(codec_in_words())
    query = "select distinct array_to_string(string_split(audio_path, '/')[:3], '/') as folder from samples"
    for folder in select(site.root, f"{query} where dropped is null")["folder"].to_pylist():
        print(f"Speech to listen to, a folder for each system: {site.root / folder}")
    prompt = "select min(prompt_id) as id from samples where system = 'valle' and dropped is null"
    for id_ in select(site.root, prompt)["id"].drop_null().to_pylist():
        where = "" if site.root == Path(Site.root).absolute() else f" --root {said(site.root)}"
        print(f"\nSay a sentence of your own: valle say {SENTENCE!r} --prompt '{id_}'{where}")
    print(f"\nAll of it on one page, to look at and to listen to: {report_where_it_differs(site.root)}")


def misheard(root: Path, corpus: Path) -> tuple[int, int]:
    """Words that the transcripts of the sample corpus have wrong, and words that were said.

    A sentence belongs to the kept utterance that holds its middle; one in no kept utterance is heard by nobody, and
    all of its words are wrong.
    """
    from tasks.corpora.sample_corpus import truth
    from tasks.evaluation.judges import load_normalizer, word_errors

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
    from model.codec.weights import figures

    known = figures()
    heard = ", ".join(f"{known[name]:.1%} of words {where}" for name, where in _HEARD)
    return f"The embedded EnCodec on voices that it never heard: Whisper mishears {heard}; STOI {known['stoi']:.2f}"


_HEARD = (("wer_original", "before it"), ("wer", "behind it"))
