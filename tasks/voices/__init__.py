"""Voices: the prompts that give one, and texts of any length narrated in it."""
