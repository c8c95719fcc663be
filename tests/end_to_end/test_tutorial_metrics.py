"""docs/tutorial-metrics.md is true: its commands run in order on a stack of their own, and show what it says."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.broker
@pytest.mark.timeout(400)
def test_the_commands_of_the_metrics_tutorial_show_one_incident_in_its_order(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "tutorial-metrics.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) == 5
    python = shlex.quote(sys.executable)
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]),
        "STRATA_DATA_DIR": str(tmp_path / "data"),
        "STRATA_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}",
        "STRATA_CLICKHOUSE_HTTP_PORT": str(free_port()),
        "STRATA_CONSOLE_PORT": str(free_port()),
    }

    def bash(script: str) -> str:
        script = re.sub(r"\.venv/bin/(python|strata)\b", lambda m: python + (" -m deploy.cli" if m[1] == "strata" else ""), script)
        done = subprocess.run(["bash", "-ec", script], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    try:
        bash(blocks[0])
        bash(blocks[1])
        count = "SELECT count() FROM predictions WHERE session_id = 'shop' AND task = 'forecast'"
        bash(f'for i in $(seq 100); do .venv/bin/strata query "{count}" --json | grep -q 2160 && exit 0; sleep 1; done; exit 1')
        shown = bash(blocks[2])
        final = shown[shown.index("final") :]
        assert shown.count("final") == 1
        assert final.count("2026-01-01T10:00:00Z") == 1
        assert "2026-01-01T10:29:00Z" in final
        assert re.search(r"db\.query\.duration.*queue\.length.*orders", final, re.S)
        assert "db.query.duration" in bash(blocks[3])
        assert "contributions" in bash(blocks[4])
    finally:
        subprocess.run([sys.executable, "-m", "deploy.cli", "down"], env=environ, cwd=tmp_path, capture_output=True, timeout=60)
