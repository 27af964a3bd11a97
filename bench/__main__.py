"""All figures, one JSON object each: `make bench`."""

from bench import commands, demo

commands.main()
demo.main()
