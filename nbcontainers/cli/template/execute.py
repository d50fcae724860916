"""The run of a template on a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from . import functions, values
from .syntax import (
    Block,
    Constant,
    Dot,
    Function,
    Include,
    Leave,
    Nodes,
    Operand,
    Pipeline,
    Show,
    Template,
    TemplateError,
    Text,
    Variable,
)
from .values import Value

_DEEPEST = 100  # templates that include themselves


def execute(template: Template, value: Value) -> str:
    """What a template prints of a value.

    Raises:
        TemplateError: it asks for what is not there, or gives a function what it does not take.
    """
    run = _Run(template, [("$", value)])
    run.nodes(template.nodes, value)
    return "".join(run.printed)


@dataclass
class _Run:
    template: Template
    variables: list[tuple[str, Value]]
    printed: list[str] = field(default_factory=list)
    depth: int = 0

    def nodes(self, nodes: Nodes, dot: Value) -> str:
        """Print these; the word of the break or continue that has ended them, if one has."""
        for node in nodes:
            left = ""
            match node:
                case Text(text):
                    self.printed.append(text)
                case Show(pipeline):
                    value = self.pipeline(pipeline, dot)
                    if not pipeline.variables:
                        self.printed.append(values.show(value))
                case Leave(word):
                    return word
                case Include(name, pipeline):
                    self.include(name, self.pipeline(pipeline, dot) if pipeline else Value(None))
                case Block():
                    outside = len(self.variables)
                    left = self.block(node, dot)
                    del self.variables[outside:]
            if left:
                return left
        return ""

    def include(self, name: str, value: Value) -> None:
        if name not in self.template.named:
            raise TemplateError(f"no template is called {name!r}")
        if self.depth == _DEEPEST:
            raise TemplateError(f"the template {name!r} includes itself without end")
        inner = _Run(self.template, [("$", value)], self.printed, self.depth + 1)
        inner.nodes(self.template.named[name], value)

    def block(self, node: Block, dot: Value) -> str:
        if node.word == "range":
            return self.range(node, dot)
        value = self.pipeline(node.pipeline, dot)
        if values.is_true(value):
            return self.nodes(node.body, value if node.word == "with" else dot)
        return self.nodes(node.otherwise, dot)

    def range(self, node: Block, dot: Value) -> str:
        names = node.pipeline.variables
        value = self.pipeline(Pipeline(node.pipeline.commands), dot)
        outside = len(self.variables)
        is_empty = True
        for pair in values.pairs(value):
            is_empty = False
            self.assign(names, pair[2 - len(names) :], declares=node.pipeline.declares)
            left = self.nodes(node.body, pair[1])
            del self.variables[outside:]
            if left == "break":
                break
        return self.nodes(node.otherwise, dot) if is_empty else ""

    def pipeline(self, pipeline: Pipeline, dot: Value) -> Value:
        piped: tuple[Value, ...] = ()
        for command in pipeline.commands:
            piped = (self.command(command, dot, piped),)
        if pipeline.variables:
            self.assign(pipeline.variables, piped, declares=pipeline.declares)
        return piped[0]

    def assign(self, names: tuple[str, ...], found: tuple[Value, ...], *, declares: bool) -> None:
        for name, value in zip(names, found, strict=True):
            if declares:
                self.variables.append((name, value))
            else:
                self.variables[self.find(name)] = (name, value)

    def find(self, name: str) -> int:
        """Where a variable is: the innermost of its name."""
        for number in reversed(range(len(self.variables))):
            if self.variables[number][0] == name:
                return number
        raise TemplateError(f"no variable is called {name}")

    def command(self, operands: tuple[Operand, ...], dot: Value, piped: tuple[Value, ...]) -> Value:
        first, rest = operands[0], operands[1:]
        if isinstance(first.base, Function):
            if first.base.name in functions.LAZY:
                return self.lazily(first.base.name, rest, dot, piped)
            return functions.call(first.base.name, (*(self.operand(one, dot) for one in rest), *piped))
        if not rest and not piped:
            return self.operand(first, dot)
        if first.fields[-1:] != ("Label",):
            what = f".{first.fields[-1]}" if first.fields else "what is no function"
            raise TemplateError(f"{what} takes no arguments")
        arguments: list[Any] = [*(self.operand(one, dot).data for one in rest), *(one.data for one in piped)]
        if len(arguments) != 1 or not isinstance(arguments[0], str):
            raise TemplateError('.Label takes one text: {{.Label "NAME"}}')
        return values.label(self.operand(Operand(first.base, first.fields[:-1]), dot), arguments[0])

    def lazily(self, name: str, rest: tuple[Operand, ...], dot: Value, piped: tuple[Value, ...]) -> Value:
        """``and`` gives the first argument that is empty, ``or`` the first that is not, or else the last."""
        if not rest and not piped:
            raise TemplateError(f"{name} takes at least 1 of arguments, not 0")
        found = Value(None)
        for number in range(len(rest) + len(piped)):
            found = self.operand(rest[number], dot) if number < len(rest) else piped[0]
            if values.is_true(found) == (name == "or"):
                return found
        return found

    def operand(self, operand: Operand, dot: Value) -> Value:
        match operand.base:
            case Dot():
                value = dot
            case Constant(data):
                value = Value(data, None if data is None else "")
            case Variable(name):
                value = self.variables[self.find(name)][1]
            case Function():
                value = self.command((operand,), dot, ())
            case Pipeline():
                value = self.pipeline(operand.base, dot)
        for name in operand.fields:
            value = values.member(value, name)
        return value
