"""Go templates for ``--format``: the subset of text/template that Docker's scripts use.

Actions: fields (``.A.B``, ``$x.A``, ``(pipeline).A``), pipelines, variables, ``if``/``else if``/``else``, ``range`` (with
``$i, $e``), ``with``, ``break``, ``continue``, comments, trim markers. The functions are in `estiba.cli.template_functions`.

Unlike Go, an unknown field is an error for every kind of value; only in an open map (labels, annotations) is a missing key
``<no value>``. Source: https://pkg.go.dev/text/template and Docker's templates/templates.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from estiba.cli.template_functions import FUNCTIONS, NO_VALUE, TemplateFailure, to_text, truth
from estiba.cli.template_tokens import Token, split, tokens, unquote
from estiba.errors import InvalidArgument

# Members whose keys the user chooses, so that a missing key is no mistake in the template.
_OPEN_MAPS = {"Attributes", "Labels", "ExposedPorts", "Volumes", "Annotations", "Data", "annotations"}
_MAX_DEPTH = 100
Evaluate = Callable[["_Scope"], object]
Render = Callable[["_Scope"], Iterator[str]]


class _Break(Exception):
    """``{{break}}``."""


class _Continue(Exception):
    """``{{continue}}``."""


class _Scope:
    """The dot and the variables at one place of a template."""

    def __init__(self, dot: object, variables: dict[str, list[object]]) -> None:
        self.dot = dot
        self.variables = variables  # each value in a list of one, so that an inner `=` reaches the outer variable

    def inner(self, dot: object) -> _Scope:
        return _Scope(dot, dict(self.variables))


class Template:
    """A parsed template.

    Parameter: `source`, the text. Raises InvalidArgument when it is not a template.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        try:
            self._body = _Parser(source).parse()
        except TemplateFailure as error:
            raise InvalidArgument(f"cannot parse template {source!r}: {error}") from error

    def render(self, data: object) -> str:
        """The text for one object: a dictionary, or an object whose capitalised attributes are the fields.

        Raises InvalidArgument for a field that does not exist or a function's wrong argument.
        """
        try:
            return "".join(self._body(_Scope(data, {"$": [data]})))
        except TemplateFailure as error:
            raise InvalidArgument(f"cannot format with template {self.source!r}: {error}") from error
        except (_Break, _Continue) as error:
            raise InvalidArgument(f"cannot format with template {self.source!r}: break or continue outside range") from error


def fields_of(value: object) -> list[str]:
    """The names of a value's fields, for messages and ``json``."""
    if isinstance(value, Mapping):
        return [str(key) for key in value]
    return [name for name in dir(value) if name[:1].isupper()]


def _field(value: object, name: str, path: str) -> object:
    """One step of ``.A.B``."""
    if isinstance(value, Mapping):
        if name in value:
            return value[name]
        if path.rpartition(".")[2] in _OPEN_MAPS:
            return NO_VALUE
    elif name[:1].isupper() and hasattr(value, name):
        return getattr(value, name)
    if value is None or value is NO_VALUE:
        raise TemplateFailure(f"{path or '.'} has no value, so it has no field .{name}")
    names = fields_of(value)
    known = f"; it has {', '.join('.' + known for known in names[:40])}" if names else ""
    raise TemplateFailure(f"{path or 'the object'} has no field .{name}{known}")


class _Parser:
    """Recursive descent over the actions; each node becomes a function of the scope."""

    def __init__(self, source: str) -> None:
        self._pieces = list(split(source))
        self._at = 0
        self._tokens: list[Token] = []
        self._depth = 0

    # Blocks

    def parse(self) -> Render:
        body, end = self._block()
        if end:
            raise TemplateFailure(f"unexpected {{{{{end}}}}}")
        return body

    def _block(self) -> tuple[Render, str]:
        """Nodes up to ``end``, ``else`` or the end of the text; returns the word that ended it."""
        nodes: list[Render] = []
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise TemplateFailure("nested too deeply")
        ended = ""
        while self._at < len(self._pieces):
            text, action = self._pieces[self._at]
            self._at += 1
            if action is None:
                nodes.append(_literal(text))
                continue
            self._tokens = tokens(action)
            word = self._tokens[0].text if self._tokens and self._tokens[0].kind == "word" else ""
            if word in ("end", "else"):
                ended = word
                self._tokens.pop(0)
                break
            if self._tokens or "/*" not in action:
                nodes.append(self._action(word))
        self._depth -= 1
        return _sequence(nodes), ended

    def _action(self, word: str) -> Render:
        if word in ("if", "with", "range"):
            self._tokens.pop(0)
            return self._conditional() if word == "if" else self._with() if word == "with" else self._range()
        if word in ("break", "continue"):
            return _stop(_Break if word == "break" else _Continue)
        assigned = self._assignment()
        value = self._pipeline()
        self._finish()
        return _assign(assigned, value) if assigned else _show(value)

    def _conditional(self) -> Render:
        test = self._pipeline()
        self._finish()
        then, otherwise = self._branches()

        def render(scope: _Scope) -> Iterator[str]:
            inner = scope.inner(scope.dot)
            return then(inner) if truth(test(inner)) else otherwise(inner)

        return render

    def _with(self) -> Render:
        names = self._declaration()
        test = self._pipeline()
        self._finish()
        then, otherwise = self._branches()

        def render(scope: _Scope) -> Iterator[str]:
            value = test(scope)
            if not truth(value):
                return otherwise(scope.inner(scope.dot))
            inner = scope.inner(value)
            for name in names:
                inner.variables[name] = [value]
            return then(inner)

        return render

    def _range(self) -> Render:
        names = self._declaration()
        over = self._pipeline()
        self._finish()
        body, otherwise = self._branches()

        def render(scope: _Scope) -> Iterator[str]:
            items = _items(over(scope))
            if not items:
                yield from otherwise(scope.inner(scope.dot))
            for key, item in items:
                inner = scope.inner(item)
                for name, value in zip(reversed(names), (item, key), strict=False):
                    inner.variables[name] = [value]
                try:
                    yield from body(inner)
                except _Break:
                    return
                except _Continue:
                    continue

        return render

    def _branches(self) -> tuple[Render, Render]:
        then, ended = self._block()
        if ended != "else":
            self._expect_end(ended)
            return then, _literal("")
        if self._tokens and self._tokens[0].text in ("if", "with"):
            return then, self._action(self._tokens[0].text)  # `else if` shares the one `end`
        self._finish()
        otherwise, ended = self._block()
        self._expect_end(ended)
        return then, otherwise

    def _expect_end(self, ended: str) -> None:
        if ended != "end":
            raise TemplateFailure("{{end}} is missing" if not ended else f"unexpected {{{{{ended}}}}}")
        self._finish()

    # Expressions

    def _declaration(self) -> list[str]:
        """``$x :=`` or ``$i, $x :=`` in front of a pipeline."""
        queue = self._tokens
        for count, shape in ((1, ("variable", ":=")), (2, ("variable", ",", "variable", ":="))):
            if len(queue) >= len(shape) and all(want in (token.kind, token.text) for token, want in zip(queue, shape, strict=False)):
                names = [token.text for token in queue[: len(shape)] if token.kind == "variable"]
                del queue[: len(shape)]
                assert len(names) == count
                return names
        return []

    def _assignment(self) -> tuple[str, bool] | None:
        queue = self._tokens
        if len(queue) > 2 and queue[0].kind == "variable" and queue[1].text in (":=", "="):
            name, new = queue[0].text, queue[1].text == ":="
            del queue[:2]
            return name, new
        return None

    def _pipeline(self) -> Evaluate:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise TemplateFailure("nested too deeply")
        value = self._call(None)
        while self._tokens and self._tokens[0].text == "|" and self._tokens[0].kind == "mark":
            self._tokens.pop(0)
            value = self._call(value)
        self._depth -= 1
        return value

    def _call(self, piped: Evaluate | None) -> Evaluate:
        """One command of a pipeline: an operand, or a function or method with its arguments."""
        if not self._tokens:
            raise TemplateFailure("missing value")
        first = self._tokens[0]
        if first.kind == "word" and first.text not in ("true", "false", "nil"):
            self._tokens.pop(0)
            return self._function(first.text, piped)
        operand = self._operand()
        arguments = self._arguments()
        if not arguments and piped is None:
            return operand
        given = [*arguments, piped] if piped else arguments

        def call(scope: _Scope) -> object:
            method = operand(scope)
            if not callable(method):
                raise TemplateFailure("a value that is not a function is given arguments")
            return method(*[argument(scope) for argument in given])

        return call

    def _function(self, name: str, piped: Evaluate | None) -> Evaluate:
        arguments = self._arguments()
        if piped is not None:
            arguments.append(piped)
        if name in ("and", "or"):
            return _short_circuit(name, arguments)
        function = FUNCTIONS.get(name)
        if function is None:
            raise TemplateFailure(f"function {name!r} is not defined; there are {', '.join(sorted([*FUNCTIONS, 'and', 'or']))}")
        least, most = function.arity
        if len(arguments) < least or (most is not None and len(arguments) > most):
            raise TemplateFailure(f"wrong number of arguments for {name}: {len(arguments)}")
        return lambda scope: function.call(*[argument(scope) for argument in arguments])

    def _arguments(self) -> list[Evaluate]:
        found: list[Evaluate] = []
        while self._tokens and not (self._tokens[0].kind == "mark" and self._tokens[0].text in ("|", ")")):
            found.append(self._operand())
        return found

    def _operand(self) -> Evaluate:
        token = self._tokens.pop(0)
        if token.kind == "string":
            return _constant(unquote(token.text))
        if token.kind == "number":
            return _constant(float(token.text) if "." in token.text else int(token.text))
        if token.kind == "variable":
            return self._fields(_variable(token.text), token.text)
        if token.kind == "field":
            self._tokens.insert(0, token._replace(spaced=False))
            return self._fields(lambda scope: scope.dot, "")
        if token.kind == "word":
            return self._word(token.text)
        if token.text == ".":
            return lambda scope: scope.dot
        if token.text == "(":
            value = self._pipeline()
            if not self._tokens or self._tokens.pop(0).text != ")":
                raise TemplateFailure("missing )")
            return self._fields(value, "(...)")
        raise TemplateFailure(f"unexpected {token.text!r}")

    def _word(self, word: str) -> Evaluate:
        constants: dict[str, object] = {"true": True, "false": False, "nil": None}
        if word in constants:
            return _constant(constants[word])
        return self._no_arguments(word)

    def _no_arguments(self, word: str) -> Evaluate:
        """A function as an argument (``eq len 3`` is a mistake, Go calls it without arguments)."""
        raise TemplateFailure(f"put parentheses around the call of {word}")

    def _fields(self, value: Evaluate, path: str) -> Evaluate:
        while self._tokens and self._tokens[0].kind == "field" and not self._tokens[0].spaced:
            name = self._tokens.pop(0).text[1:]
            value = _member(value, name, path)
            path += "." + name
        return value

    def _finish(self) -> None:
        if self._tokens:
            raise TemplateFailure(f"unexpected {self._tokens[0].text!r}")


def _items(value: object) -> list[tuple[object, object]]:
    if value is None or value is NO_VALUE:
        return []
    if isinstance(value, Mapping):
        return [(key, value[key]) for key in sorted(value)]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool):  # Go 1.22
        return [(index, index) for index in range(value)]
    raise TemplateFailure(f"range cannot go over {to_text(value)!r}")


def _literal(text: str) -> Render:
    return lambda _scope: iter((text,))


def _sequence(nodes: list[Render]) -> Render:
    def render(scope: _Scope) -> Iterator[str]:
        for node in nodes:
            yield from node(scope)

    return render


def _stop(kind: type[Exception]) -> Render:
    def render(_scope: _Scope) -> Iterator[str]:
        raise kind

    return render


def _show(value: Evaluate) -> Render:
    return lambda scope: iter((to_text(value(scope)),))


def _assign(target: tuple[str, bool], value: Evaluate) -> Render:
    name, new = target

    def render(scope: _Scope) -> Iterator[str]:
        result = value(scope)
        if new:
            scope.variables[name] = [result]
        elif name in scope.variables:
            scope.variables[name][0] = result
        else:
            raise TemplateFailure(f"undefined variable {name}")
        return iter(())

    return render


def _constant(value: object) -> Evaluate:
    return lambda _scope: value


def _variable(name: str) -> Evaluate:
    def evaluate(scope: _Scope) -> object:
        if name not in scope.variables:
            raise TemplateFailure(f"undefined variable {name}")
        return scope.variables[name][0]

    return evaluate


def _member(value: Evaluate, name: str, path: str) -> Evaluate:
    return lambda scope: _field(value(scope), name, path)


def _short_circuit(name: str, arguments: list[Evaluate]) -> Evaluate:
    if not arguments:
        raise TemplateFailure(f"wrong number of arguments for {name}: 0")

    def evaluate(scope: _Scope) -> object:
        result: object = None
        for argument in arguments:
            result = argument(scope)
            if truth(result) == (name == "or"):
                break
        return result

    return evaluate
