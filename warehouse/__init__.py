"""What exists: tables, fingerprints, shards on disk, the catalogue and its statistics."""
