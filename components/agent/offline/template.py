"""A file of priors to fill in, for the classes and the skeleton of an experiment."""

from __future__ import annotations

import json

from components.agent.offline.priors import load_priors
from components.contracts.config import Experiment
from components.contracts.skeleton import load_layout

_HEAD = """\
# What tells the classes apart: one or two sentences on the motion of each, and the joints that it shows in, the most
# telling first. A class without both has no prior. Use it with  agent: {{priors: this-file.yaml}}
# The joints:
#   {joints}
classes:
"""


def template(experiment: Experiment) -> str:
    """Return the YAML text; what the experiment's priors already say about a class stands in it."""
    layout = load_layout(experiment.data.layout)
    priors = load_priors(experiment.agent.priors)
    lines = [_HEAD.format(joints=", ".join(layout.joints))]
    for name in experiment.data.classes:
        prior = priors.find(name, layout)
        # JSON strings and lists are YAML too, whatever characters a name has.
        lines.append(f"- name: {json.dumps(name, ensure_ascii=False)}\n")
        lines.append(f"  description: {json.dumps(prior.description if prior else '', ensure_ascii=False)}\n")
        lines.append(f"  joints: [{', '.join(prior.joints if prior else ())}]\n")
    return "".join(lines)
