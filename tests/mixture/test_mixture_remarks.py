"""What a fit and a plan of several corpora say about themselves."""

from known_mixtures import D

import cmrplan as cp


class TestReference:
    """The corners were probed at 0.9 of a corpus and a third of the rest of each, c0 alone is 0.1 x 2/3 away."""

    def remarks(self, fit, reference):
        plan = cp.plan_mixture(fit, train_tokens=D, protected={"c0": "60%"}, reference=reference)
        return [one for one in plan.warnings if "reference mixture" in one.message]

    def test_a_reference_far_from_the_probes_is_said(self, three):
        remarks = self.remarks(three, {"c0": 1.0})
        assert {one.code for one in remarks} == {"extrapolates_share", "extrapolates_mixture"}
        start = "the reference mixture, from which rises are counted: "
        assert all(one.message.startswith(start) for one in remarks)
        assert f"{start}7 % of the tokens would have to move" in remarks[-1].message

    def test_a_reference_among_the_probes_is_not(self, three):
        assert self.remarks(three, dict.fromkeys(three.corpora, 1 / 3)) == []

    def test_what_is_said_of_the_run_is_said_once(self, three):
        plan = cp.plan_mixture(
            three, train_tokens=2 * D, protected={"c0": "60%"}, reference={"c0": 1.0}
        )
        assert [one.code for one in plan.warnings].count("extrapolates_tokens") == 1
