"""The methods of an engine that make images from Dockerfiles."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Unpack

from ..events import Observer, ignore
from ..oci.reference import Reference
from ..results import BuildResult, CacheRecord, LintFinding
from . import building
from . import options as words
from .images import Images


class Builds(Images):
    """An engine, as far as builds are concerned."""

    def build(
        self,
        dockerfile: str | Path,
        *,
        context: str | Path | IO[bytes] | None = None,
        tag: str | Sequence[str] = "",
        args: Mapping[str, str] | None = None,
        target: str = "",
        no_cache: bool = False,
        pull: bool = False,
        on_event: Observer = ignore,
        **options: Unpack[building.BuildOptions],
    ) -> BuildResult:
        """Make an image from a Dockerfile: text as ``str``, a file as ``Path``. More keywords are those of ``BuildOptions``.

        Args:
            dockerfile: the text, or the file that holds it (of a context that is an archive or address: its name there).
            context: what COPY and ADD read: a folder, a tar archive, an address; without it they are an error.
            tag: what to call the image, one name or several; nothing is tagged unless the whole build succeeds.
            args: values for ARG.
            target: the stage to build up to, by name or number.
            no_cache: execute every step again.
            pull: ask the registries for newer images of FROM and ``--from``; without it they are pulled where they are missing.
            on_event: told of steps and output as they come, in this thread.

        Raises:
            DockerfileError: the text cannot be built; ``lines`` says where.
            BuildError: a RUN failed; it has the step, its lines, the exit code and the end of the output.
        """
        from ..build import whole
        from ..build.execute import Settings
        from ..build.sharing import Sharing
        from . import caching, outputs

        building.check(options)
        names = [str(Reference.parse(name)) for name in ([tag] if isinstance(tag, str) else tag) if name]
        stream = options.get("stream")
        wanted = outputs.read_all(options.get("outputs", ()), is_named=bool(names), stream=stream)
        settings = Settings(
            offers=building.offers(options.get("secrets", ()), options.get("ssh", ())),
            shm_size=building.shm_size(options.get("shm_size", 0)),
            rlimits=building.limits(options.get("ulimits", ())),
            insecure=building.insecure(options.get("allow", ())),
        )
        named = options.get("contexts", {})
        caches = caching.read_all(options.get("cache_from", ()), to=False)
        goals = caching.read_all(options.get("cache_to", ()), to=True)
        stored = any(one.is_stored for one in wanted)
        is_passing = not stored or any(map(building.is_layout, named.values()))
        rows = self.store.images.rows() if is_passing else ()
        before = frozenset(digest for row in rows for digest in (row.config, row.descriptor.digest))
        with (
            self.store.lease(),
            building.prepared(self.store, dockerfile, context, named, on_event) as prepared,
            caching.opened(self.store, caches, on_event) as places,
        ):
            sharing = Sharing(places, inline=any(goal.kind == "inline" for goal in goals), leaves=bool(goals))
            result = whole.build(  # what is built is not collected before it is tagged: for that is the lease
                prepared.text,
                store=self.store,
                runtime=self._runtime,
                host=self._host,
                resolve_toolbox=lambda: self.toolbox(on_event=on_event),
                find=lambda name: (
                    prepared.images.get(name) or self._source(name, "always" if pull else "missing", None, on_event)
                ),
                contexts=prepared.contexts,
                aliases=prepared.aliases,
                arguments=args,
                target=target,
                platform=building.platform(options.get("platform", "")),
                network=building.network(options.get("network", "")),
                labels=words.pairs(options.get("labels", ()), "label"),
                hosts=building.hosts(options.get("add_host", ())),
                settings=settings,
                no_cache=no_cache,
                no_cache_stages=options.get("no_cache_filter", ()),
                called=(prepared.file, *names),
                epoch=words.source_date_epoch(os.environ),
                sharing=sharing,
                on_event=on_event,
            )
            built = result.image
            result, spare = outputs.export(
                self.store,
                replace(result, names=tuple(names)),
                wanted,
                own=len(sharing.own),
                push=lambda name, insecure: self.push(name, insecure=insecure, on_event=on_event),
                stream=stream,
                on_event=on_event,
            )
            caching.export(self.store, goals, sharing, on_event)
            outputs.tell(options.get("metadata_file"), outputs.metadata_text(told := outputs.metadata(result, wanted)))
            outputs.tell(options.get("iidfile"), str(result.image.id) if told else "")
        for image in (*prepared.images.values(), *(() if stored else (built,))):  # here for this build only
            if gone := {image.id, image.descriptor.digest} - before:
                self.store.images.collect(only=gone)
        if spare:
            self.store.images.collect(only=spare, keep={result.image.descriptor.digest} if stored else ())
        self.keep_within(on_event=on_event)
        return result

    def lint(
        self,
        dockerfile: str | Path,
        *,
        context: str | Path | IO[bytes] | None = None,
        args: Mapping[str, str] | None = None,
        target: str = "",
    ) -> tuple[LintFinding, ...]:
        """What in a Dockerfile is allowed and hardly meant, by the rules and names of BuildKit's build checks; nothing is built.

        Raises:
            DockerfileError: the text cannot be built at all.
        """
        with building.prepared(self.store, dockerfile, context, {}, ignore) as prepared:
            return building.findings(prepared, self.store.images.resolve, args or {}, target)

    def build_cache(self, filters: Sequence[str] = ()) -> tuple[CacheRecord, ...]:
        """What the build cache holds, by docker's filters (``until``, ``type``, ``id``), the one that was used last first."""
        from . import buildcache

        return buildcache.listed(self.store, tuple(filters))
