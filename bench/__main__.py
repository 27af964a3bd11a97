"""All figures, one JSON object each: `make bench`, or some: `python -m bench [--short] codes recordings`.

Each says on stderr how far it is. With `--short` each takes about a minute.
"""

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
    "objects",
    "queue",
    "demo",
)

short = ["--short"] if "--short" in sys.argv else []
asked = [name for name in sys.argv[1:] if name != "--short"]
if unknown := [name for name in asked if name not in NAMES]:
    raise SystemExit(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
for name in asked or NAMES:
    print(f"{name}:", flush=True)
    subprocess.run([sys.executable, "-m", f"bench.{name}", *short], check=True)
