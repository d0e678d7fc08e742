"""Opening the SQLite files of ``--data DIR``, or databases in memory.

The settings are chosen so that no statement waits for the disk: ``synchronous=OFF`` leaves writing
to the operating system. Data outlives the process, however it ends; a power cut may cost it, which a
stand-in for development can afford and a reactor thread that waits for a disk could not.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

from micronode.devowners.options import StartError


def prepare_directory(directory: Path) -> None:
    """Make *directory*, private to this user, where it does not exist yet.

    An existing one is closed to others as well if it is empty or was used by us before; in a
    directory that holds other things only our files are private.

    :raises StartError: 78.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = set(os.listdir(directory))
        if not names or "index.sqlite" in names:
            directory.chmod(0o700)
        if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(13, "not readable and writable by this user")
    except OSError as error:
        raise StartError(
            os.EX_CONFIG, f"--data {directory}: {error.strerror}; name a directory of your own"
        ) from None


def open_database(directory: Path | None, name: str, schema: str, *, version: int) -> sqlite3.Connection:
    """Open database *name* in *directory*, or in memory, and make its tables where they are missing.

    The connection commits each statement by itself and holds the file alone. It may be used from
    any thread, but by one at a time; which one is the engine's business.

    :param version: of *schema*; a file made by another one is refused rather than guessed at.
    :raises StartError: 78: in use, not a database, made by another version; 69: no FTS5.
    """
    path = directory / f"{name}.sqlite" if directory is not None else None
    if path is not None and path.exists() and not stat.S_ISREG(path.lstat().st_mode):
        raise StartError(os.EX_CONFIG, f"--data: {path} is not a plain file")
    try:
        # timeout=0: a file somebody else holds stays held, so say so at once.
        connection = sqlite3.connect(
            path or ":memory:", isolation_level=None, check_same_thread=False, timeout=0
        )
        try:
            return _prepare(connection, schema, version)
        except BaseException:
            connection.close()
            raise
    except _VersionError:
        raise StartError(os.EX_CONFIG, f"--data: {path} was made by another version; move it away") from None
    except sqlite3.Error as error:
        if "fts5" in str(error):
            raise StartError(os.EX_UNAVAILABLE, "this Python's SQLite was built without FTS5") from None
        if "locked" in str(error):
            raise StartError(
                os.EX_CONFIG, f"--data: {path} is in use by another process; stop it first"
            ) from None
        raise StartError(
            os.EX_CONFIG, f"--data: {path}: {error}; move it away or name another directory"
        ) from None


class _VersionError(Exception):
    pass


def _prepare(connection: sqlite3.Connection, schema: str, version: int) -> sqlite3.Connection:
    for pragma in (
        "page_size = 16384",  # objects are written 256 KiB at a time
        "locking_mode = EXCLUSIVE",
        "journal_mode = WAL",
        "wal_autocheckpoint = 256",  # 4 MiB: a checkpoint's copying stays within a few milliseconds
        "synchronous = OFF",
        "temp_store = MEMORY",  # sorting must not leave files either
        "secure_delete = OFF",
    ):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN EXCLUSIVE")
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    is_new = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if is_new:
        # executescript() would commit first and so give up the lock between.
        for statement in schema.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("COMMIT")
    if not is_new and found != version:
        raise _VersionError
    return connection
