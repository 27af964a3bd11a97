"""Audio: reading files, finding speech in them, cutting it, and how well codes keep it."""
