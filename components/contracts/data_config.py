"""The ``data`` section: what the input holds and how it becomes the data set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from unicodedata import category

from pydantic import Field, field_validator, model_validator

from components.contracts.errors import InputError
from components.contracts.section import Fraction, Positive, Section
from components.contracts.skeleton import Layout, inline_layout, is_layout_path, load_layout, read_layout

LONGEST_CLASS_NAME = 200
Format = Literal["auto", "pyskl", "kinetics", "ntu", "uav", "ucla", "arrays", "folder", "clips"]
Code = Literal[
    "labels-from-1",
    "labels-outside",
    "class-without-training",
    "class-without-test",
    "joint-order",
    "upside-down",
    "up-axis",
    "shares-of-image",
    "outside-image",
    "score-as-depth",
    "not-metres",
    "empty-frames",
    "gaps-filled",
    "ids-differ",
    "leak",
]
"""What can be doubtful about data; see ``components.preprocess.inspect``."""


AXES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "+x": ((0, 0, -1), (0, 1, 0), (1, 0, 0)),
    "-x": ((0, 0, 1), (0, 1, 0), (-1, 0, 0)),
    "+y": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "-y": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "+z": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "-z": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
}
"""Axes that may be up, and the rotation that turns each to z."""
Axis = Literal["+x", "-x", "+y", "-y", "+z", "-z"]


class Protocol(Section):
    """A named pair of splits and what to call it in the report."""

    train: str
    test: str
    label: str = ""


class MadeSplit(Section):
    """Splits ``<name>_train`` and ``<name>_val`` that the input lacks, made of ids and labels alone.

    ``by: subject``: the samples of the subjects ``test`` are the test split. A sample's subject is what the input's
    list of labels says, or the group of the regular expression ``subject`` in its id. ``by: random``: of every class,
    a share ``test_share`` of the samples; ``seed`` draws another one. The same ids give the same splits, whatever
    their order. ``by: leaks``: of two other splits, named by ``of`` (training, test; of the input, or made by subject
    or at random), the first as it is, and the second without the samples that are byte-equal to one of the first.
    """

    by: Literal["subject", "random", "leaks"] = "random"
    subject: str = ""
    test: tuple[str, ...] = ()
    of: tuple[str, str] | None = None
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> MadeSplit:
        if self.by == "subject" and not self.test:
            raise ValueError("test: by subject needs the subjects of the test split")
        if (self.by == "leaks") != (self.of is not None):
            raise ValueError("of: by leaks, and only then, needs two other splits, [training, test]")
        try:
            groups = re.compile(self.subject).groups
        except re.error as error:
            raise ValueError(f"subject: found {self.subject!r}, not a regular expression: {error}") from None
        if self.subject and groups != 1:
            raise ValueError(f"subject: found {groups} groups in {self.subject!r}, expected one, such as 's([0-9]+)'")
        return self


class KineticsConfig(Section):
    """How the skeletons of a Kinetics index become persons; the defaults are the reference's.

    ``box_threshold``: leave out skeletons whose detection scored less; ``valid_ratio``: leave out training
    samples with a smaller share of frames that then have a skeleton; ``squeeze``: leave out frames without one.
    """

    box_threshold: Fraction | None = None
    valid_ratio: Fraction = 0.0
    squeeze: bool = True


class DataConfig(Section):
    """What the input holds and how it is normalised. Everything that ``preprocess`` needs.

    ``layout``: the name of a layout that ships with us, the path of a YAML file with one, or the mapping itself (see
    ``layouts/README.md``). A path is read when the experiment is; from then on the layout's JSON stands here.
    ``joints``: the joints of the input, where they are not those of the layout in its order: a list of names (the
    input's joints, in its order; those that the layout lacks are left out), a list of numbers (for each joint of the
    layout, its 0-based number in the input), or a layout whose order the input has.
    ``units`` of the coordinates: ``as_is`` (metres, or pixels), or what is turned into these. ``image_size``:
    which way round the input says it, or (height, width) where it does not. ``first_label``: that of the first class.
    ``match_ids: loose`` takes ids of splits and samples for the same that differ in case, folder or suffix.

    ``persons`` says which ``max_persons`` are kept, and in which order: those ``present`` in most frames, the one
    there longest first; or the ``first`` ones of the input, as the reference does in 2d.
    ``align`` turns bodies to the front: ``true`` by the first frame alone, upright too, as the reference; the axis of
    the input that is up (``"+y"`` as Kinect has it) turns about that one only, by the shoulders of all frames, which
    says more where a first frame is noisy or somebody bends.
    ``fill_gaps``: a joint that is NaN, or in 3d lost (exactly zero), for at most so many frames in a row is
    interpolated; after a longer gap of NaN a sample is refused. ``accept``: doubts in spite of which to go on.
    ``format``: ``auto`` looks at the input; ``clips`` are without labels; ``kinetics`` counts for that format only.
    """

    layout: str
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    dimensions: Literal["3d", "2d+score"] = "3d"
    joints: str | tuple[str | int, ...] | None = None
    units: Literal["as_is", "centimetres", "millimetres", "shares"] = "as_is"
    image_size: Literal["height_width", "width_height"] | tuple[Positive, Positive] = "height_width"
    first_label: int = 0
    match_ids: Literal["exact", "loose"] = "exact"
    max_persons: Positive = 1
    persons: Literal["present", "first"] = "present"
    normalisation: Literal["body", "image", "none"] = "body"
    align: bool | Axis = False
    fill_gaps: Annotated[int, Field(ge=0)] = 5
    splits: dict[str, MadeSplit] = {}
    protocols: Annotated[dict[str, Protocol], Field(min_length=1)]
    protocol: str
    format: Format = "auto"
    kinetics: KineticsConfig = KineticsConfig()
    accept: tuple[Code, ...] = ()

    @field_validator("layout", mode="before")
    @classmethod
    def _known_layout(cls, found: Any) -> Any:
        if not isinstance(found, str | dict):
            return found
        try:
            if isinstance(found, dict):
                return inline_layout(found)
            load_layout(found)
        except InputError as error:
            raise ValueError(str(error)) from None
        return found

    @field_validator("classes")
    @classmethod
    def _names_of_one_line(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for label, name in enumerate(names):
            if problem := problem_of_name(name):
                raise ValueError(f"class {label}: found {name[:LONGEST_CLASS_NAME]!a}, {problem}")
        return names

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        if self.protocol not in self.protocols:
            raise ValueError(f"protocol: found {self.protocol!r}, expected one of {', '.join(self.protocols)}")
        if self.dimensions == "2d+score" and (self.normalisation == "body" or self.align):
            raise ValueError("normalisation 'body' and 'align' need dimensions '3d'; use 'image' for 2d+score")
        if self.persons == "first" and self.normalisation == "body":
            raise ValueError("normalisation 'body' moves the main person to the origin and needs persons 'present'")
        if self.dimensions == "3d" and self.normalisation == "image":
            raise ValueError("normalisation 'image' needs dimensions '2d+score'")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes: a name stands twice")
        if (self.units == "shares") != (self.dimensions == "2d+score") and self.units != "as_is":
            raise ValueError(
                f"units: found {self.units!r} with dimensions {self.dimensions!r}: shares are 2d, lengths 3d"
            )
        self._check_joints()
        return self

    def _check_joints(self) -> None:
        try:
            order = self.joint_order
        except InputError as error:
            raise ValueError(str(error)) from None
        if order is not None and (len(set(order)) < len(order) or min(order) < 0):
            raise ValueError("joints: a number stands twice or is negative")

    @property
    def chosen(self) -> Protocol:
        """The protocol in use."""
        return self.protocols[self.protocol]

    @property
    def skeleton(self) -> Layout:
        """The layout itself."""
        return load_layout(self.layout)

    @property
    def joint_order(self) -> tuple[int, ...] | None:
        """For each joint of the layout its number in the input, or None where they are the same.

        Raises:
            InputError: ``joints`` does not say where a joint of the layout stands.
        """
        if self.joints is None:
            return None
        wanted = self.skeleton.joints
        names = load_layout(self.joints).joints if isinstance(self.joints, str) else self.joints
        numbers = [name for name in names if isinstance(name, int)]
        if len(numbers) == len(names):
            if len(numbers) != len(wanted):
                raise InputError(
                    f"joints: found {len(numbers)} numbers, expected {len(wanted)}, one per joint of the layout"
                )
            return tuple(numbers)
        if numbers:
            raise InputError("joints: found names and numbers, expected one kind")
        if missing := [name for name in wanted if name not in names]:
            raise InputError(f"joints: {', '.join(missing)} of the layout missing")
        return tuple(names.index(name) for name in wanted)


def with_layouts(document: dict[str, Any], folder: Path | None) -> None:
    """Put the layouts that a document names by the path of a file into the document itself.

    Args:
        document: an experiment, not yet validated.
        folder: what relative paths start from.

    Raises:
        InputError: a file cannot be read, or holds no layout.
    """
    data = document.get("data")
    if not isinstance(data, dict):
        return
    for key in ("layout", "joints"):
        found = data.get(key)
        if isinstance(found, str) and is_layout_path(found):
            path = Path(found).expanduser()
            if not path.is_absolute() and folder is None:
                raise InputError(f"data.{key}: found the relative path {found!r}; write the layout into the experiment")
            data[key] = read_layout((folder or Path()) / path)


def problem_of_name(name: str) -> str:
    """Return what is wrong with the name of a class; empty if nothing.

    Names go into prompts, tables, logs and KFP's parameters: a line break adds lines to a prompt, and KFP takes
    ``{{$`` for a placeholder of its own.
    """
    if len(name) > LONGEST_CLASS_NAME:
        return f"at most {LONGEST_CLASS_NAME} characters expected"
    if "{{$" in name:
        return "expected a name without '{{$', which KFP replaces"
    # Spaces of all kinds and the joiners of Persian, Hindi and emoji are parts of names, though not "printable".
    visible = [character for character in name if not (category(character) == "Zs" or character in "\u200c\u200d")]
    if not visible or not all(character.isprintable() for character in visible):
        return "expected one line of printable text"
    return ""
