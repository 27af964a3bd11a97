"""All figures, one JSON object each: `make bench`, or some: `python -m bench codes recordings`."""

import subprocess
import sys

NAMES = (
    "commands",
    "recordings",
    "transcripts",
    "phones",
    "codes",
    "training",
    "decoding",
    "mark",
    "simulation",
    "queue",
    "demo",
)

if unknown := [name for name in sys.argv[1:] if name not in NAMES]:
    raise SystemExit(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
for name in sys.argv[1:] or NAMES:
    print(f"{name}:", flush=True)
    subprocess.run([sys.executable, "-m", f"bench.{name}"], check=True)
