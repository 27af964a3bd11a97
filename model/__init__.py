"""What thinks: transformer, AR, NAR, sampling, codec, speech recognition, training. Plain torch."""
