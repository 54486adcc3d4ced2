"""The section ``agent`` of the experiment: Questioner, LLM, Selector, and what they may cost."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from components.contracts.section import Fraction, Positive, Section

PACKAGED = "minilm"
"""The text encoder that comes with the installation."""


class Price(Section):
    """What a model charges per million tokens, in any one currency."""

    prompt: Annotated[float, Field(ge=0)]
    completion: Annotated[float, Field(ge=0)]

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the money for these tokens, to a millionth."""
        return round((prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6, 6)


class AgentConfig(Section):
    """Questioner, LLM and Selector.

    ``provider``: ``offline`` answers from the written priors named by ``priors`` (a file of
    ``components/agent/offline/priors``, or the path of a YAML file of the same form), ``openai`` asks the
    OpenAI-compatible endpoint at ``base_url``; the key comes from the environment variable ``OPENAI_API_KEY`` only.
    ``structured_output``: ``schema`` demands the JSON schema of the server, ``text`` asks for it in words, ``auto``
    begins with the schema and goes on in words where the server has none. ``parameters`` are sent along as they are
    (``temperature``, ``seed``, ``max_tokens`` …); one that the server rejects by name is left out from then on. At most
    ``concurrency`` requests are under way at once, fewer while the endpoint is overloaded (answers that take longer
    than ``timeout_s``, status 429 or 503).

    The Questioner keeps, per class, the ``top_k`` classes most confused with it whose confusions number at
    least ``min_count`` and make up at least ``min_share`` of its samples. A class that was told apart before
    is asked about again if the shares of its confusions have changed by more than ``material_change`` in
    sum. A round sends at most ``max_requests`` requests, repair turns and retries included, and
    stays within ``max_tokens`` and ``max_cost``, which needs the model among ``prices``.

    Of classes that nobody says anything about, from round 1 on the joints that separate them best in the training data
    are critical: written priors come before these, and an LLM's answers before both. ``tell``: what an LLM is told of a
    confused class: ``confusions`` that it is, ``evidence`` also where the network looks and which joints separate the
    two best.

    ``joints``: ``moving`` takes new critical joints with every answer; with ``fixed`` a class's first ones stay, and
    only the descriptions move. ``joint_weights``: ``binary`` gives every critical joint the weight 1,
    ``agreement`` the share of the class's answers so far, its prior among them, that named it.

    ``encoder`` embeds the descriptions: ``minilm`` comes with the installation; anything else is the folder (a path
    or ``s3://`` URI) of an ONNX sentence encoder: ``tokenizer.json`` and ``model.onnx``.
    """

    provider: Literal["offline", "openai"] = "offline"
    priors: str | None = None
    model: str = "gpt-4o"
    base_url: str | None = None
    structured_output: Literal["auto", "schema", "text"] = "auto"
    parameters: dict[str, bool | int | float | str] = {}
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    concurrency: Positive = 16
    top_k: Positive = 3
    min_count: Positive = 1
    min_share: Fraction = 0.0
    material_change: Annotated[float, Field(ge=0)] = 0.05
    max_requests: Positive = 1000
    max_tokens: Positive | None = None
    max_cost: Annotated[float, Field(gt=0)] | None = None
    prices: dict[str, Price] = {}
    tell: Literal["confusions", "evidence"] = "evidence"
    joints: Literal["fixed", "moving"] = "moving"
    max_joints: Positive = 12
    joint_weights: Literal["binary", "agreement"] = "binary"
    encoder: Annotated[str, Field(min_length=1)] = PACKAGED

    @field_validator("parameters")
    @classmethod
    def _not_ours(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        ours = {"model", "messages", "response_format", "stream", "n"} & parameters.keys()
        if ours:
            raise ValueError(f"{', '.join(sorted(ours))}: set by the agent itself")
        return parameters

    @model_validator(mode="after")
    def _complete(self) -> AgentConfig:
        if self.max_cost is not None and self.model not in self.prices:
            raise ValueError(f"max_cost: needs the price of model {self.model!r} in prices")
        return self
