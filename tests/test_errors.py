"""Findings and their codes: what stands in files, and what a file with an unknown code is."""

import json

import pytest

import cmrplan as cp
from cmrplan.errors import CmrplanError, Code, Finding, InputError
from cmrplan.files import sealed


def test_a_finding_is_plain_text_in_json():
    finding = Finding(Code.FEW_SIZES, "one size")
    plain = finding.as_dict()
    assert plain == {"code": "few_sizes", "message": "one size"}
    assert type(plain["code"]) is str
    assert f"[{finding.code}]" == "[few_sizes]"


def test_a_fit_comes_back_with_codes_of_the_enum(fit_path):
    warnings = cp.read_fit(fit_path).warnings
    assert warnings
    assert all(type(finding.code) is Code for finding in warnings)


@pytest.mark.parametrize(
    "warnings",
    [[{"code": "odd_run", "message": "a run"}], [{"message": "a run"}]],
    ids=["unknown", "missing"],
)
def test_a_file_with_a_code_that_there_is_not_is_refused(fit_path, tmp_path, warnings):
    changed = json.loads(fit_path.read_text()) | {"warnings": warnings}
    del changed["checksum"]
    path = tmp_path / "fit.json"
    path.write_text(json.dumps(sealed(changed)))
    with pytest.raises(cp.InputError, match="is not a whole fit"):
        cp.read_fit(path)


@pytest.mark.parametrize("kind", [CmrplanError, InputError])
def test_a_message_is_one_line_that_moves_no_cursor(kind):
    assert str(kind("a\x1b[2Jb\u202ec\nd")) == r"a\x1b[2Jb\u202ec d"
