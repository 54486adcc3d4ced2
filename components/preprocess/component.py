"""The preprocess stage as a KFP component."""

from kfp import dsl

from components.runtime.task import image


@dsl.component(base_image=image("preprocess"), install_kfp_package=False)
def preprocess(data: str, data_sha256: str, stage: str, code: str, dataset: dsl.Output[dsl.Dataset]):
    """Pack skeletons into a dataset.

    Args:
        data: Path or URI of the source: a pickle, a folder or an archive.
        data_sha256: Its SHA-256; empty: whatever is there. A cached result is only as fresh as this.
        stage: Configuration of the stage (JSON).
        code: Digest of the stage's source, so that the cache knows a change of code.
        dataset: Every sample packed, or listed in skipped.jsonl with its reason.
    """
    from components.runtime.task import describe, task

    with task("preprocess", "preprocess", code):
        from pathlib import Path

        from components.contracts.config import DataConfig, parse_section
        from components.preprocess import core
        from components.runtime.cli import Exchange

        config = parse_section(DataConfig, stage)
        with Exchange() as exchange:
            core.preprocess(exchange.input(data), config, Path(dataset.path), expected_sha256=data_sha256 or None)
        dataset.metadata.update(describe(dataset.path))
