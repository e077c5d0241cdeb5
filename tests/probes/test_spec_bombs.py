"""A short spec that asks for much is refused at once, with its line or key."""

import time

import pytest
import yaml
from sweeping import tiny_values

from cmrplan.errors import InputError
from probes.spec.file import read_spec

LONGEST_SECONDS = 0.2  # of processor time, the fastest of TIMES: other tests leave work such as collecting garbage
TIMES = 3


def with_line(line):
    return f"name: tiny\n{line}\n"


def changed(**probes):
    values = tiny_values()
    values["probes"] |= probes
    return yaml.safe_dump(values)


def with_seeds(seeds):
    values = tiny_values()
    values["probes"]["grid"]["seed"] = seeds
    return values


LAUGHS = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join(9 * [f'*a{n - 1}'])}]}}\n" for n in range(1, 9)
)
TEXTS = {
    "merge keys": (LAUGHS, ["line 2", "alias"]),
    "a merge key alone": (with_line("<<: {a: 1}"), ["line 2", "merge key"]),
    "an alias to itself": (with_line("base: &a [*a]"), ["line 2", "alias"]),
    "3,000 levels of lists": (with_line(f"base: {'[' * 1500}\n{'[' * 1500}"), ["line 2", "nested"]),
    "3,000 levels of mappings": (with_line("base: " + "{a: " * 1200), ["line 2", "nested"]),
    "an integer of 5,000 digits": (with_line(f"batch_size: {'9' * 4900}"), ["line 2", "4,900"]),
    "a hexadecimal one": (with_line(f"batch_size: 0x{'f' * 4900}"), ["line 2", "number of"]),
    "200,000 seeds in one line": (
        with_line(f"seed: [{', '.join('1' * 200_000)}]"),
        ["line 2", "key 'seed'"],
    ),
    "200,000 seeds in lines": (
        with_line("seed:\n" + "- 1\n" * 200_000),
        ["line 10001", "key 'seed'"],
    ),
    "1e8 evaluations": (changed(evaluations="1e8"), ["probes.evaluations", "10000", "1e8"]),
    "1e300 tokens": (changed(train_tokens="1e300"), ["probes.train_tokens", "1e+18"]),
    "a width of 640000000": (
        yaml.safe_dump(tiny_values()).replace("width: 16", "width: 640000000"),
        ["sizes[0].width", "1048576", "640000000"],
    ),
    "a key of 1,000 letters": (with_line("k" * 1000 + ": 1"), ["unknown key 'kkkk"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_a_short_text_that_asks_for_much_is_refused_at_once(name, tmp_path):
    text, words = TEXTS[name]
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    seconds = []
    for _ in range(TIMES):
        began = time.process_time()
        with pytest.raises(InputError) as refusal:
            read_spec(path)
        seconds.append(time.process_time() - began)
    message = str(refusal.value)
    assert all(word in message for word in words), message
    assert message.startswith(str(path))
    assert len(message) < 1000
    assert "\n" not in message
    assert min(seconds) < LONGEST_SECONDS


def test_a_product_of_lists_is_refused(make_spec):
    values = with_seeds(list(range(400)))
    values["probes"]["grid"]["domain_ratio"] = [n / 300 for n in range(300)]
    with pytest.raises(InputError, match=r"300 ratios, 400 seeds and 1 sizes are 120,000 probes"):
        make_spec(values)


def test_a_sweep_of_10_000_runs_is_read(make_spec):
    values = with_seeds(list(range(500)))
    values["probes"]["grid"]["domain_ratio"] = [n / 20 for n in range(20)]
    assert len(make_spec(values).probes.grid.seed) == 500
