"""The keys that let go of a container: recognised in what is typed, and never sent on."""

from __future__ import annotations

from ..errors import NBContainersError

DEFAULT = "ctrl-p,ctrl-q"
_CONTROLS = {chr(code + 96): bytes((code,)) for code in range(1, 27)} | {
    sign: bytes((code,)) for sign, code in zip("@[\\]^_", (0, 27, 28, 29, 30, 31), strict=True)
}


def parse(words: str) -> bytes:
    r"""The bytes of ``ctrl-p,ctrl-q`` or ``ctrl-],x``: single characters, or ``ctrl-`` with a letter or one of ``@[\\]^_``."""
    keys = b""
    for word in words.split(",") if words else ():
        if len(word.encode()) == 1:
            keys += word.encode()
        elif word.startswith("ctrl-") and word[5:].lower() in _CONTROLS:
            keys += _CONTROLS[word[5:].lower()]
        else:
            raise NBContainersError(
                f"not a key: {word!r} in {words!r}",
                hint="write characters or ctrl- and a letter, such as 'ctrl-p,ctrl-q'",
            )
    return keys


class Sequence:
    """Looks for the keys in what is typed, which may come in any pieces."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(what is to be sent on, whether the keys have been typed). The beginning of the keys is held back until it is clear."""
        if not self._keys:
            return data, False
        passed = b""
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    self._matched = 0
                    return passed, True
                continue
            held = self._keys[: self._matched] + bytes((byte,))
            self._matched = 0
            # What was held may itself end with a beginning of the keys.
            for length in range(min(len(held), len(self._keys) - 1), 0, -1):
                if held.endswith(self._keys[:length]):
                    self._matched = length
                    break
            passed += held[: len(held) - self._matched]
        return passed, False
