"""Figures of speed and memory, as ratios or against a limit, never asserted by a test."""
