"""micronode.security.identity: files become what connections to owners are made with."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from micronode.config.problems import ConfigError
from micronode.config.schema import Config
from micronode.security.identity import Identity, read_identities, rewritten, system_identity
from tests.support.certificates import CLIENT, make_authority

URL = "https://owner"


class IdentityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.authority = make_authority()
        self.ca = self.authority.save(self.folder, "ca")[0]
        self.node = self.authority.sign("node", usage=CLIENT)
        self.certificate, self.key = self.node.save(self.folder, "node", self.authority)

    def read(self, known: Any = None, **owner: Any) -> dict[str, Identity]:
        config = Config.from_mapping({"owners": {"index": {"url": URL, **owner}}})
        return read_identities(config, known or {})

    def problems(self, **owner: Any) -> list[str]:
        return [str(each) for each in self.assertRaises(ConfigError, self.read, **owner).problems]

    def test_only_who_is_reached_over_tls(self) -> None:
        self.assertEqual(read_identities(Config(), {}), {})
        self.assertEqual(list(self.read(url=["http://a", URL])), ["index"])

    def test_without_files(self) -> None:
        found = self.read()["index"]
        self.assertIs(found, system_identity())
        self.assertEqual(found.files, {})

    def test_equal_where_the_files_say_the_same(self) -> None:
        files = {"ca": self.ca, "certificate": self.certificate, "private_key": self.key}
        before = self.read(**files)
        self.assertEqual(set(before["index"].files), set(files))
        self.assertIs(self.read(before, **files)["index"], before["index"])
        self.authority.save(self.folder, "copy")
        again = self.read(before, **files | {"ca": str(self.folder / "copy.pem")})
        self.assertIs(again["index"], before["index"])
        self.assertEqual(list(rewritten(before, again)), [])

    def test_what_says_the_same_is_not_parsed_again(self) -> None:
        """A reload reads them in the reactor's thread, and a file of authorities takes long."""
        files = {"ca": self.ca, "certificate": self.certificate, "private_key": self.key}
        before = self.read(**files)["index"]
        Path(self.ca).write_bytes(b"x")
        known = attrs.evolve(before, files=before.files | {"ca": hashlib.sha256(b"x").hexdigest()})
        self.assertIs(self.read({"index": known}, **files)["index"], known)
        self.authority.save(self.folder, "ca")
        Path(self.key).chmod(0o644)
        self.assertRaises(ConfigError, self.read, {"index": before}, **files)

    def test_other_where_one_says_something_else(self) -> None:
        files = {"ca": self.ca, "certificate": self.certificate, "private_key": self.key}
        before = self.read(**files)
        make_authority("new").save(self.folder, "ca")
        after = self.read(before, **files)
        self.assertNotEqual(after, before)
        self.assertEqual(list(rewritten(before, after)), ["owners.index.ca"])
        renewed = self.authority.sign("node", usage=CLIENT)
        renewed.save(self.folder, "node")
        changed = list(rewritten(after, self.read(after, **files)))
        self.assertEqual(changed, ["owners.index.certificate", "owners.index.private_key"])

    def test_the_key_is_not_shown(self) -> None:
        found = self.read(certificate=self.certificate, private_key=self.key)["index"]
        self.assertNotIn("PRIVATE", repr(found))
        self.assertEqual(sorted(found.files), ["certificate", "private_key"])

    def test_every_file_that_is_of_no_use(self) -> None:
        """All are told at once, each at its key."""
        Path(self.key).chmod(0o644)
        Path(self.certificate).write_bytes(b"x")
        told = self.problems(ca="/nowhere", certificate=self.certificate, private_key=self.key)
        self.assertEqual(len(told), 3)
        for text, name, what in zip(
            told,
            ("ca", "certificate", "private_key"),
            ("cannot read .*no such file", "no PEM file of certificates", "every user can read"),
            strict=True,
        ):
            self.assertRegex(text, f"^owners.index.{name}: .*{what}.*; ")

    def test_another_certificates_key(self) -> None:
        key = self.authority.sign("other", usage=CLIENT).save(self.folder, "other")[1]
        (told,) = self.problems(certificate=self.certificate, private_key=key)
        self.assertRegex(
            told, "^owners.index.private_key: .* is not the key of the first certificate in .*; "
        )

    def test_a_chain_in_the_wrong_order(self) -> None:
        self.authority.save(self.folder, "node", self.node)
        Path(self.key).write_bytes(self.node.key_pem)
        (told,) = self.problems(certificate=self.certificate, private_key=self.key)
        self.assertIn("its own certificate comes first", told)

    def test_of_every_owner(self) -> None:
        given = {name: {"url": URL, "ca": f"/none/{name}"} for name in ("index", "storage", "overlay")}
        error = self.assertRaises(ConfigError, read_identities, Config.from_mapping({"owners": given}), {})
        places = [each.where for each in error.problems]
        self.assertEqual(sorted(places), ["owners.index.ca", "owners.overlay.ca", "owners.storage.ca"])

    def test_of_custom_facets_that_are_switched_on(self) -> None:
        routes = [{"method": "GET", "path": "/{rest}", "access": "read"}]
        own = {"kind": "proxy", "upstream": URL, "routes": routes, "ca": "/none"}
        off = Config.from_mapping({"facets": {"own": {**own, "enabled": False}}})
        self.assertEqual(read_identities(off, {}), {})
        error = self.assertRaises(
            ConfigError, read_identities, Config.from_mapping({"facets": {"own": own}}), {}
        )
        self.assertEqual([each.where for each in error.problems], ["facets.own.ca"])
