"""Mixing: the share is met, runs are coupled, and pure ratios are pure."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.data.epochs import RunOrder, preferred_order
from probes.data.sampling import batch, domain_epochs, evaluation_indices
from probes.data.shards import pack
from probes.data.thresholds import domain_sequences, domain_slots, thresholds

ratios = st.floats(0, 1)
seeds = st.integers(0, 2**40)

# token = 1000 * corpus + sequence, so every token tells where it came from
GENERAL = np.repeat(np.arange(50, dtype=np.uint16)[:, None], 5, axis=1)
DOMAIN = np.repeat(np.arange(1000, 1030, dtype=np.uint16)[:, None], 5, axis=1)

# the sequences and thresholds of step 3, batches of 4, 1000 sequences, seed 7
GOLDEN_ORDER = [84, 649, 502, 790]
GOLDEN_THRESHOLDS = [0.4507455471321009, 0.7007455471321009, 0.2007455471321009, 0.9507455471321009]


def sources(step, ratio, seed=0, batch_size=8):
    tokens, num_domain = batch(
        step, GENERAL, DOMAIN, batch_size=batch_size, domain_ratio=ratio, stage="probe", seed=seed
    )
    assert (tokens[:, 0] >= 1000).sum() == num_domain
    return tokens[:, 0]


class TestPacking:
    def test_every_token_but_the_first_is_predicted_once(self):
        stream = np.arange(31, dtype=np.uint16)
        packed = pack(stream, sequence_length=6)
        assert packed[:, 1:].ravel().tolist() == list(range(1, 31))
        assert np.array_equal(packed[:, :-1] + 1, packed[:, 1:])

    def test_rest_is_dropped(self):
        assert pack(np.arange(12), sequence_length=6).shape == (1, 7)


class TestShare:
    @given(ratios, seeds, st.integers(1, 32), st.integers(1, 300))
    def test_realized_share_follows_the_ratio(self, ratio, seed, batch_size, steps):
        realized = sum(
            int(domain_slots(step, batch_size, ratio, seed=seed).sum()) for step in range(steps)
        )
        # Kuipers & Niederreiter, Uniform Distribution of Sequences, theorem 2.3.4: for the golden
        # ratio the discrepancy of N points is at most (3 + 3.53 log N) / N
        assert abs(realized - ratio * steps * batch_size) <= 3 + 3.53 * math.log(steps) + 1e-6

    def test_one_percent_is_met_with_sixteen_slots(self):
        counts = [int(domain_slots(step, 16, 0.01, seed=0).sum()) for step in range(500)]
        assert abs(sum(counts) - 80) <= 2
        assert set(counts) == {0, 1}

    @given(ratios, seeds, st.integers(0, 10**6))
    def test_one_step_is_within_one_slot(self, ratio, seed, step):
        count = domain_slots(step, 16, ratio, seed=seed).sum()
        assert abs(count - 16 * ratio) < 1 + 1e-9

    def test_every_slot_gets_its_turn(self):
        hits = sum(domain_slots(step, 16, 0.25, seed=3).astype(int) for step in range(800))
        # 200 expected in every slot; five standard deviations of a binomial
        assert np.abs(hits - 200).max() < 5 * math.sqrt(800 * 0.25 * 0.75)

    @given(seeds, st.integers(0, 10**9), st.integers(1, 4096))
    def test_ratio_0_has_no_domain_and_ratio_1_no_general_slot(self, seed, step, batch_size):
        u = thresholds(step, batch_size, seed=seed)
        assert u.min() >= 0
        assert u.max() < 1
        assert not domain_slots(step, batch_size, 0.0, seed=seed).any()
        assert domain_slots(step, batch_size, 1.0, seed=seed).all()

    def test_pure_ratios_take_from_one_corpus(self):
        for step in range(20):
            assert (sources(step, 0.0) < 1000).all()
            assert (sources(step, 1.0) >= 1000).all()

    @given(ratios, seeds, st.integers(0, 60), st.integers(1, 40))
    def test_draws_are_counted_without_drawing(self, ratio, seed, step, batch_size):
        slots = [domain_slots(before, batch_size, ratio, seed=seed) for before in range(step)]
        assert domain_sequences(step, batch_size, ratio, seed=seed) == sum(
            int(s.sum()) for s in slots
        )

    @pytest.mark.parametrize("batch_size", [3, 10, 49])
    def test_counts_are_exact_where_a_threshold_is_the_ratio(self, batch_size):
        for ratio in thresholds(5, batch_size, seed=1):
            expected = sum(domain_slots(t, batch_size, ratio, seed=1).sum() for t in range(6))
            assert domain_sequences(6, batch_size, ratio, seed=1) == expected


def run_rows(ratio, steps, size, batch_size=8, seed=0, corpus="domain", stage="probe"):
    """Return the sequence of every slot of a run's first steps, -1 in those of the other corpus."""
    order = RunOrder(size, batch_size, ratio, corpus=corpus, stage=stage, seed=seed)
    return np.concatenate([order.rows(step) for step in range(steps)])


class TestCoupling:
    @given(ratios, ratios, seeds, st.integers(0, 2))
    def test_larger_ratio_only_turns_general_slots_into_domain(self, a, b, seed, step):
        # three steps of 8 are fewer slots than either corpus has sequences
        low, high = sorted((a, b))
        fewer, more = sources(step, low, seed), sources(step, high, seed)
        kept_domain = fewer >= 1000
        assert np.array_equal(fewer[kept_domain], more[kept_domain])
        kept_general = more < 1000
        assert np.array_equal(fewer[kept_general], more[kept_general])

    def test_a_pool_that_is_never_used_up_gives_one_order(self):
        # 100 slots of 100 sequences: whatever the ratio, the sequence of a slot is the same
        order = run_rows(1.0, 10, 100, batch_size=10)
        assert sorted(order) == list(range(100))
        for ratio in (0.1, 0.35, 0.9):
            rows = run_rows(ratio, 10, 100, batch_size=10)
            assert np.array_equal(rows[rows >= 0], order[rows >= 0])

    def test_runs_agree_in_most_slots_when_the_pool_repeats(self):
        agreement = []
        for low, high in ((0.1, 0.2), (0.25, 0.4), (0.5, 0.75), (0.7, 0.8), (0.9, 1.0)):
            rows = {r: run_rows(r, 400, 400, seed=3) for r in (low, high)}
            both = rows[low] >= 0
            agreement.append((rows[low] == rows[high])[both].mean())
        # 0.79 over many pairs and seeds; cursors of their own would agree in 1 of 400
        assert np.mean(agreement) > 0.74

    def test_quarters_and_halves_of_the_slots_never_depart(self):
        rows = {ratio: run_rows(ratio, 512, 512, seed=5) for ratio in (0.25, 0.5)}
        both = rows[0.25] >= 0
        # blocks begin and end anywhere in the golden sequence, so a slot or two may differ
        assert (rows[0.25] == rows[0.5])[both].mean() > 0.99

    def test_seeds_differ(self):
        assert not np.array_equal(sources(0, 0.5, seed=0), sources(0, 0.5, seed=1))

    def test_a_probe_does_not_repeat_the_order_of_its_base(self):
        base = run_rows(0.0, 5, 50, corpus="general", stage="base")
        assert not np.array_equal(base, run_rows(0.0, 5, 50, corpus="general"))

    def test_blocks_are_orders_of_their_own(self):
        orders = [preferred_order(n, 500, 8, stream="probe/domain", seed=0) for n in range(4)]
        for order in orders:
            assert sorted(order) == list(range(500))
        for one, other in ((0, 1), (1, 2), (0, 2), (2, 3)):
            # two random orders of 500 agree in one place on average (Poisson)
            assert (orders[one] == orders[other]).sum() < 12


class TestEpochs:
    @settings(max_examples=40)
    @given(
        ratios,
        seeds,
        st.integers(1, 60),
        st.integers(1, 16),
        st.sampled_from(["domain", "general"]),
    )
    def test_every_sequence_once_before_any_repeats(self, ratio, seed, size, batch_size, corpus):
        rows = run_rows(ratio, 40, size, batch_size, seed, corpus)
        drawn = rows[rows >= 0]
        is_domain = np.concatenate(
            [domain_slots(step, batch_size, ratio, seed=seed) for step in range(40)]
        )
        assert np.array_equal(rows >= 0, is_domain == (corpus == "domain"))
        for start in range(0, len(drawn), size):
            epoch = drawn[start : start + size]
            assert len(set(epoch.tolist())) == len(epoch)

    @settings(max_examples=25)
    @given(st.floats(0.02, 1), st.integers(5, 70), st.lists(st.integers(0, 39), max_size=3))
    def test_any_step_can_be_asked_alone(self, ratio, size, steps):
        rows = run_rows(ratio, 40, size).reshape(40, 8)
        asked = RunOrder(size, 8, ratio, corpus="domain", stage="probe", seed=0)
        for step in steps:
            alone = RunOrder(size, 8, ratio, corpus="domain", stage="probe", seed=0)
            assert np.array_equal(alone.rows(step), rows[step])
            assert np.array_equal(asked.rows(step), rows[step])

    def test_epochs_have_orders_of_their_own(self):
        drawn = run_rows(1.0, 25, 100)
        assert not np.array_equal(drawn[:100], drawn[100:])

    def test_batch_takes_the_rows_of_both_corpora(self):
        for step in (0, 7, 30):
            tokens, _ = batch(
                step, GENERAL, DOMAIN, batch_size=8, domain_ratio=0.4, stage="probe", seed=2
            )
            domain = run_rows(0.4, step + 1, 30, seed=2)[-8:]
            general = run_rows(0.4, step + 1, 50, seed=2, corpus="general")[-8:]
            expected = np.where(domain >= 0, 1000 + domain, general)
            assert np.array_equal(tokens, np.repeat(expected[:, None], 5, axis=1))

    def test_draws_never_change(self):
        # written down once: a change here would change every published number
        order = RunOrder(1000, 4, 1.0, corpus="domain", stage="probe", seed=7)
        assert order.rows(3).tolist() == GOLDEN_ORDER
        assert thresholds(3, 4, seed=7).tolist() == GOLDEN_THRESHOLDS

    def test_domain_epochs(self):
        assert domain_epochs(8_000_000, 0.25, 500_000) == 4.0

    def test_evaluation_choice_is_fixed_and_has_no_repeats(self):
        chosen = evaluation_indices(40, 10, corpus="domain")
        assert len(set(chosen.tolist())) == 10
        assert np.array_equal(chosen, evaluation_indices(40, 10, corpus="domain"))
