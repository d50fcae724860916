"""What happens to the containers and images of a store, one JSON object a line in a file that all its processes add to.

There is no daemon to ask: ``events`` reads this file. A line is added with one write(2) to a file opened for appending, which
the kernel does not interleave. A file that grew too long makes way for a new one. The shim imports this: only what keeps the
zygote small.
"""

from __future__ import annotations

import os
import time

from . import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

NAME = "happenings"
OLD = "happenings.1"
_MOST = 4 << 20  # bytes of one file; there are two


def note(path: str, kind: str, action: str, subject: Mapping[str, Any], attributes: Mapping[str, str]) -> None:
    """Add what happened to a container's state, or to ``{"id": …}`` of something else. That it cannot be written is no error."""
    if not path:
        return
    words = dict(subject.get("labels") or ())
    words.update({key: subject[key] for key in ("image", "name") if subject.get(key)})
    words.update(attributes)
    line = record.to_json(
        {"time": time.time_ns(), "type": kind, "action": action, "id": subject["id"], "attributes": words}
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, line.encode() + b"\n")
            if os.fstat(descriptor).st_size > _MOST:
                os.rename(path, os.path.join(os.path.dirname(path), OLD))
        finally:
            os.close(descriptor)
    except OSError:
        return
