"""The decoder: what it may look at, how big it is, and where it starts."""

import math

import numpy as np
import pytest
import torch

from probes.models import fused
from probes.models.decoder import Decoder, next_token_losses, rotary_tables, rotate
from probes.models.source import ModelShape, count_params, flops_per_token

SHAPE = ModelShape(width=32, layers=2, heads=2, feedforward=48, tied_embeddings=True, vocab_size=64)
UNTIED = ModelShape(
    width=32, layers=2, heads=2, feedforward=48, tied_embeddings=False, vocab_size=64
)


def random_tokens(batch, length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(64, (batch, length), generator=generator)


class TestCausality:
    def test_later_tokens_change_no_earlier_logits(self):
        model = Decoder(SHAPE)
        tokens = random_tokens(1, 12)
        changed = tokens.clone()
        changed[0, 7] = (changed[0, 7] + 1) % 64
        with torch.no_grad():
            before, after = model(tokens), model(changed)
        assert torch.equal(before[:, :7], after[:, :7])
        assert not torch.allclose(before[:, 7:], after[:, 7:])

    def test_earlier_tokens_reach_the_last_logits(self):
        tokens = random_tokens(1, 12)
        model = Decoder(SHAPE)
        model(tokens)[0, -1].sum().backward()
        touched = model.embedding.weight.grad.abs().sum(dim=1) > 0
        assert touched[tokens[0, 0]]


class TestRotary:
    def test_product_depends_on_the_distance_only(self):
        cos, sin = rotary_tables(20, 16, torch.device("cpu"))
        generator = torch.Generator().manual_seed(0)
        q, k = torch.randn(2, 1, 1, 1, 16, generator=generator)
        turned_q = rotate(q.expand(1, 1, 20, 16), cos, sin)[0, 0]
        turned_k = rotate(k.expand(1, 1, 20, 16), cos, sin)[0, 0]
        products = turned_q @ turned_k.T
        for distance in (-5, 0, 3):
            diagonal = products.diagonal(distance)
            # float32 rounding of angles up to 20 and sums of 16 terms
            assert torch.allclose(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4)

    def test_length_is_kept_and_position_0_is_untouched(self):
        cos, sin = rotary_tables(20, 16, torch.device("cpu"))
        x = torch.randn(1, 1, 20, 16, generator=torch.Generator().manual_seed(0))
        turned = rotate(x, cos, sin)
        assert torch.equal(turned[:, :, 0], x[:, :, 0])
        assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), rtol=1e-5)


class TestSize:
    @pytest.mark.parametrize("shape", [SHAPE, UNTIED])
    def test_count_matches_the_built_model(self, shape):
        built = sum(weight.numel() for weight in Decoder(shape).parameters())
        assert count_params(shape).total == built

    def test_count_by_hand(self):
        # a block: qkv 3*32*32, out 32*32, gate, up and down 3*32*48, two norms of 32
        block = 3 * 1024 + 1024 + 3 * 1536 + 64
        assert count_params(SHAPE).non_embedding == 2 * block + 32
        assert count_params(SHAPE).total == 2 * block + 32 + 64 * 32
        assert count_params(UNTIED).total == 2 * block + 32 + 2 * 64 * 32
        assert count_params(UNTIED).non_embedding == count_params(SHAPE).non_embedding

    def test_flops_by_hand(self):
        params = 2 * (4096 + 4608 + 64) + 32 + 64 * 32
        assert flops_per_token(SHAPE, 128) == 6 * params + 6 * 2 * 32 * 128


class TestLoss:
    def test_untrained_model_knows_nothing(self):
        tokens = random_tokens(16, 33)
        with torch.no_grad():
            losses = next_token_losses(Decoder(SHAPE)(tokens[:, :-1]), tokens[:, 1:])
        # logits of an initial model have a standard deviation near 0.02 * sqrt(32) = 0.11, which
        # lifts the loss by about half its square
        assert losses.mean().item() == pytest.approx(math.log(64), abs=0.02)

    def test_each_sequence_is_averaged_alone(self):
        logits = torch.zeros(2, 3, 4)
        logits[1, :, 0] = math.log(3)
        targets = torch.tensor([[0, 1, 2], [0, 0, 1]])
        # row 0 is uniform; row 1 gives token 0 the probability 3 / 6 and others 1 / 6
        expected = [math.log(4), (2 * math.log(2) + math.log(6)) / 3]
        assert np.allclose(next_token_losses(logits, targets), expected, rtol=1e-6)

    def test_seed_decides_the_initial_weights(self):
        first, same, other = (Decoder(SHAPE, seed=seed) for seed in (0, 0, 1))
        assert torch.equal(first.embedding.weight, same.embedding.weight)
        assert not torch.equal(first.embedding.weight, other.embedding.weight)


class TestFused:
    """The parts with hand-written gradients against the plain formulas that they replace."""

    def test_norm_gradients_are_those_of_finite_differences(self):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(3, 5, 8, dtype=torch.float64, generator=generator, requires_grad=True)
        gain = torch.randn(8, dtype=torch.float64, generator=generator, requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda x, gain: fused.NormalizedRows.apply(x, gain, 1e-6), (x, gain)
        )
        # float64 rounding of sums of 8 terms
        expected = torch.nn.functional.rms_norm(x, (8,), gain, 1e-6)
        assert torch.allclose(fused.NormalizedRows.apply(x, gain, 1e-6), expected, atol=1e-13)

    def test_heads_gradients_are_those_of_finite_differences(self):
        generator = torch.Generator().manual_seed(0)
        qkv = torch.randn(2, 4, 24, dtype=torch.float64, generator=generator, requires_grad=True)
        turns = fused.turns(4, 2, 4, 10_000.0, torch.float64)
        assert torch.autograd.gradcheck(lambda x: fused.TurnedHeads.apply(x, turns, 2), (qkv,))

    def test_products_are_those_of_float64(self):
        """Float32 rounds at 6e-8 a term; sums of 200 terms of size 1 stay within 1e-4."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(3, 70, 96, generator=generator, requires_grad=True)
        weight = torch.randn(200, 96, generator=generator, requires_grad=True)
        pull = torch.randn(3, 70, 200, generator=generator)
        assert fused.product_pays(x) is fused.has_onednn()
        if not fused.has_onednn():
            pytest.skip("PyTorch has no oneDNN for this processor")
        made = fused.Product.apply(x, weight)
        own = [made, *torch.autograd.grad((made * pull).sum(), (x, weight))]
        wide_x, wide_weight = (t.detach().double().requires_grad_() for t in (x, weight))
        exact = torch.nn.functional.linear(wide_x, wide_weight)
        exact_grads = torch.autograd.grad((exact * pull).sum(), (wide_x, wide_weight))
        for one, true in zip(own, [exact, *exact_grads], strict=True):
            assert one.dtype is torch.float32
            assert torch.allclose(one.double(), true, rtol=0, atol=1e-4)

    def test_other_precisions_keep_their_own_products(self):
        x = torch.randn(2, 4, 8)
        assert not fused.product_pays(x.double())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert not fused.product_pays(x)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_whole_model_equals_the_plain_formulas(self, monkeypatch, dtype):
        tokens = random_tokens(3, 17)

        def losses_and_gradients():
            model = Decoder(SHAPE).to(dtype)
            losses = next_token_losses(model(tokens[:, :-1]), tokens[:, 1:])
            losses.sum().backward()
            return losses, [weight.grad for weight in model.parameters()]

        losses, gradients = losses_and_gradients()
        monkeypatch.setattr(fused, "pays", lambda x: False)
        plain_losses, plain_gradients = losses_and_gradients()
        # rounding of two layers, with the tables of both in float32
        near = {"rtol": 2e-5, "atol": 2e-6}
        assert torch.allclose(losses, plain_losses, **near)
        for own, plain in zip(gradients, plain_gradients, strict=True):
            assert torch.allclose(own, plain, **near)
