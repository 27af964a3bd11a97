"""Text: decoded, normalized, split, doubted and turned into phones."""
