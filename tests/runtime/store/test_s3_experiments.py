"""The experiment of a run on a cluster, where it lies in the bucket."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from small_experiment import CONFIG

from components.contracts.errors import InputError
from components.runtime.experiments import read_experiment_of_run
from components.runtime.store import store_for


def test_an_experiment_is_read_from_the_bucket_and_its_content_checked(prefix: str, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(CONFIG)
    uri = f"{prefix}/my.yaml"
    store_for(uri).publish(tmp_path / "my.yaml", uri)
    expected = sha256(CONFIG.encode()).hexdigest()
    assert read_experiment_of_run(uri, {"seed": 3}).seed == 3
    assert read_experiment_of_run(f"{uri}@sha256:{expected}", {}).name == "small"
    with pytest.raises(InputError, match=rf"my\.yaml: SHA-256 {expected} found, {'0' * 64} expected"):
        read_experiment_of_run(f"{uri}@sha256:{'0' * 64}", {})
    with pytest.raises(InputError, match=r"absent\.yaml"):
        read_experiment_of_run(f"{prefix}/absent.yaml", {})
