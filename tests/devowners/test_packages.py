"""Tests for :mod:`micronode.devowners.packages`."""

from email.message import Message
from importlib.metadata import Distribution
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.corpus import Document, Edge
from micronode.devowners.packages import PackageCorpus, requirements


class StubDistribution(Distribution):
    """A distribution whose METADATA is the text it was given."""

    def __init__(self, metadata: str | None) -> None:
        self._text = metadata

    def read_text(self, filename: str) -> str | None:
        return self._text if filename == "METADATA" else None

    def locate_file(self, path: object) -> Path:
        return Path(str(path))


def metadata(name: str, *lines: str, description: str = "") -> StubDistribution:
    return StubDistribution("\n".join([f"Name: {name}", "Version: 1", *lines, "", description]))


def documents(*found: Distribution) -> list[Document]:
    return list(PackageCorpus(lambda: found))


class RequirementsTests(SynchronousTestCase):
    def test_names_are_normalised_and_markers_dropped(self) -> None:
        self.assertEqual(
            requirements(
                [
                    "Zope.Interface>=5",
                    "typing_extensions ; python_version < '3.10'",
                    "a[b,c] (>1)",
                    "x@ https://y",
                ]
            ),
            [Edge("requires", name) for name in ("zope-interface", "typing-extensions", "a", "x")],
        )

    def test_extras_are_optional_unless_needed_anyway(self) -> None:
        self.assertEqual(
            requirements(["a; extra == 'x'", "b; extra=='x'", "b", "c; os_name == 'nt' and extra == 'y'"]),
            [Edge("requires", "a", True), Edge("requires", "b"), Edge("requires", "c", True)],
        )

    def test_nonsense_is_left_out(self) -> None:
        self.assertEqual(requirements(["", " ", ";", "=1"]), [])


class PackageCorpusTests(SynchronousTestCase):
    def test_a_document_of_a_distribution(self) -> None:
        (document,) = documents(
            metadata(
                "Some.Package",
                "Summary: It does things",
                "Description-Content-Type: text/markdown; charset=UTF-8; variant=GFM",
                "Requires-Dist: Other",
                "Requires-Dist: some-package[x]; extra == 'all'",
                description="# Head\n[link](x)",
            )
        )
        self.assertEqual(document.id, "some-package")
        self.assertEqual(document.title, "Some.Package: It does things")
        self.assertEqual(document.text, "Head\nlink")
        self.assertEqual(document.body, b"# Head\n[link](x)")
        self.assertEqual(document.content_type, "text/markdown; charset=utf-8")
        self.assertEqual(document.edges, (Edge("requires", "other"),))

    def test_without_description_the_title_stands_in(self) -> None:
        (document,) = documents(metadata("a", "Summary: UNKNOWN", description="UNKNOWN"))
        self.assertEqual((document.title, document.text, document.body), ("a", "", b"a"))
        self.assertEqual(document.content_type, "text/plain; charset=utf-8")

    def test_the_first_of_a_name_wins(self) -> None:
        found = documents(metadata("a", "Summary: first"), metadata("A", "Summary: second"))
        self.assertEqual([document.title for document in found], ["a: first"])

    def test_damaged_metadata_is_counted(self) -> None:
        class Broken(StubDistribution):
            @property
            def metadata(self) -> Message:  # type: ignore[override]
                raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

        corpus = PackageCorpus(lambda: [Broken(None), StubDistribution("Version: 1\n"), metadata("a")])
        self.assertEqual([document.id for document in corpus], ["a"])
        self.assertEqual(corpus.skipped["unreadable"], 2)

    def test_the_environment_itself(self) -> None:
        found = {document.id: document for document in PackageCorpus()}
        targets = {edge.target for edge in found["klein"].edges}
        self.assertLessEqual({"twisted", "werkzeug", "attrs", "zope-interface"}, targets)
        self.assertGreater(len(found["twisted"].text), 1000)
