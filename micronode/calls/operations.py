"""What an operation is: one row generates the HTTP route, the OAP dispatch and the argument checks.

No handler is written twice. ``docs/architecture.rst``, "life of a call". The table of them is in
:mod:`micronode.calls.table`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

from micronode.calls.answers import Answer
from micronode.errors import ErrorCode, NodeError
from micronode.oap.wire.heads import HeadError, parse_object

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from micronode.calls.call import Call, Reply


#: Members of an argument that is an object.
MAX_MEMBERS: Final = 64


class Access(Enum):
    """What a capability must grant; write includes read."""

    READ = "read"
    WRITE = "write"


class BodyRule(Enum):
    """What an operation does with a request body."""

    #: There is none: over OAP body bytes are ``bad_request``, over HTTP a body is 413 from the head.
    NONE = "none"
    #: Passed on as it comes (over HTTP collected up to 1 MiB first, in memory).
    STREAMED = "streamed"
    #: Over HTTP a JSON object of those arguments that are not in the path, or nothing; over OAP, which has a
    #: place for them, there is none. Bounded as a head of OAP is, whatever ``max_body`` says.
    ARGUMENTS = "arguments"


@attrs.frozen(kw_only=True)
class Argument:
    """One argument of an operation.

    Over OAP it is a member of ``args``; over HTTP it is the path segment ``{name}`` if the path has
    one, else the header *header* if given, else the query parameter of that name, or where the operation's
    body is of arguments, the member of that name.

    One of type dict is an object whose values are strings; in a URL or header it is JSON.
    """

    name: str
    type: type[str] | type[int] | type[dict[str, str]] = str
    required: bool = False
    default: str | int | dict[str, str] | None = None
    #: For integers, inclusive.
    minimum: int | None = None
    maximum: int | None = None
    #: For strings, in characters; for objects, of all names and values together.
    max_length: int = 4096
    #: What text has to match, as a regular expression of JSON Schema: told in documents, judged by the facet.
    pattern: str | None = None
    header: str | None = None
    doc: str = ""

    def check(self, value: Any) -> str | int | dict[str, str]:
        """Return *value* if it is of this argument's type and range; text is read as HTTP sends it.

        :raises NodeError: ``bad_request``, naming the argument and what it takes.
        """
        if self.type is int:
            return self._check_int(value)
        if self.type is dict:
            return self._check_object(value)
        if not isinstance(value, str):
            raise self._bad("must be a string")
        if self.required and not value:
            raise self._bad("must not be empty")
        if len(value) > self.max_length:
            raise self._bad(f"is longer than {self.max_length} characters")
        self._check_unicode(value)
        return value

    def _check_unicode(self, value: str) -> None:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise self._bad("is not valid Unicode") from None
        if "\0" in value:
            # As in a URL: whoever gets it may take it for the end.
            raise self._bad("holds a NUL")

    def _check_object(self, value: Any) -> dict[str, str]:
        if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
            raise self._bad("must be an object whose values are strings")
        if len(value) > MAX_MEMBERS:
            raise self._bad(f"has more than {MAX_MEMBERS} members")
        text = "".join((*value, *value.values()))
        if len(text) > self.max_length:
            raise self._bad(f"is longer than {self.max_length} characters, names included")
        self._check_unicode(text)
        return value

    def _check_int(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._bad("must be an integer")
        low, high = self.minimum, self.maximum
        if low is not None and value < low:
            raise self._bad(f"must be at least {low}")
        if high is not None and value > high:
            raise self._bad(f"must be at most {high}")
        return value

    def parse(self, text: str) -> str | int | dict[str, str]:
        """Read the argument from its text in a URL or header, then :meth:`check` it."""
        if self.type is int:
            if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 16):
                raise self._bad("must be an integer")
            return self.check(int(text))
        if self.type is dict:
            try:
                return self._check_object(parse_object(text.encode("utf-8", "surrogatepass")))
            except HeadError as error:
                raise self._bad(f"must be a JSON object: {error.message}") from None
        return self.check(text)

    def _bad(self, what: str) -> NodeError:
        return NodeError(ErrorCode.BAD_REQUEST, f"argument {self.name!r} {what}")


class Mount(Protocol):
    """What takes whole paths below one of its own, for a facet whose operations are told by them.

    All of them share profile and op, and over HTTP what begins with ``/app/FACET/``. Which of them is meant
    is found here, by either door, so that no path leads to one operation over HTTP and to another over OAP.
    """

    def find(self, method: str, path: str) -> Operation:
        """Return the operation of *method* and *path*, as they are sent: from its ``/``, with its query.

        :raises NodeError: ``bad_request``, ``not_found``, ``method_not_allowed``.
        """


#: By what an operation with a mount is found over OAP/1.
MOUNT_ARGUMENTS: Final = (
    Argument(name="facet", required=True, max_length=32, doc="Its name."),
    Argument(name="method", required=True, max_length=16, doc="HTTP's, in capitals."),
    Argument(name="path", required=True, max_length=16_384, doc="Quoted, from its `/`, with its query."),
)


@attrs.frozen(kw_only=True, eq=False)
class Operation:
    """One thing a caller can ask for."""

    #: ``facet.op``; also the ``route`` label of metrics.
    name: str
    #: The facet that gates it.
    facet: str
    #: HTTP: method, and path with ``{argument}`` segments.
    method: str
    path: str
    #: OAP: profile (app_proto_id) and op.
    profile: int
    op: str
    access: Access
    handler: Callable[[Call], Awaitable[Reply]]
    arguments: tuple[Argument, ...] = ()
    body: BodyRule = BodyRule.NONE
    #: Largest request body in bytes over OAP; over HTTP 1 MiB counts if it is smaller.
    max_body: int = 0
    #: Whether it answers with messages, for as long as the caller stays: its handler's Reply has a body
    #: that relays to an :class:`~micronode.interfaces.IEventSink`. It holds a slot of its facet, not a
    #: permit, and takes no request body. Over OAP its START needs ACK_REQ; over HTTP it is a GET that answers
    #: with server-sent events.
    subscribes: bool = False
    #: What finds it among its facet's others, with which it shares name, profile and op; its arguments begin
    #: with :data:`MOUNT_ARGUMENTS`. None: it is alone.
    mount: Mount | None = None
    #: Whether a call needs an idempotency key; told in documents, judged by the facet, and over HTTP from the
    #: head before.
    needs_key: bool = False
    summary: str = ""
    #: What it answers when all goes well, over HTTP; for documents. Empty: nothing is said of it.
    answers: tuple[Answer, ...] = ()
    #: The errors of its own, beside those that every operation has; for documents.
    errors: tuple[ErrorCode, ...] = ()

    #: Whether the owner may be asked twice for one call: it reads, and its method says so, too.
    idempotent: bool = attrs.field(init=False)

    @idempotent.default
    def _is_idempotent(self) -> bool:
        return self.access is Access.READ and self.method in ("GET", "HEAD")

    #: Those of its arguments that are texts in its path.
    _segments: tuple[str, ...] = attrs.field(init=False, repr=False)

    @_segments.default
    def _find_segments(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.arguments if f"{{{each.name}}}" in self.path)

    def __attrs_post_init__(self) -> None:
        if self.subscribes and self.body is not BodyRule.NONE:
            raise ValueError(f"operation {self.name} subscribes, so it takes no request body")
        if self.subscribes and self.method != "GET":
            raise ValueError(f"operation {self.name} subscribes, so its method is GET")

    def bind(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments checked, with defaults; unknown ones are ignored.

        :param given: name -> value, typed as JSON types them.
        :raises NodeError: ``bad_request``, naming the first argument that does not fit.
        """
        bound = bind_all(self.arguments, given, parse=False)
        for name in self._segments:
            # As in a URL, where it is a segment of the path: one of its owner's it may become.
            if bound[name] in (".", ".."):
                raise NodeError(ErrorCode.BAD_REQUEST, f"argument {name!r} is a dot segment")
        return bound

    def bind_text(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Like :meth:`bind`, for arguments that are text in a URL or header."""
        return bind_all(self.arguments, given, parse=True)


def bind_all(arguments: Iterable[Argument], given: Mapping[str, Any], *, parse: bool) -> dict[str, Any]:
    """Return *arguments* as they are *given*, checked, with defaults.

    :param parse: what is given is text, as in a URL or header.
    :raises NodeError: ``bad_request``, naming the first that does not fit.
    """
    bound: dict[str, Any] = {}
    for argument in arguments:
        value = given.get(argument.name)
        if value is None:
            if argument.required:
                raise NodeError(ErrorCode.BAD_REQUEST, f"argument {argument.name!r} is missing")
            bound[argument.name] = argument.default
        else:
            bound[argument.name] = argument.parse(value) if parse else argument.check(value)
    return bound
