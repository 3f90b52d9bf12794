"""Promise: what another broker's own tests ask of a broker over the wire, they get. The tests are those of aedes, as it is
published; `node/aedes` puts a TraceMQ process in the place of each broker that they make."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import PATIENCE_S

NODE = shutil.which("node")
HERE = Path(__file__).parent / "node"
AEDES = HERE / "node_modules" / "aedes" / "test"
pytestmark = pytest.mark.skipif(not (NODE and AEDES.exists()), reason="node or aedes is not installed")


def test_the_tests_of_aedes():
    lines = (HERE / "aedes" / "tests.txt").read_text().splitlines()
    names = [line for line in lines if not line.startswith("#")]
    files = sorted(AEDES / f"{name}.js" for name in ["client-pub-sub", "prototype-keys", "qos1", "qos2", "retain", "topics"])
    pattern = "|".join(re.escape(name) for name in names)
    command = [NODE, "--import", "./aedes/register.mjs", "--test", "--test-reporter=tap", f"--test-name-pattern=^({pattern})$"]
    ran = subprocess.run(
        [*command, *files],
        cwd=HERE,
        env={**os.environ, "TRACEMQ_BIN": os.path.abspath(os.environ["TRACEMQ_BIN"])},
        capture_output=True,
        text=True,
        timeout=6 * PATIENCE_S,
    )
    passed = {name.replace("\\#", "#") for name in re.findall(r"^ok \d+ - (.*)$", ran.stdout, re.MULTILINE) if "# SKIP" not in name}
    assert set(names) - passed == set(), ran.stdout
