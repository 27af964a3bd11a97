"""Many random calls of `valle say`: does every one end in a file that plays, or in one sentence?

    python -m bench.say --speech FOLDER --root WAREHOUSE [--calls 50] [--seed 0] [--short]

Prompts are drawn from all audio under FOLDER, good and bad, texts from a list of odd ones. Each call is a process of
its own, so that one which is killed counts as what it is: a crash. The warehouse has to hold a pair.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import soundfile

from bench.progress import options

PATIENCE = 600.0  # seconds for one call
TEXTS = (
    "Hello.",
    "a",
    "I",
    "?",
    "",
    "   \n\t ",
    "123456789",
    "It cost $3.50, £2 or €1,000,000.99 on 3/4/1999 at 12:05 a.m.",
    "Good morning 😀, dear 你好.",
    "你好世界",
    "Привет, мир!",
    "naïve café déjà vu, Señor Müller's façade",
    '"Who," she said, "is \'that\'?" — (nobody…) [really]',
    "First line\nsecond line\n\nA new paragraph.\r\n\r\nAnd another\u2028one.",
    "Mr. and Mrs. Smith met Dr. Jones, Ph.D., of the U.S.A. at No. 5 St. James St.",
    "WHY ARE YOU SHOUTING AT ME",
    "http://www.example.org/a?b=c&d=e and me@example.org",
    "C++ & C# are 100% <b>bold</b> {x} = [y] * z^2 ~ 3°C @ #1",
    "x" * 500,
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "... --- ... !!! ??? ,,, ;;; ::: ...",
    "\u200b\u200d\ufeff hidden \u202e signs \x00 \x07 here",
    "The old man walked slowly along the river, and he saw a bird there. " * 22,  # 308 words
    "word " * 300,
    "Ａｌｌ ｗｉｄｅ １２３ ½ ² №",
    "What is 7 x 8, 10^-3, 3.14159, 1e6, MCMXCIX, 2nd, 3rd and 21st?",
)
OPTIONS: tuple[tuple[str, ...], ...] = (
    (),
    (),
    (),
    ("--num", "2"),
    ("--seed", "7"),
    ("--prompt-text", "He saw a bird."),
)


def say(words: list[str]) -> tuple[int, str, str, float]:
    """One call: exit code, standard output, standard error, seconds; 124 where it takes too long."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", "from flows.cli import main; main()", "say", *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
        code, out, err = done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace")
    except subprocess.TimeoutExpired:
        code, out, err = 124, "", "too slow"
    return code, out, err, time.perf_counter() - begun


def outcome(code: int, out: str, err: str) -> str:
    """`spoken`, `refused` or, for everything else, `crashed`."""
    if "Traceback" in err:
        return "crashed"
    if code == 2:
        said = [line for line in err.splitlines() if line.startswith(("valle: ", "Error: "))]
        return "refused" if said and not out else "crashed"
    if code != 0:
        return "crashed"
    return "spoken" if all(plays(row) for row in json.loads(out)) else "crashed"


def plays(row: dict[str, Any]) -> bool:
    """Whether a file is what its row says: 24 kHz, mono, 16 bits, so long."""
    found = soundfile.info(row["path"])
    kind = (found.samplerate, found.channels, found.subtype, found.format)
    return kind == (24_000, 1, "PCM_16", "WAV") and abs(found.frames / 24_000 - row["seconds"]) < 1e-6


def trial(speech: Path, root: Path, num_calls: int, seed: int) -> dict[str, Any]:
    """What came of so many calls."""
    chance = random.Random(seed)
    prompts = sorted(path for path in speech.rglob("*") if path.is_file() and path.suffix not in (".md", ".jsonl"))
    outcomes: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    warned, crashes, seconds = 0, [], []
    refusals: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(num_calls):
            prompt, text, options = chance.choice(prompts), chance.choice(TEXTS), chance.choice(OPTIONS)
            (Path(folder) / "text.txt").write_text(text)
            output = Path(folder) / f"{number}.wav"
            words = ["--file", f"{folder}/text.txt", "--prompt", str(prompt), "--consent", "--json", *options]
            code, out, err, taken = say([*words, "--output", str(output), "--root", str(root)])
            how = outcome(code, out, err)
            outcomes[how] += 1
            if how == "crashed":
                crashes.append({"prompt": prompt.name, "text": text[:60], "code": code, "err": err[-600:]})
            elif how == "refused":
                refusals[_gist(err)] += 1
            else:
                seconds.append(taken)
                rows = json.loads(out)
                flags.update(flag for row in rows for flag in row["flags"])
                warned += bool(rows[0]["warnings"])
            print(f"{number + 1} {how} {taken:.1f} s {prompt.name} {text[:30]!r}", file=sys.stderr, flush=True)
    return {
        "calls": num_calls,
        "outcomes": dict(outcomes),
        "files by flag": dict(flags),
        "calls with warnings": warned,
        "refusals": dict(refusals.most_common()),
        "median seconds of a spoken call": round(statistics.median(seconds), 1) if seconds else None,
        "longest": round(max(seconds), 1) if seconds else None,
        "crashes": crashes,
    }


def _gist(err: str) -> str:
    """A refusal without the names in it."""
    line = err.strip().splitlines()[-1]
    for gist in ("text is empty", "nothing to say", "no phones of", "no words are heard", "nobody is heard to speak"):
        if gist in line:
            return gist
    return "the prompt cannot be used" if "cannot be used" in line else line[:100]


def main() -> None:
    """Print the summary as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    words = options(parser, calls=4)
    print(json.dumps(trial(words.speech, words.root, words.calls, words.seed), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
