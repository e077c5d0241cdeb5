"""Names of runs that a page must show as text, and must not take as they are; a hundred of them, and logs of them."""

from itertools import product

import pandas as pd

import cmrplan as cp
from cmrplan.errors import InputError

HOSTILE = "</script><script>alert(1)</script>\"'&<b>"
RIGHT_TO_LEFT = "\u05e8\u05d9\u05e6\u05d4-1"
HIDDEN = "a\u202eb"  # refused in a log
FOLDER = "/home/ann/runs/x1"

CANARY = "canary"
FRAGMENTS = (
    f"$(touch {CANARY})", f"`touch {CANARY}`", f"; touch {CANARY};", f"\ntouch {CANARY}\n", f"' ; touch {CANARY} ; '",
    f'" ; touch {CANARY} ; "', f"../../{CANARY}", "--out=/tmp/x", "-rf", "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>", "\"><svg onload='alert(1)'>", "a\u202eb\u2066c", "\x1b[2J\x1b]0;x\x07", "a: b #c",
    "!!python/object/apply:os.system [x]", "&a *a <<: {{7*7}} ${x} %s", "[x](javascript:alert(1)) | ![](http://x)",
    r"\input{/etc/passwd} $x_1^2$ \\", "=cmd()|'/c calc'!A0",
)  # fmt: skip
AROUND = ("{}", "run {}", "{}\\", "'{}'", "ü{}𝛼")
NAMES = [around.format(fragment) for fragment, around in product(FRAGMENTS, AROUND)]
PLAIN = [f"name-{number:03d}" for number in range(len(NAMES))]


def log_of(names):
    """Return a log of a known law with a run for each name."""
    rows = []
    for number, name in enumerate(names):
        ratio = 0.05 + 0.9 * number / len(names)
        for tokens, (corpus, share) in product(
            (1e9, 2e9, 4e9), (("general", 1 - ratio), ("domain", ratio))
        ):
            loss = 1.8 + 0.05 / (share + 0.1) ** 0.5 + 20 / tokens**0.2
            rows.append((name, 1e8, tokens, ratio, corpus, loss))
    names = ["run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
    return pd.DataFrame(rows, columns=names)


def readable(tmp_path):
    """Return the names that a log takes; of the others it says in one printable line that it does not."""
    taken, refusals = [], []
    for name in NAMES:
        path = tmp_path / "one.csv"
        log_of([name]).to_csv(path, index=False)
        try:
            cp.read_log(path)
            taken.append(name)
        except InputError as error:
            refusals.append((name, str(error)))
    assert all(message.isprintable() for _, message in refusals)
    assert not any(name.isprintable() for name, _ in refusals)
    return taken
