"""Automatic speech recognition: Whisper, by two engines that give the same evidence."""
