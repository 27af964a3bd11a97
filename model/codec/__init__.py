"""EnCodec: waveforms to codes and back."""
