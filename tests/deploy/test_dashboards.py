"""The Grafana dashboard is what its list of panels says, and each of its statements runs."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "dashboards"
COMPOSE = FOLDER.parent / "console.compose.yaml"


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / "strata.json").read_text(encoding="utf-8"))
    return loaded


def test_the_file_is_what_its_panels_say() -> None:
    assert runpy.run_path(str(FOLDER / "make.py"))["text"]() == (FOLDER / "strata.json").read_text(encoding="utf-8"), (
        "run deploy/dashboards/make.py"
    )


def test_panels_do_not_overlap_and_fit_the_grid(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_source_and_the_folder_are_those_that_are_provisioned(dashboard: dict[str, Any]) -> None:
    (source,) = yaml.safe_load((FOLDER / "provisioning/datasources/strata.yaml").read_text())["datasources"]
    used = {json.dumps(t["datasource"], sort_keys=True) for p in dashboard["panels"] for t in p["targets"]}
    assert used == {json.dumps({"type": source["type"], "uid": source["uid"]}, sort_keys=True)}
    (provider,) = yaml.safe_load((FOLDER / "provisioning/dashboards/strata.yaml").read_text())["providers"]
    grafana = yaml.safe_load(COMPOSE.read_text())["services"]["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    assert mounts["./deploy/dashboards/strata.json"].startswith(provider["options"]["path"] + "/")
    assert all((FOLDER.parents[1] / source).exists() for source in mounts)
    assert {"host", "port", "username", "protocol"} <= source["jsonData"].keys()


def test_the_added_services_are_pinned_open_to_this_machine_only_and_hold_no_secret() -> None:
    for name, service in yaml.safe_load(COMPOSE.read_text())["services"].items():
        assert re.search(r":\d+\.\d+\.\d+$", service["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        secrets = {k: v for k, v in service["environment"].items() if re.search("SECRET|PASSWORD", k)}
        assert secrets, name
        assert all(str(v).startswith("${") and ":?" in v for v in secrets.values())
