"""Bundles, label sets, sessions and answers of a model hub that are wrong in any way: success, or a line of error.

MUJO_FUZZ_CASES sets how many cases are tried (120; the large profile has 10,000), MUJO_FUZZ_SEED which.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from generated_motion import ROOT

KINDS = ("bundle", "labels", "session", "hub")
CASES = int(os.environ.get("MUJO_FUZZ_CASES", "120")) // len(KINDS)
SEED = os.environ.get("MUJO_FUZZ_SEED", "0")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.timeout(60 + CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_hostile_input_ends_in_success_or_a_line_of_error(kind: str, tmp_path: Path) -> None:
    """Each within 10 s and 512 MB, with nothing outside its folder and no control character on the terminal."""
    script = ROOT / "tests" / "mujo_edge" / "hostile_cases.py"
    done = subprocess.run(
        [sys.executable, str(script), kind, SEED, str(CASES), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    codes = json.loads(done.stdout.splitlines()[-1])["codes"]
    assert sum(codes.values()) == CASES
    assert {"0", "4"} <= set(codes)  # some are still good, most are not
