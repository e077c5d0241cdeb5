"""A writer that is killed at any moment leaves the file of before or the file of after, whole."""

import os
import random
import signal
import subprocess
import sys
import time

WRITER = """
import sys
from cmrplan.files import atomic_write
path, sizes = sys.argv[1], (200_000, 300_000)
print("ready", flush=True)
while True:
    for letter, size in zip("ab", sizes):
        with atomic_write(path) as temporary:
            temporary.write_text(letter * size)
"""
KILLS = 8


def test_a_file_is_whole_after_every_kill(tmp_path):
    path, generator = tmp_path / "fit.json", random.Random(0)
    whole = {"a" * 200_000, "b" * 300_000}
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()
        while not path.exists():
            time.sleep(0.001)
        time.sleep(generator.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert path.read_text() in whole
    others = {file.name for file in tmp_path.iterdir()} - {path.name}
    assert all(name.startswith(".cmrplan-") for name in others)
