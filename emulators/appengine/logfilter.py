"""The Logging query language, as far as clients of the emulator use it.

Modelled after https://cloud.google.com/logging/docs/view/logging-query-language: comparisons
(`: = != > < >= <= =~ !~`), AND, OR and NOT, an omitted AND, parentheses around expressions and
around values, text in any field, comments. NOT binds closest, then OR, then AND. Text is compared
without regard to case; a comparison with a field that an entry does not have is false.

Not modelled: functions (`ip_in_net`, `sample` and so on), `protoPayload` types, escapes in paths.
"""

import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from .wire import ApiError

Entry = Mapping[str, Any]
Condition = Callable[[Entry], bool]

SEVERITIES = (
    *("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING"),
    *("ERROR", "CRITICAL", "ALERT", "EMERGENCY"),
)
TOKEN = re.compile(
    r"""\s+ | --[^\n]*
      | (?P<quoted>"(?:[^"\\]|\\.)*")
      | (?P<mark>=~|!~|!=|>=|<=|[()=<>:])
      | (?P<minus>-(?=[^\s\d]))
      | (?P<word>[^\s()=<>:!"]+)""",
    re.VERBOSE,
)
ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
COMPARISONS = {":", "=", "!=", "=~", "!~", *ORDERS}


def parse(query: str) -> Condition:
    """Return what tells whether an entry matches; 400 for what cannot be parsed."""
    return _Parser(query).parse()


class _Parser:
    """Recursive descent: one method per level of binding."""

    def __init__(self, query: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        place = 0
        while place < len(query):
            match = TOKEN.match(query, place)
            if match is None:
                raise _unparsable(query[place:])
            place = match.end()
            if match.lastgroup:
                self._tokens.append((match.lastgroup, match.group()))
        self._tokens.append(("end", ""))

    def parse(self) -> Condition:
        if self._kind() == "end":
            return lambda _: True
        condition = self._all()
        if self._kind() != "end":
            raise _unparsable(self._text())
        return condition

    def _all(self) -> Condition:
        conditions = [self._any()]
        while self._kind() != "end" and self._text() != ")":
            if self._text() == "AND":
                self._take()
            conditions.append(self._any())
        return lambda entry: all(condition(entry) for condition in conditions)

    def _any(self) -> Condition:
        conditions = [self._negation()]
        while self._text() == "OR":
            self._take()
            conditions.append(self._negation())
        return lambda entry: any(condition(entry) for condition in conditions)

    def _negation(self) -> Condition:
        if self._text() == "NOT" or self._kind() == "minus":
            self._take()
            condition = self._negation()
            return lambda entry: not condition(entry)
        if self._text() == "(":
            return self._enclosed(self._all)
        return self._comparison()

    def _comparison(self) -> Condition:
        path = self._value()
        if self._text() not in COMPARISONS:
            return lambda entry: any(path.lower() in text for text in _texts(entry))
        compare = self._take()
        return self._values(path, compare)

    def _values(self, path: str, compare: str) -> Condition:
        if self._text() != "(":
            value = self._value()
            return lambda entry: _compare(entry, path, compare, value)

        def alternatives() -> Condition:
            joined, together = [self._values(path, compare)], all
            while self._text() in ("OR", "AND"):
                together = any if self._take() == "OR" else all
                joined.append(self._values(path, compare))
            return lambda entry: together(condition(entry) for condition in joined)

        return self._enclosed(alternatives)

    def _enclosed(self, inner: Callable[[], Condition]) -> Condition:
        self._take()
        condition = inner()
        if self._text() != ")":
            raise _unparsable(self._text())
        self._take()
        return condition

    def _value(self) -> str:
        kind, text = self._kind(), self._take()
        if kind == "quoted":
            return re.sub(r"\\(.)", r"\1", text[1:-1])
        if kind == "minus":
            return text + self._value()
        if kind == "word" and text not in ("AND", "OR", "NOT"):
            return text
        raise _unparsable(text)

    def _kind(self) -> str:
        return self._tokens[0][0]

    def _text(self) -> str:
        return self._tokens[0][1]

    def _take(self) -> str:
        return self._tokens.pop(0)[1] if self._kind() != "end" else ""


def _compare(entry: Entry, path: str, compare: str, value: str) -> bool:
    if path == "severity":
        return _compare_severity(str(entry.get("severity", "DEFAULT")), compare, value)
    found: Any = entry
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    if found is None or (compare, value) == (":", "*"):
        return found is not None
    if path in ("timestamp", "receiveTimestamp"):
        return _compare_order(time_of(str(found)), compare, time_of(value))
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        try:
            return _compare_order(float(found), compare, float(value))
        except ValueError:
            return False
    return _compare_text(str(found), compare, value)


def _compare_text(found: str, compare: str, value: str) -> bool:
    match compare:
        case ":":
            return value.lower() in found.lower()
        case "=~" | "!~":
            return (re.search(value, found) is not None) is (compare == "=~")
        case "=" | "!=":
            return (found.lower() == value.lower()) is (compare == "=")
    return ORDERS[compare](found.lower(), value.lower())


def _compare_severity(found: str, compare: str, value: str) -> bool:
    if value.upper() not in SEVERITIES:
        raise ApiError(400, f"Unparseable filter: invalid severity: {value}")
    return _compare_order(
        SEVERITIES.index(found) if found in SEVERITIES else 0,
        compare,
        SEVERITIES.index(value.upper()),
    )


def _compare_order(found: Any, compare: str, value: Any) -> bool:
    if compare in (":", "="):
        return bool(found == value)
    if compare == "!=":
        return bool(found != value)
    if compare not in ORDERS:
        raise ApiError(400, f"Unparseable filter: {compare} compares text only")
    return ORDERS[compare](found, value)


def time_of(text: str) -> datetime:
    """Return the moment that a timestamp names; without an offset it is in UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ApiError(400, f"Unparseable filter: invalid timestamp: {text}") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _texts(value: Any) -> list[str]:
    """List every text in an entry, in lower case."""
    if isinstance(value, Mapping):
        return [text for inner in value.values() for text in _texts(inner)]
    return [str(value).lower()]


def _unparsable(token: str) -> ApiError:
    return ApiError(400, f"Unparseable filter: syntax error, unexpected token '{token[:40]}'")
