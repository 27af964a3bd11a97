"""A Kokoro of random weights and few channels, where the code leaves their number open: it speaks, and says nothing."""

import math

import torch

from deploy.embedded.accelerated.batched_kokoro import Tensors

_WIDE, _HALF, _QUARTER = 16, 8, 4  # channels of the decoder, and behind each of its two upsamplings
_STYLE = 128


def weights(seed: int = 0) -> Tensors:
    """All that `batched_kokoro.read` would give."""
    generator, found = torch.Generator().manual_seed(seed), Tensors()

    def put(name: str, *shape: int, mean: float = 0.0) -> None:
        scale = math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.1
        found[name] = mean + scale * torch.randn(shape, generator=generator)

    def layer(name: str, *shape: int) -> None:
        put(f"{name}.weight", *shape)
        put(f"{name}.bias", shape[0])

    def norm(name: str, channels: int, parts: tuple[str, str] = ("weight", "bias")) -> None:
        put(f"{name}.{parts[0]}", channels, mean=1.0)
        put(f"{name}.{parts[1]}", channels)

    def lstm(name: str, width: int) -> None:
        for suffix in ("", "_reverse"):
            for part, inputs in (("ih", width), ("hh", 256)):
                put(f"{name}.weight_{part}_l0{suffix}", 1024, inputs)
                put(f"{name}.bias_{part}_l0{suffix}", 1024)

    def block(name: str, before: int, after: int, pooled: bool = False) -> None:
        layer(f"{name}.norm1.fc", 2 * before, _STYLE)
        layer(f"{name}.norm2.fc", 2 * after, _STYLE)
        layer(f"{name}.conv1", after, before, 3)
        layer(f"{name}.conv2", after, after, 3)
        if before != after:
            put(f"{name}.conv1x1.weight", after, before, 1)
        if pooled:
            layer(f"{name}.pool", before, 1, 3)

    def resblock(name: str, channels: int, size: int) -> None:
        for i in range(3):
            for number in (1, 2):
                layer(f"{name}.adain{number}.{i}.fc", 2 * channels, _STYLE)
                layer(f"{name}.convs{number}.{i}", channels, channels, size)
                put(f"{name}.alpha{number}.{i}", 1, channels, 1, mean=3.0)

    for name, rows in (("word", 178), ("position", 512), ("token_type", 2)):
        put(f"bert.embeddings.{name}_embeddings.weight", rows, 128)
    norm("bert.embeddings.LayerNorm", 128)
    layer("bert.encoder.embedding_hidden_mapping_in", 768, 128)
    for name in ("query", "key", "value", "dense"):
        layer(f"bert.layer.attention.{name}", 768, 768)
    for name in ("attention.LayerNorm", "full_layer_layer_norm"):
        norm(f"bert.layer.{name}", 768)
    layer("bert.layer.ffn", 32, 768)
    layer("bert.layer.ffn_output", 768, 32)
    layer("bert_encoder", 512, 768)
    put("text_encoder.embedding.weight", 178, 512)
    for i in range(3):
        layer(f"text_encoder.cnn.{i}.0", 512, 512, 5)
        norm(f"text_encoder.cnn.{i}.1", 512, ("gamma", "beta"))
        lstm(f"predictor.text_encoder.lstms.{2 * i}", 640)
        layer(f"predictor.text_encoder.lstms.{2 * i + 1}.fc", 1024, _STYLE)
    lstm("text_encoder.lstm", 512)
    lstm("predictor.lstm", 640)
    lstm("predictor.shared", 640)
    layer("predictor.duration_proj", 6, 512)
    for name in ("F0", "N"):
        block(f"predictor.{name}.0", 512, 512)
        block(f"predictor.{name}.1", 512, _WIDE, pooled=True)
        block(f"predictor.{name}.2", _WIDE, _WIDE)
        layer(f"predictor.{name}_proj", 1, _WIDE, 1)
        layer(f"decoder.{name}_conv", 1, 1, 3)
    layer("decoder.asr_res.0", _QUARTER, 512, 1)
    block("decoder.encode", 514, _WIDE)
    for i in range(4):
        block(f"decoder.decode.{i}", _WIDE + _QUARTER + 2, _WIDE, pooled=i == 3)
    g = "decoder.generator"
    layer(f"{g}.m_source.l_linear", 1, 9)
    for i, (before, after, taps, size) in enumerate(((_WIDE, _HALF, 20, 7), (_HALF, _QUARTER, 12, 11))):
        layer(f"{g}.noise_convs.{i}", after, 22, 12 if i == 0 else 1)
        resblock(f"{g}.noise_res.{i}", after, size)
        put(f"{g}.ups.{i}.weight", before, after, taps)
        put(f"{g}.ups.{i}.bias", after)
        for k, kernel in enumerate((3, 7, 11)):
            resblock(f"{g}.resblocks.{3 * i + k}", after, kernel)
    layer(f"{g}.conv_post", 22, _QUARTER, 7)
    found[f"{g}.conv_post.weight"] *= 0.01  # what it gives is a logarithm
    put(f"{g}.stft.istft.stft.inverse_basis", 22, 1, 20)
    found[f"{g}.stft.istft.stft.window_sum"] = torch.ones(20)
    return found
