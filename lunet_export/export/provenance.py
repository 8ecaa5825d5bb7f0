"""What is known about a model beside its weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Provenance:
    """What is known about the model beside its weights."""

    name: str
    source: str = "arrays"  # kind of checkpoint: `lunet_export`, `authors`
    image_shape: tuple[int, ...] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
