"""Speakers: whether two pieces of speech are of one voice."""
