"""The policy owner over HTTP: ``POST /v1/decide``. The shapes are those of ``docs/OWNERS.rst``."""

from __future__ import annotations

from typing import Final

from micronode.devowners.exchange import Exchange, Owner
from micronode.devowners.log import JSONLog
from micronode.devowners.members import Members
from micronode.devowners.request import OwnerRequest
from micronode.devowners.rules import FIELDS, RuleFile, Rules, RulesError
from micronode.errors import ErrorCode, NodeError

MAX_BODY_BYTES: Final = 65_536
_MAX_CHARS: Final = 1024
#: A caller without a token, or without a tenant, has none.
_MAY_BE_MISSING: Final = ("tenant", "token_id")

#: Characters of the names that one line tells.
_MAX_NAMES: Final = 200


class PolicyOwner(Owner):
    """Decides by the rules in *file*, or allows everything.

    The file is looked at before each decision. One that has become unusable is told in the log, and the
    rules of before go on counting.
    """

    name = "policy"

    def __init__(self, file: RuleFile | None, log: JSONLog) -> None:
        super().__init__()
        self._file = file
        self._log = log
        self._tell_names()

    @property
    def rules(self) -> Rules:
        """The rules that count now."""
        if self._file is None:
            return Rules()
        try:
            if self._file.refresh():
                self._log.info("rules_read", rules=len(self._file.rules.rules))
                self._tell_names()
        except RulesError as error:
            self._log.error("rules_refused", message=str(error))
        return self._file.rules

    def _tell_names(self) -> None:
        """Warn of facets that rules name and that are not built in: nobody says which others a node has."""
        if self._file is not None and (names := self._file.rules.other_facets()):
            self._log.warn(
                "rules_name_others",
                facets=", ".join(names)[:_MAX_NAMES],
                message="no built-in facet is called so; a rule for it counts only if a custom one is",
            )

    def find(self, request: OwnerRequest, name: str, keys: list[str]) -> Exchange:
        """Return the exchange for ``/v1/decide``."""
        if name != "v1" or keys != ["decide"]:
            raise NodeError(ErrorCode.NOT_FOUND, "policy has no such path")
        request.allow(b"POST")
        return _Decide(request, self)


class _Decide(Exchange):
    route = "decide"
    max_body_bytes = MAX_BODY_BYTES

    def __init__(self, request: OwnerRequest, owner: PolicyOwner) -> None:
        super().__init__(request)
        self._owner = owner
        self._collected = bytearray()

    def body(self, data: bytes) -> None:
        self._collected += data

    def answer(self) -> None:
        members = Members(bytes(self._collected))
        question = {
            field: members.optional_text(field, max_chars=_MAX_CHARS)
            if field in _MAY_BE_MISSING
            else members.text(field, max_chars=_MAX_CHARS)
            for field in FIELDS
        }
        self.request.reply(self._owner.rules.decide(question).decision())
