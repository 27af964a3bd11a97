"""Linear layers through oneDNN: the same figures and the same gradients, to rounding."""

import pytest
import torch
from torch import nn

from model.cpu import onednn


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5)])
def test_a_hastened_layer_gives_what_torch_gives(bias, shape):
    torch.manual_seed(0)
    layer = nn.Linear(5, 4, bias=bias)
    x, grad = torch.randn(shape, requires_grad=True), torch.randn(*shape[:-1], 4)
    asked = [x, *layer.parameters()]
    expected = [layer(x), *torch.autograd.grad(layer(x), asked, grad)]
    onednn.hasten(layer)
    found = [layer(x), *torch.autograd.grad(layer(x), asked, grad)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_bf16_and_doubles_are_left_to_torch():
    layer = nn.Linear(5, 4)
    onednn.hasten(layer)
    x = torch.randn(3, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer.double()(x.double()).dtype == torch.float64
    assert sorted(layer.state_dict()) == ["bias", "weight"]


@pytest.mark.parametrize("slots", [1, 30, 67])
def test_attention_is_torchs_own(slots, monkeypatch):
    monkeypatch.setattr(onednn, "CELLS", 900)  # 30 rows of 30, 13 of 67
    query, key, value = torch.randn(3, 2, 3, slots, 16, generator=torch.Generator().manual_seed(slots))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(onednn.attention(query, key, value), expected, atol=1e-5, rtol=1e-5)
