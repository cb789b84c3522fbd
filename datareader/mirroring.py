"""Labels that mean something else in a mirror: Something-Something's six that say left or right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from datareader.lists import class_key, class_names_of
from utils.errors import UserError

if TYPE_CHECKING:
    from configs.schema import Config  # a reading process starts faster without

# "Plugging something into something but pulling it right out" and "upright" say nothing of a side, so the texts are
# listed; they are the same in both versions of the data set, their labels are not.
SIDED_TEXTS = (
    "Pulling something from left to right",
    "Pulling something from right to left",
    "Pushing something from left to right",
    "Pushing something from right to left",
    "Turning the camera left while filming something",
    "Turning the camera right while filming something",
)
_OTHER_SIDE = {"left": "right", "right": "left"}


def mirrored_text(text: str) -> str:
    """The text with the words left and right exchanged."""
    return re.sub(r"\b(left|right)\b", lambda match: _OTHER_SIDE[match[0]], text)


def mirror_pairs(class_names: Sequence[str]) -> dict[int, int]:
    """label -> the label of its mirror image, for the six labels of SIDED_TEXTS, found by their texts.

    Letter case, underscores for spaces and the brackets of templates do not matter. Raises UserError, naming it, for a
    text that is not among the names.
    """
    labels = {class_key(re.sub(r"[\[\]]", "", name)): label for label, name in enumerate(class_names)}
    for text in SIDED_TEXTS:
        if class_key(text) not in labels:
            raise UserError(
                f"TRAIN.mirror swap and skip need Something-Something's class names, and {text!r} is none of them; set "
                "MODEL.class_names, or TRAIN.mirror to True or False"
            )
    return {labels[class_key(text)]: labels[class_key(mirrored_text(text))] for text in SIDED_TEXTS}


@dataclass(frozen=True)
class MirrorRule:
    """What mirroring does to labels. pairs: label -> that of its mirror image; skips: clips of these labels are not
    mirrored, in place of getting the other label."""

    pairs: Mapping[int, int] = field(default_factory=dict)
    skips: bool = False

    def may_mirror(self, labels: Sequence[int]) -> bool:
        """Whether a clip with these labels may be mirrored at all."""
        return not (self.skips and any(label in self.pairs for label in labels))

    def seen_as(self, labels: tuple[int, ...], mirrored: bool) -> tuple[int, ...]:
        """The labels of a clip, mirrored or not, of a sample with `labels`."""
        return tuple(self.pairs.get(label, label) for label in labels) if mirrored else labels


def mirror_rule(config: Config) -> MirrorRule:
    """The rule of TRAIN.mirror; it reads the class names for swap and skip. Raises UserError as `mirror_pairs`, and
    where the names cannot be read."""
    mirror = config.TRAIN.mirror
    if mirror not in ("swap", "skip"):
        return MirrorRule()
    return MirrorRule(mirror_pairs(class_names_of(config)), skips=mirror == "skip")
