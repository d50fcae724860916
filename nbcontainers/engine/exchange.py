"""The methods of an engine that speak to registries: images come and go, and what belongs to them is listed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..events import Observer, ignore
from ..oci.descriptor import Descriptor, Digest
from ..oci.image import Image
from ..results import Pruned
from .parts import Parts

if TYPE_CHECKING:
    from ..store.compression import Compression


class Exchange(Parts):
    """An engine, as far as registries are concerned."""

    def pull(
        self, name: str, *, platform: str | None = None, insecure: bool = False, on_event: Observer = ignore
    ) -> Image:
        """Bring an image from its registry and unpack it; only what is not here already comes.

        Args:
            name: with a tag (else ``latest``) or a digest; without a registry it is Docker Hub's.
            platform: ``linux/arm64`` and the like, of an image that has several; this host's without it.
            insecure: take a certificate that is not valid, and http where there is no https.
            on_event: told of each layer, in this thread.

        Raises:
            RegistryError: the registry refuses or cannot be reached.
            IntegrityError: what came is not what was announced; nothing of it is kept.
            NotFound: it is not for this platform.
        """
        from . import registries

        image = registries.pull(self.store, name, platform=platform, insecure=insecure, on_event=on_event)
        self._happen("pull", image)
        self.keep_within(on_event=on_event)
        return image

    def pull_all(
        self, name: str, *, platform: str | None = None, insecure: bool = False, on_event: Observer = ignore
    ) -> tuple[Image, ...]:
        """Pull every tag of a repository; a tag that has nothing for the platform is told of and left out."""
        from . import registries

        images = registries.pull_all(self.store, name, platform=platform, insecure=insecure, on_event=on_event)
        self.keep_within(on_event=on_event)
        return images

    def push(
        self,
        name: str,
        *,
        all_tags: bool = False,
        platform: str | None = None,
        compression: Compression | None = None,
        insecure: bool = False,
        on_event: Observer = ignore,
    ) -> tuple[Digest, ...]:
        """Bring an image, or with ``all_tags`` each tag of a repository, to its registry; the digest of each there.

        With a platform only the image for it goes there, and the name stands for it alone. With a compression all its layers have
        that there, as an OCI image, for Docker's own kind knows gzip only; here it stays as it is.

        Raises:
            NotFound: there is no such tag here.
            RegistryError: the registry refuses or cannot be reached.
        """
        from . import registries

        names = registries.all_tags(self.store, name) if all_tags else (registries.pushed(self.store, name),)
        return registries.push(
            self.store, names, platform=platform, compression=compression, insecure=insecure, on_event=on_event
        )

    def referrers(
        self, name: str, *, artifact_type: str = "", insecure: bool = False, on_event: Observer = ignore
    ) -> tuple[Descriptor, ...]:
        """What a registry keeps for an image of it: signatures, bills of material, attestations; or only those of a type.

        Raises:
            RegistryError: it has no such image, refuses, or cannot be reached.
        """
        from . import registries

        return registries.referrers(name, artifact_type=artifact_type, insecure=insecure, on_event=on_event)

    def login(
        self, registry: str = "", *, username: str, password: str, insecure: bool = False, on_event: Observer = ignore
    ) -> str:
        """Keep a user name and password that the registry (Docker Hub without one) accepts, where Docker does; where is returned.

        Raises:
            RegistryError: it refuses them, or cannot be reached; nothing is kept.
        """
        from . import registries

        return registries.login(registry, username, password, insecure=insecure, on_event=on_event)

    def logged_in(self, registry: str = "", *, insecure: bool = False, on_event: Observer = ignore) -> str:
        """The user name kept for a registry (Docker Hub without one), which takes it still; empty if nobody's is kept.

        Raises:
            RegistryError: it refuses what is kept (status 401 or 403), or cannot be reached.
        """
        from . import registries

        return registries.logged_in(registry, insecure=insecure, on_event=on_event)

    def logout(self, registry: str = "", *, on_event: Observer = ignore) -> str:
        """Forget what is kept for a registry (Docker Hub without one), whose name is returned: NotFound if nothing is."""
        from . import registries

        return registries.logout(registry, on_event)

    def _happen(self, action: str, image: Image) -> None:
        from ..runtime import happenings

        name = image.reference.familiar if image.reference else image.name
        path = str(self.store.root / happenings.NAME)
        happenings.note(path, "image", action, {"id": str(image.id)}, {"name": name})

    def keep_within(self, limit: int | None = None, *, on_event: Observer = ignore) -> Pruned:
        """Remove what can be made again, until the store takes no more than ``limit`` bytes.

        Without a limit that of $NBCONTAINERS_DISK_LIMIT holds, and with neither nothing is done. Whatever brings an image into the
        store calls it at its end.
        """
        if limit is None and not os.environ.get("NBCONTAINERS_DISK_LIMIT"):
            return Pruned()
        from . import room

        most = room.limit_of(os.environ) if limit is None else limit
        return room.keep_within(self.store, most or 0, on_event=on_event)
