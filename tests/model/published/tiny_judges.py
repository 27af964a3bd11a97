"""Tiny judges with random weights, as `transformers` saves them."""

import json
from pathlib import Path
from typing import Any

import torch

from model.published.model_folder import library

SHAPE: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 8),
    "conv_stride": (5, 64),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}


def save_hubert(folder: Path, seed: int = 0) -> Path:
    """A HuBERT that hears random letters."""
    transformers = library()
    torch.manual_seed(seed)
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDE"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({letter: place for place, letter in enumerate(letters)}))
    config = transformers.HubertConfig(**SHAPE, vocab_size=len(letters), ctc_zero_infinity=True)
    transformers.HubertForCTC(config).save_pretrained(folder)
    transformers.Wav2Vec2CTCTokenizer(folder / "vocab.json").save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def save_wavlm(folder: Path, seed: int = 0) -> Path:
    """A WavLM that tells voices at random."""
    transformers = library()
    torch.manual_seed(seed)
    head = {"tdnn_dim": (8, 8), "tdnn_kernel": (3, 1), "tdnn_dilation": (1, 1), "xvector_output_dim": 12}
    transformers.WavLMForXVector(transformers.WavLMConfig(**SHAPE, **head)).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder
