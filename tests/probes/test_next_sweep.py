"""A sweep file made of the planner's probes: accepted, with the right size, and only the runs that are new."""

from dataclasses import replace

import pytest
import yaml

from cmrplan.design.next_probes import NextProbe
from cmrplan.errors import InputError
from probes.data.prepared import DataIdentity
from probes.models.source import count_params
from probes.next_sweep import sizes_of, sweep_of
from probes.planned_probes import planned_probes
from probes.planned_runs import model_source, sweep_settings
from probes.spec.file import parse_spec, read_spec, spec_text, with_sources_below
from probes.spec.sizes import CheckpointSpec


def probe(model_params):
    return NextProbe(
        domain_ratio=0.62,
        model_params=model_params,
        train_tokens=64 * 96,
        seed=0,
        cost=1.0,
        width_after=0.1,
    )


def test_the_sweep_has_the_new_runs_and_the_controls_of_the_old(spec):
    count = count_params(model_source(spec.sizes[0], 257))
    for known, is_total in ((count.non_embedding, False), (count.total, True)):
        new_spec = sweep_of(spec, [probe(known)], is_total=is_total)
        assert parse_spec(yaml.safe_load(spec_text(new_spec))) == new_spec
        data = DataIdentity("d", "bytes", 257)
        (_, before), (_, after) = (sweep_settings(s, data) for s in (spec, new_spec))
        new = {run.run_id for run in after} - {run.run_id for run in before}
        (new_run,) = (run for run in after if run.run_id in new)
        assert (new_run.size, new_run.domain_ratio, new_run.steps) == ("nano", 0.62, 96)


def test_a_size_that_the_sweep_lacks_is_named(spec):
    with pytest.raises(
        InputError, match=r"no size of 5e\+06 .*, counted without embeddings: nano with"
    ):
        sweep_of(spec, [probe(5e6)], is_total=False)


def test_of_two_sizes_whose_counts_meet_the_one_that_the_log_means_is_trained(spec):
    """With embeddings, the small size has what the two others, as near each other, have without."""
    small = spec.sizes[0].model_copy(
        update={"name": "small", "width": 32, "layers": 1, "heads": 2, "feedforward": 64}
    )
    large = small.model_copy(update={"name": "large", "feedforward": 149})
    near = large.model_copy(update={"name": "near", "feedforward": 150})
    spec = spec.model_copy(update={"sizes": [small, large, near]})
    counts = {size.name: count_params(model_source(size, 257)) for size in spec.sizes}
    total = counts["small"].total
    assert abs(total / counts["large"].non_embedding - 1) < 0.01
    for name in counts:
        (run,) = sweep_of(spec, [probe(counts[name].non_embedding)], is_total=False).probes.runs
        assert run.size == name
        (run,) = sweep_of(spec, [probe(counts[name].total)], is_total=True).probes.runs
        assert run.size == name


def test_the_sweep_trains_the_probes_and_the_controls_that_were_counted(spec):
    count = count_params(model_source(spec.sizes[0], 257)).non_embedding
    before = set(planned_probes(spec))
    for seed, missing in ((0, set()), (9, {0.0, 1.0})):
        new_spec = sweep_of(spec, [replace(probe(count), seed=seed)], is_total=False)
        added = set(planned_probes(new_spec)) - before
        assert {run.domain_ratio for run in added} == {0.62} | missing
        controls = [run for run in added if run.domain_ratio != 0.62]
        assert {run.train_tokens for run in controls} <= {spec.probes.train_tokens}


def test_sources_beside_the_sweep_file_name_no_folder_of_the_machine(spec, tmp_path):
    def with_source(source):
        corpus = spec.corpora.domain.model_copy(update={"source": source})
        return spec.model_copy(
            update={"corpora": spec.corpora.model_copy(update={"domain": corpus})}
        )

    path = tmp_path / "next.yaml"
    for source, written in (
        (f"{tmp_path}/texts/law", "texts/law"),
        (f"{tmp_path}-2/texts", f"{tmp_path}-2/texts"),
        ("datasets:owner/name", "datasets:owner/name"),
        ("embedded:python-code", "embedded:python-code"),
    ):
        asked = with_source(source)
        path.write_text(spec_text(with_sources_below(asked, tmp_path)))
        assert yaml.safe_load(path.read_text())["corpora"]["domain"]["source"] == written
        assert read_spec(path) == asked


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("models/law", "./models/law"),
        ("../models/law", "./../models/law"),
        ("/srv/law", "/srv/law"),
        ("owner/law", "owner/law"),
    ],
)
def test_a_checkpoint_below_the_sweep_file_names_no_folder_of_the_machine(
    spec, tmp_path, given, written
):
    (tmp_path / "models" / "law").mkdir(parents=True)
    size = CheckpointSpec(name="law", checkpoint=given)
    path = tmp_path / "sweep.yaml"
    sizes = [*spec.sizes, size]
    path.write_text(spec_text(spec.model_copy(update={"sizes": sizes})))
    asked = read_spec(path)
    path.write_text(spec_text(with_sources_below(asked, tmp_path)))
    assert yaml.safe_load(path.read_text())["sizes"][1]["checkpoint"] == written
    assert read_spec(path).sizes == asked.sizes


def test_the_sizes_of_a_sweep_can_be_probed(spec):
    count = count_params(model_source(spec.sizes[0], 257))
    assert sizes_of(spec, is_total=False) == (count.non_embedding,)
    assert sizes_of(spec, is_total=True) == (count.total,)
