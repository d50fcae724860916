"""The syntax of a template: text and actions, as data."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias


class TemplateError(Exception):
    """A template that is not well formed, or that asks for what is not there; ``hint`` says what could be asked for."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Constant:
    """A string, a number, true, false or nil (None)."""

    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Dot:
    """What the template is about at this place."""


@dataclass(frozen=True, slots=True)
class Variable:
    """``$name``; ``$`` is what the whole template is about."""

    name: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function's name."""

    name: str


@dataclass(frozen=True, slots=True)
class Operand:
    """A value and the fields that are walked from it: ``.A.B``, ``$x.A``, ``(index .A 0).B``."""

    base: Constant | Dot | Variable | Function | Pipeline
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands, each with the value of the one before it as its last argument; the last one's goes to the variables, if any."""

    commands: tuple[tuple[Operand, ...], ...]
    variables: tuple[str, ...] = ()
    declares: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """What is printed as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Show:
    """``{{pipeline}}``."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Block:
    """``{{if}}``, ``{{with}}`` or ``{{range}}``, and what is printed otherwise."""

    word: str
    pipeline: Pipeline
    body: Nodes
    otherwise: Nodes


@dataclass(frozen=True, slots=True)
class Leave:
    """``{{break}}`` or ``{{continue}}``."""

    word: str


@dataclass(frozen=True, slots=True)
class Include:
    """``{{template "name" pipeline}}``."""

    name: str
    pipeline: Pipeline | None


Node: TypeAlias = "Text | Show | Block | Leave | Include"
Nodes: TypeAlias = "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Template:
    """What is printed, and the templates that it has defined by name."""

    nodes: Nodes
    named: dict[str, Nodes]


def parse(text: str, functions: Collection[str], *, tab: str | None = None) -> Template:
    r"""A template that may call these functions; with ``tab``, this is printed for a tab of its text, and \t and \n are escapes.

    Raises:
        TemplateError: it is not well formed, or calls another function.
    """
    parser = _Parser(list(_pieces(text)), functions, tab)
    nodes, end = parser.nodes()
    if end:
        raise TemplateError(f"unexpected {{{{{end[0].text}}}}}")
    return Template(nodes, parser.named)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    spaced: bool  # with space before it


_TOKEN = re.compile(
    r"""
      (?P<string>"(?:[^"\\\n]|\\.)*" | `[^`]*`)
    | (?P<char>'(?:[^'\\\n]|\\.[^']*)')
    | (?P<number>[+-]?(?:0[xX][\da-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?!\w))
    | (?P<field>\.[^\W\d]\w*)
    | (?P<dot>\.)
    | (?P<variable>\$\w*)
    | (?P<word>[^\W\d]\w*)
    | (?P<sign>:=|[=|(),])
    """,
    re.VERBOSE,
)
_SPACE = re.compile(r"\s*")
_BEGIN = re.compile(r"-\s")
_END = re.compile(r"(\s-)?\}\}")
_COMMENT = re.compile(r"/\*.*?\*/(\s-)?\}\}", re.DOTALL)
_CONSTANTS = {"true": True, "false": False, "nil": None}
_BLOCKS = ("if", "with", "range")
_WORDS = frozenset((*_BLOCKS, *"else end break continue define template block".split()))


def _pieces(text: str) -> Iterator[str | list[_Token]]:
    """Text, and the tokens of each action; spaces that an action trims are gone."""
    position, trims = 0, False
    while True:
        start = text.find("{{", position)
        between = text[position : start if start >= 0 else None]
        if trims:
            between = between.lstrip()
        inside = start + 2
        if start >= 0 and (trimming := _BEGIN.match(text, inside)):
            between, inside = between.rstrip(), trimming.end()
        if between:
            yield between
        if start < 0:
            return
        if text.startswith("/*", inside):
            comment = _COMMENT.match(text, inside)
            if comment is None:
                raise TemplateError("a comment that is not closed by */}}")
            position, trims = comment.end(), comment[1] is not None
            continue
        tokens, position, trims = _tokens(text, inside)
        yield tokens


def _tokens(text: str, position: int) -> tuple[list[_Token], int, bool]:
    """(the tokens of an action, where it ends, whether it trims the text behind it)."""
    found: list[_Token] = []
    begin = position
    while True:
        space = _SPACE.match(text, position)
        assert space is not None
        for at in (space.end() - 1, space.end()):
            if (end := _END.match(text, at)) and at >= position:
                return found, end.end(), end[1] is not None
        match = _TOKEN.match(text, space.end())
        if match is None or match.lastgroup is None:
            rest = text[space.end() : space.end() + 10]
            if not rest:
                raise TemplateError(f"the action {{{{{text[begin:]} is not closed by }}}}")
            raise TemplateError(f"unexpected {rest!r} in an action")
        found.append(_Token(match.lastgroup, match[0], space.end() > position))
        position = match.end()


@dataclass
class _Parser:
    pieces: list[str | list[_Token]]
    functions: Collection[str]
    tab: str | None
    named: dict[str, Nodes] = field(default_factory=dict)
    _next: int = 0
    _ranges: int = 0  # how many ranges are around this place

    def nodes(self) -> tuple[Nodes, list[_Token]]:
        """What comes up to an ``{{end}}`` or ``{{else}}``, and its tokens; none at the end of the text."""
        found: list[Node] = []
        while self._next < len(self.pieces):
            piece = self.pieces[self._next]
            self._next += 1
            if isinstance(piece, str):
                found.append(Text(piece if self.tab is None else _unescaped(piece, self.tab)))
                continue
            if not piece:
                raise TemplateError("an action with nothing in it: {{}}")
            word = piece[0].text if piece[0].kind == "word" else ""
            if word in ("end", "else"):
                return tuple(found), piece
            node = self._action(word, piece)
            if node is not None:
                found.append(node)
        return tuple(found), []

    def _action(self, word: str, tokens: list[_Token]) -> Node | None:
        if word not in _WORDS:
            return Show(self._whole(tokens))
        if word in _BLOCKS:
            return self._block(word, tokens[1:])
        if word in ("break", "continue"):
            if not self._ranges or len(tokens) > 1:
                raise TemplateError(f"{{{{{word}}}}} has no words behind it and stands in a range")
            return Leave(word)
        if len(tokens) < 2 or tokens[1].kind != "string":
            raise TemplateError(f"{{{{{word}}}}} wants a name in quotation marks")
        name, rest = str(_string(tokens[1].text)), tokens[2:]
        pipeline = self._whole(rest) if rest else None
        if word == "template":
            return Include(name, pipeline)
        self.named[name] = self._rest(word)
        return Include(name, pipeline) if word == "block" else None

    def _block(self, word: str, tokens: list[_Token]) -> Block:
        pipeline = self._whole(tokens, variables=2 if word == "range" else 1)
        self._ranges += word == "range"
        body, end = self.nodes()
        self._ranges -= word == "range"
        if end and end[0].text == "else":
            return Block(word, pipeline, body, self._otherwise(word, end[1:]))
        _require_end(word, end)
        return Block(word, pipeline, body, ())

    def _otherwise(self, word: str, tokens: list[_Token]) -> Nodes:
        """What follows an ``{{else}}``; one with an ``if`` or ``with`` behind it shares the end of the block."""
        if not tokens:
            return self._rest(word)
        if word == "range" or tokens[0].text != word:
            raise TemplateError(f"unexpected {tokens[0].text!r} behind the else of {{{{{word}}}}}")
        return (self._block(word, tokens[1:]),)

    def _rest(self, word: str) -> Nodes:
        body, end = self.nodes()
        _require_end(word, end)
        return body

    def _whole(self, tokens: list[_Token], *, variables: int = 1) -> Pipeline:
        pipeline, rest = self._pipeline(tokens, variables)
        if rest:
            _unexpected(rest)
        return pipeline

    def _pipeline(self, tokens: list[_Token], variables: int = 0) -> tuple[Pipeline, list[_Token]]:
        """A pipeline up to a parenthesis that closes it or the end, and the tokens behind."""
        names, declares, tokens = _assigned(tokens, variables)
        commands: list[tuple[Operand, ...]] = []
        while True:
            operands, tokens = self._command(tokens)
            if not operands or (commands and not _can_take(operands[0])):
                raise TemplateError(
                    "a value is missing" if not operands else "only a function or a field can follow a |"
                )
            if operands == (Operand(Constant(None)),):
                raise TemplateError("nil is nothing that can be asked for")
            commands.append(operands)
            if not tokens or tokens[0].text != "|":
                return Pipeline(tuple(commands), names, declares), tokens
            tokens = tokens[1:]

    def _command(self, tokens: list[_Token]) -> tuple[tuple[Operand, ...], list[_Token]]:
        operands: list[Operand] = []
        while tokens and tokens[0].text not in ("|", ")"):
            operand, tokens = self._operand(tokens)
            if tokens and not tokens[0].spaced and tokens[0].text not in ("|", ")"):
                _unexpected(tokens)
            operands.append(operand)
        return tuple(operands), tokens

    def _operand(self, tokens: list[_Token]) -> tuple[Operand, list[_Token]]:
        base, fields, tokens = self._base(tokens)
        while tokens and tokens[0].kind == "field" and not tokens[0].spaced:
            fields.append(tokens[0].text[1:])
            tokens = tokens[1:]
        if fields and isinstance(base, Constant | Function):
            _unexpected([_Token("field", f".{fields[0]}", spaced=False)])
        return Operand(base, tuple(fields)), tokens

    def _base(
        self, tokens: list[_Token]
    ) -> tuple[Constant | Dot | Variable | Function | Pipeline, list[str], list[_Token]]:
        first, rest = tokens[0], tokens[1:]
        match first.kind:
            case "dot":
                return Dot(), [], rest
            case "field":
                return Dot(), [first.text[1:]], rest
            case "variable":
                return Variable(first.text), [], rest
            case "string" | "char" | "number":
                return Constant(_constant(first)), [], rest
            case "word" if first.text in _CONSTANTS:
                return Constant(_CONSTANTS[first.text]), [], rest
            case "word":
                if first.text not in self.functions:
                    known = ", ".join(sorted(self.functions))
                    raise TemplateError(f"no function is called {first.text!r}", f"the functions are: {known}")
                return Function(first.text), [], rest
        if first.text != "(":
            _unexpected(tokens)
        pipeline, rest = self._pipeline(rest)
        if not rest:
            raise TemplateError("a ( that is not closed")
        return pipeline, [], rest[1:]


def _assigned(tokens: list[_Token], most: int) -> tuple[tuple[str, ...], bool, list[_Token]]:
    """(the variables that a pipeline is assigned to, whether they are new, the tokens behind)."""
    for count in range(1, most + 1):
        head, sign = tokens[: 2 * count - 1], tokens[2 * count - 1 : 2 * count]
        is_list = all(one.text == "," if number % 2 else one.kind == "variable" for number, one in enumerate(head))
        if is_list and sign and sign[0].text in (":=", "="):
            return tuple(one.text for one in head[::2]), sign[0].text == ":=", tokens[2 * count :]
    return (), False, tokens


def _unescaped(text: str, tab: str) -> str:
    return text.replace(r"\n", "\n").replace(r"\t", "\t").replace("\t", tab)


def _can_take(operand: Operand) -> bool:
    """Whether something can be piped into it."""
    return bool(operand.fields) or isinstance(operand.base, Function)


def _unexpected(tokens: list[_Token]) -> NoReturn:
    raise TemplateError(f"unexpected {tokens[0].text!r} in an action")


def _require_end(word: str, end: list[_Token]) -> None:
    if [token.text for token in end] != ["end"]:
        raise TemplateError(f"{{{{{word}}}}} is not closed by {{{{end}}}}")


def _constant(token: _Token) -> str | int | float:
    if token.kind == "string":
        return _string(token.text)
    if token.kind == "char":
        return ord(_string(f'"{token.text[1:-1]}"'))
    try:
        return int(token.text, 0)
    except ValueError:
        return float(token.text)


def _string(text: str) -> str:
    """A quoted string's value: Go's escapes are Python's, but for the quotation marks of the other kind."""
    if text[0] == "`":
        return text[1:-1]
    try:
        return str(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        raise TemplateError(f"{text} is not well formed as a string") from None
