"""The options of a half: what each changes, and that the defaults are the paper."""

import pytest
import torch

from model.valle import ar, nar
from model.valle.ar import AR
from model.valle.checkpoint import load, num_parameters, read_settings, save
from model.valle.nar import NAR
from model.valle.settings import SIZES, Settings
from tests.model.small import SIZE, SYMBOLS, half, speech, task


def filled(name, **options):
    """A half whose weights follow from a formula, so that no generator need ever stay the same."""
    model = half(name, **options)
    for number, parameter in enumerate(model.parameters()):
        places = torch.arange(parameter.numel(), dtype=torch.float64)
        parameter.data = (0.2 * torch.sin(1.7 * number + 0.37 * places)).reshape(parameter.shape)
    return model


def said(model, languages=None):
    phones, phone_lengths, codes, code_lengths = speech()
    phones, codes = torch.arange(12).reshape(2, 6) % 8, torch.arange(144).reshape(2, 8, 9) * 7 % 1024
    if isinstance(model, AR):
        return model(phones, phone_lengths, codes[:, 0], code_lengths, languages)
    return model(phones, phone_lengths, codes, code_lengths, task(4), languages)


GOLDEN = {
    "ar": [0.465872, 0.096561, 0.015832, 0.505374, 0.110982, 0.01061, 0.460344, 0.115775, -0.005799],
    "nar": [-1.422879, -0.852608, 0.539004, -0.804786, -0.361369, 0.177562, -1.280302, -1.150659, 0.888881],
}


@pytest.mark.parametrize("name", ["ar", "nar"])
def test_logits_are_what_they_have_always_been(name):
    logits = said(filled(name))
    assert logits[1, [0, 3, 6]][:, [0, 500, 1023]].flatten().tolist() == pytest.approx(GOLDEN[name], abs=2e-6)


def test_the_paper_s_sizes_follow_from_its_formula():
    """12 layers of 12 D^2 + 13 D and a last norm are 151.16 million for the AR; 25 adaptive norms more for the NAR."""
    width = 1024
    with torch.device("meta"):
        first, second = (
            AR(Settings("ar", SIZES["paper"], SYMBOLS, "")),
            NAR(Settings("nar", SIZES["paper"], SYMBOLS, "")),
        )
    layers = 12 * (12 * width**2 + 9 * width)
    assert num_parameters(first.transformer) == layers + 25 * 2 * width == 151_156_736
    assert num_parameters(second.transformer) == layers + 25 * (2 * width**2 + 2 * width) == 203585536


def test_heads_apart_are_weights_more_and_move_other_logits():
    tied, apart = half("ar"), half("ar", tied=False)
    assert num_parameters(apart) == num_parameters(tied) + 1025 * 32
    assert num_parameters(half("nar", tied=False)) == num_parameters(half("nar")) + 7 * 1024 * 32
    for model, head in ((apart, apart.head), (half("nar", tied=False), None)):
        before = said(model)
        (model.heads if head is None else head).data.mul_(2)
        torch.testing.assert_close(said(model), 2 * before)


def test_a_group_is_a_slot_and_its_codes_do_not_see_each_other():
    model = half("ar", group=4)
    seen = []
    model.transformer.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    phones, phone_lengths, codes, code_lengths = speech(1, num_frames=16)
    before = model(phones, phone_lengths, codes[:, 0], code_lengths)
    assert seen == [6 + 1 + 16 // 4]
    assert before.shape == (1, 17, 1025)
    for frame in (0, 5, 15):
        other = codes[:, 0].clone()
        other[0, frame] = (other[0, frame] + 1) % 1024
        moved = (model(phones, phone_lengths, other, code_lengths) - before)[0].abs().amax(dim=-1) > 1e-9
        assert moved.tolist() == [place >= frame // 4 * 4 + 4 for place in range(17)]


def test_a_code_of_a_chained_group_sees_the_one_before_it():
    model = half("ar", group=4, chained=True)
    torch.nn.init.normal_(model.chain_out.weight)
    phones, phone_lengths, codes, code_lengths = speech(1, num_frames=16)
    before = model(phones, phone_lengths, codes[:, 0], code_lengths)
    for frame in (0, 5, 11):
        other = codes[:, 0].clone()
        other[0, frame] = (other[0, frame] + 1) % 1024
        moved = (model(phones, phone_lengths, other, code_lengths) - before)[0].abs().amax(dim=-1) > 1e-9
        in_group = frame % 4 < 3
        assert moved.tolist() == [
            place >= frame // 4 * 4 + 4 or (in_group and place == frame + 1) for place in range(17)
        ]


def test_a_stem_hears_neighbours_and_no_padding():
    model = half("nar", stem=2)
    phones, phone_lengths, codes, _ = speech(2, num_frames=20)
    task = nar.Task(torch.tensor([3, 5]), torch.tensor([0, 0]), torch.tensor([4, 4]))
    lengths = torch.tensor([20, 11])
    whole = model(phones, phone_lengths, codes, lengths, task)
    alone = model(
        phones[1:], phone_lengths[1:], codes[1:, :, :11], lengths[1:], nar.Task(*(x[1:] for x in vars(task).values()))
    )
    torch.testing.assert_close(whole[1, :11], alone[0], rtol=0, atol=1e-9)
    for layer in model.transformer.layers:  # without attention a frame hears no further than the stem does
        layer.attention_out.weight.data.zero_()
    codes[0, 0, 10] += 1
    moved = model(phones, phone_lengths, codes, lengths, task) - model(
        phones, phone_lengths, speech(2, num_frames=20)[2], lengths, task
    )
    assert [bool(x) for x in moved[0].abs().amax(dim=-1) > 1e-9] == [6 <= frame <= 14 for frame in range(20)]


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("length", [7, 8, 9])
def test_a_group_that_is_not_whole_is_said_and_not_read(group, length):
    """Whatever is left over, the end included, comes from the slot before it, and every frame is asked for once."""
    model = half("ar", group=group)
    phones, phone_lengths, codes, _ = speech(1, num_frames=length)
    logits = model(phones, phone_lengths, codes[:, 0], torch.tensor([length]))
    wanted = ar.targets(codes[:, 0], torch.tensor([length]))
    assert logits.shape[:2] == wanted.shape == (1, length + 1)
    assert wanted[0, -1] == 1024


@pytest.mark.parametrize("name", ["ar", "nar"])
def test_a_language_moves_every_logit(name):
    model = half(name, languages=("en", "fr"))
    english, mixed = said(model, torch.tensor([0, 0])), said(model, torch.tensor([1, 0]))
    assert ((english - mixed)[0].abs().amax(dim=-1) > 1e-9).all()
    assert english[1].equal(mixed[1])
    with pytest.raises(ValueError, match="no language is said: one of en, fr is needed"):
        said(model)


@pytest.mark.parametrize(("prompt", "starts", "lengths"), [("prefix", {0}, {225, 20}), ("none", {0}, {0})])
def test_prompts_may_be_prefixes_or_none(prompt, starts, lengths):
    drawn = nar.draw(torch.tensor([750, 40] * 50), torch.Generator().manual_seed(0), prompt)
    assert set(drawn.prompt_starts.tolist()) == starts
    assert set(drawn.prompt_lengths.tolist()) == lengths
    usual = nar.draw(torch.tensor([750, 40] * 50), torch.Generator().manual_seed(0))
    assert drawn.stages.equal(usual.stages)


def test_the_second_codebook_is_asked_most_often_early_on():
    lengths = torch.tensor([75] * 4_000)
    drawn = nar.draw(lengths, torch.Generator().manual_seed(0), "random", "early")
    shares = torch.bincount(drawn.stages, minlength=9)[2:] / len(lengths)
    wanted = torch.tensor([1 / stage for stage in range(1, 8)])
    torch.testing.assert_close(shares, wanted / wanted.sum(), rtol=0, atol=0.03)


@pytest.mark.parametrize("name", ["ar", "nar"])
def test_options_travel_with_the_weights(tmp_path, name):
    options = {"tied": False, "prompt": "prefix", "group": 2, "languages": ("en", "fr")}
    options |= {"chained": True, "stem": 2, "stages": "early"}
    model = half(name, **options).float()
    save(tmp_path, model)
    assert read_settings(tmp_path) == Settings(name, SIZE, SYMBOLS, "a codec", **options)
    languages = torch.tensor([1, 0])
    assert said(load(tmp_path), languages).equal(said(model, languages))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chained": True}, "chained is for groups of codes, and group is 1"),
        ({"stem": -1}, "stem is -1"),
        ({"stages": "late"}, "stages is 'late', and must be one of evenly, early"),
        ({"group": 3}, "group is 3, and must be one of 1, 2, 4"),
        ({"prompt": "middle"}, "prompt is 'middle', and must be one of random, prefix, none"),
        ({"languages": ("en", "en")}, "languages name one twice"),
    ],
)
def test_an_option_that_means_nothing_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Settings("ar", SIZE, SYMBOLS, "", **options)


@pytest.mark.parametrize("name", ["ar", "nar"])
def test_computing_activations_again_changes_no_gradient_even_under_dropout(name):
    gradients = []
    for again in (False, True):
        model = half(name).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.3
        model.transformer.checkpoint_activations = again
        torch.manual_seed(5)
        said(model).square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)
