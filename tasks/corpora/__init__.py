"""How corpora lie on disk: what LibriLight, LibriSpeech and a plain folder say of their audio files."""
