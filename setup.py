"""Packaging of micronode: a flat layout with a twistd plugin beside the package.

``package_dir`` is spelled out because an editable install otherwise hides
``twisted/plugins`` from ``twistd``; and ``twisted/`` must never get an ``__init__.py``.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
VERSION = re.search(r'^__version__ = "([^"]+)"', (HERE / "micronode/__init__.py").read_text("utf-8"), re.M)
if VERSION is None:
    raise SystemExit("micronode/__init__.py has no __version__ literal")

# The switches of the facets are configuration; the extras exist so that an installation can
# say what it is for, and so that a facet that ever needs a library has a place to name it.
FACETS: dict[str, list[str]] = {"graph": [], "search": [], "feed": [], "media": []}

TEST = [
    "abnf>=2.9",
    "coverage[toml]>=7.6",
    "docutils>=0.21",
    "hypothesis>=6.100",
    "mypy>=1.15",
    "mypy-zope>=1.0.12",
    "pytest>=8.0",
    "pytest-twisted>=1.14",
    "ruff>=0.9",
    "build>=1.2",
    "h11>=0.16",
    "aiohttp>=3.12",
    # What it has wheels for; elsewhere the fuzzer's test is skipped.
    "atheris>=3.0; sys_platform == 'linux' and platform_machine == 'x86_64' and python_version < '3.15'",
    # It brings Kubernetes' schemas with it; its version is that of the newest.
    "kubernetes-validate>=1.36",
    "openapi-spec-validator>=0.9",
    "schemathesis>=4.20",
    "PyYAML>=6.0",
    "packaging>=24.0",
    "setuptools>=77",
]

# What tests/bench measures us against; nothing else imports them.
BENCH = [
    "aiohttp>=3.12",
    "hyperframe>=6.1",
    "msgpack>=1.1",
    "uvloop>=0.21; sys_platform != 'win32'",
    "websockets>=15.0",
    "wsproto>=1.2",
]

setup(
    name="micronode",
    version=VERSION[1],
    description="A hardened, protocol-first network node that stands in front of your services",
    long_description=(HERE / "README.rst").read_text("utf-8"),
    long_description_content_type="text/x-rst",
    license_expression="MIT OR Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[*find_packages(include=["micronode", "micronode.*"]), "twisted.plugins"],
    package_dir={"": "."},
    package_data={"micronode": ["py.typed"]},
    include_package_data=False,
    install_requires=[
        "Twisted[tls]>=26.10",
        "treq>=26.7",
        "klein>=24.8",
        "prometheus-client>=0.21",
        "attrs>=24.1",
        "idna>=3.7",
        "Automat>=24.8",
        "blake3>=1.0",
        "zope.interface>=7.0",
        "httptools>=0.9",
        "zstandard>=0.23",
    ],
    extras_require={
        **FACETS,
        "pq-hybrid": ["liboqs-python>=0.10"],
        "test": TEST,
        "bench": BENCH,
        "docs": ["docutils>=0.21", "Sphinx>=8.0"],
    },
    entry_points={"console_scripts": ["micronode = micronode.cli.main:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Framework :: Twisted",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Internet :: Proxy Servers",
        "Typing :: Typed",
    ],
    zip_safe=False,
)
