"""espeak-ng by its first address: scripts beside the project say `tasks.espeak`; here it is `tasks.text.espeak`."""

from tasks.text.espeak import Voice, synthesize

__all__ = ["Voice", "synthesize"]
