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


@pytest.fixture
def without_operator(monkeypatch):
    """A torch that has no operator `_linear_pointwise`."""

    class Gone:
        @property
        def _linear_pointwise(self):
            raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")

    monkeypatch.setattr(torch.ops, "mkldnn", Gone())
    onednn._operator.cache_clear()
    yield
    monkeypatch.undo()
    onednn._operator.cache_clear()


@pytest.mark.usefixtures("without_operator")
def test_a_torch_without_the_private_operator_gives_the_same_figures_and_gradients():
    assert onednn._operator() is None
    test_a_hastened_layer_gives_what_torch_gives(True, (2, 3, 5))
    query, key, value = torch.randn(3, 2, 3, 30, 16, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(onednn.attention(query, key, value), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fault", [TypeError("takes 5 arguments"), RuntimeError("no kernel"), None])
def test_an_operator_that_does_otherwise_is_not_used(fault, monkeypatch):
    class Other:
        @staticmethod
        def _linear_pointwise(x, weight, *rest):
            if fault:
                raise fault
            return x @ weight  # not transposed

    monkeypatch.setattr(torch.ops, "mkldnn", Other())
    onednn._operator.cache_clear()
    assert onednn._operator() is None
    monkeypatch.undo()
    onednn._operator.cache_clear()
    assert onednn._operator() is not None or not torch.backends.mkldnn.is_available()
