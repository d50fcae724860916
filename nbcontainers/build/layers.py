"""A tree of files as the layers it is made of."""

from __future__ import annotations

from dataclasses import dataclass

from ..oci.descriptor import CONFIG, MANIFEST, Descriptor, Digest, Platform
from ..oci.image import Image, ImageConfig, Manifest, chain_ids
from .inputs import EMPTY
from .records import Made


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree of files as the layers it is made of, from the base up."""

    layers: tuple[Descriptor, ...] = ()
    diff_ids: tuple[Digest, ...] = ()
    chain: tuple[Digest, ...] = ()

    @classmethod
    def of(cls, image: Image) -> Tree:
        """An image's."""
        return cls(image.layers, image.config.diff_ids, image.chain_ids)

    @property
    def chain_id(self) -> Digest:
        """What names the tree; a name of its own for the empty one."""
        return self.chain[-1] if self.chain else EMPTY

    def with_layer(self, made: Made) -> Tree:
        """The tree with one more layer."""
        diff_ids = (*self.diff_ids, made.diff_id)
        chain = (*self.chain, chain_ids((self.chain[-1], made.diff_id))[-1] if self.chain else made.diff_id)
        return Tree((*self.layers, made.descriptor), diff_ids, chain)

    def image(self) -> Image:
        """The tree as an image that no store has: for whoever unpacks its layers."""
        nothing = Descriptor(media_type=CONFIG, digest=EMPTY, size=0)
        return Image(
            reference=None,
            descriptor=Descriptor(media_type=MANIFEST, digest=EMPTY, size=0),
            manifest=Manifest(config=nothing, layers=self.layers),
            config=ImageConfig(platform=Platform.host(), diff_ids=self.diff_ids),
        )
