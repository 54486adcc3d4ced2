"""The thinking aloud of reasoning models, told from their answer. Everything before its last end is thinking.

| who | form |
|---|---|
| DeepSeek-R1, Qwen3, Phi-4, GLM, Nemotron | ``<think>…</think>``, often without the beginning: the template says it |
| Claude, EXAONE, Reflection, Seed-OSS … | ``<thinking>``, ``<thought>``, ``<reflection>``, ``<seed:think>`` … |
| Magistral | ``[THINK]…[/THINK]`` |
| Kimi | ``◁think▷…◁/think▷`` |
| gpt-oss (Harmony) | ``<|channel|>analysis<|message|>…<|channel|>final<|message|>``, also without the brackets |
| Command A | ``<|START_THINKING|>…<|END_THINKING|>`` |
| Sky-T1 | ``<|begin_of_thought|>…<|end_of_thought|>`` |
| MedGemma | ``<unused94>thought …<unused95>`` |
| Granite | ``Here is my thought process: … Here is my response:`` |
| Apriel | ``Here are my reasoning steps: … [BEGIN FINAL RESPONSE]`` |
| Ollama's terminal, Open WebUI | ``Thinking... … ...done thinking.``, ``<details type="reasoning">…</details>`` |
"""

from __future__ import annotations

import re

_WORDS = (
    "(?:think|thinking|thought|thoughts|reason|reasoning|reflection|analysis|scratchpad|inner_monologue|monologue|cot)"
)
# Each kind of bracket begins one alternative only: two megabytes of "<" must not take seconds.
_END = re.compile(
    rf"(?:<|&lt;)(?:"
    rf"\\?/\s{{0,9}}(?:\w{{1,20}}:)?{_WORDS}\s{{0,9}}(?:>|&gt;)"
    rf"|[|｜](?:\s?/\s?{_WORDS}\s?|end[_▁](?:of[_▁])?{_WORDS}|{_WORDS}[_▁]end|begin_of_solution|start_response)[|｜]>"
    r"|\|channel\|>\s{0,9}(?:final|commentary)[^\n]{0,200}?<\|message\|>"
    r"|unused95>"
    r"|(?:final_?answer|final|answer|response|solution)>"
    r")"
    rf"|\[(?:/\s?{_WORDS}\s?\]|begin final response\])"
    rf"|◁/\s?{_WORDS}\s?▷"
    r"|\.\.\.\s?done thinking\.",
    re.IGNORECASE,
)
_BEGIN = re.compile(
    rf"(?:<|&lt;)(?:"
    rf"(?:\w{{1,20}}:)?{_WORDS}(?:\s[^<>]{{0,100}})?(?:>|&gt;)"
    rf"|[|｜](?:\s?{_WORDS}\s?|(?:begin|start)[_▁](?:of[_▁])?{_WORDS}|{_WORDS}[_▁](?:begin|start))[|｜]>"
    r"|\|channel\|>\s{0,9}analysis"
    r"|unused94>"
    r'|details\s[^<>]{0,50}type="reasoning"'
    r")"
    rf"|\[\s?{_WORDS}\s?\]"
    rf"|◁\s?{_WORDS}\s?▷",
    re.IGNORECASE,
)
_DETAILS = re.compile(r'<details\s[^<>]{0,50}type="reasoning"')
_LOOKED_AT = 150_000
_SPOKEN = (
    (re.compile(r"\s*analysis", re.IGNORECASE), re.compile(r"assistant\s*(?:final|commentary)", re.IGNORECASE)),
    (re.compile(r"\s*here(?:'s| is) my thought process", re.I), re.compile(r"here(?:'s| is) my response:?", re.I)),
)
"""Forms without any bracket: they count only where the text begins as they do."""


def without_thinking(text: str) -> str:
    """Return what a model has said when it had ended thinking; empty if it never did.

    Of a text of megabytes only beginning and end are looked at: an answer that is longer than that is none.
    """
    text = text.strip()
    end = _last_end(text[-_LOOKED_AT:])
    text = text[-_LOOKED_AT:] if end else text[:_LOOKED_AT]
    end = end or _last_end(text)
    for begins, ends in _SPOKEN:
        if begins.match(text):
            end = max((found.end() for found in ends.finditer(text)), default=end)
    text = text[end:]
    unfinished = _BEGIN.search(text)
    return (text[: unfinished.start()] if unfinished else text).strip()


def _last_end(text: str) -> int:
    end = max((found.end() for found in _END.finditer(text)), default=0)
    if _DETAILS.search(text):
        end = max(end, text.rfind("</details>") + len("</details>") if "</details>" in text else 0)
    return end
