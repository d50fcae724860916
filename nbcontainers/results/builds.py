"""What a build made, and what there is to say of a Dockerfile."""

from __future__ import annotations

from dataclasses import dataclass

from ..oci.descriptor import Digest
from ..oci.image import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildStep:
    """One executed or cached step of a build; ``reason`` says what changed since it was last made, and is empty for a new one."""

    text: str
    stage: str
    lines: tuple[int, int]
    cached: bool
    seconds: float
    layer: Digest | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LintFinding:
    """Something in a Dockerfile that is allowed and hardly meant: the rule's name as BuildKit has it, and the place.

    Lines and columns count from 1; ``end_column`` is the first behind it.
    """

    rule: str
    message: str
    hint: str
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """The image that a build made, and how. ``names`` are all its tags; it is ``stored`` unless only files were asked for."""

    image: Image
    steps: tuple[BuildStep, ...]
    warnings: tuple[str, ...]
    seconds: float
    names: tuple[str, ...] = ()
    stored: bool = True

    def __repr__(self) -> str:
        count, cached = len(self.steps), sum(step.cached for step in self.steps)
        return (
            f"<BuildResult {self.image!r}, {count} step{'s' * (count != 1)} ({cached} cached) in {self.seconds:.2f} s>"
        )
