"""Provenance: speech that says what it is."""
