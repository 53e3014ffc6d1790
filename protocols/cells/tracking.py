"""Databases that receive Sacred's runs beside the file observer: SQL and MongoDB servers, by URL.

A server that is down costs a warning and its own entry, never the run.
"""

from __future__ import annotations

import importlib.util
import logging
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fewshot.base.errors import UserError

LOG = logging.getLogger("fewshot")
MONGO = ("mongodb", "mongodb+srv")
WAIT = 5000  # milliseconds for a MongoDB server
PACKAGES = {True: "pymongo", False: "sqlalchemy"}  # by whether the URL is MongoDB's
NAME = "fewshot"  # database of MongoDB, if the URL names none


def check_observers(urls: Sequence[str]) -> tuple[str, ...]:
    """Return the URLs of observers; raise `UserError` for a text that is no URL, or a missing package."""
    for url in urls:
        scheme, separator, rest = url.partition("://")
        if not scheme or not separator or not rest:
            raise UserError(
                f"--observer {url!r}: expected a URL such as sqlite:///runs.db, postgresql://host/runs or "
                "mongodb://host/runs"
            )
        package = PACKAGES[scheme in MONGO]
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"--observer {without_password(url)}: {package} is not installed; "
                "pip install 'fewshot-medseg[tracking]'"
            )
        if scheme not in MONGO:
            _check_sql(url)
    return tuple(urls)


def _check_sql(url: str) -> None:
    """Raise `UserError` for a database that SQLAlchemy does not know, or whose driver is missing."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError

    try:
        create_engine(url)
    except (ArgumentError, ModuleNotFoundError) as error:
        raise UserError(
            f"--observer {without_password(url)}: {error}; name a database that SQLAlchemy knows, and "
            "install its driver"
        ) from None


def without_password(url: str) -> str:
    """Return a URL without what stands before its host."""
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


class GuardedObserver:
    """A Sacred observer of a database: the first error of the database ends its part with a warning."""

    priority = 50  # before the file observer, which replaces the names of sources by its own

    def __init__(
        self, url: str, make: Callable[[], Any], errors: tuple[type[Exception], ...], run_id: Any
    ) -> None:
        """Make the observer lazily by `make`; `errors` are the database's, `run_id` its id of the run."""
        self._url, self._make, self._errors, self._run_id = url, make, errors, run_id
        self._observer: Any = None
        self._is_down = False

    def started_event(self, *arguments: Any, _id: Any, **named: Any) -> Any:
        """Start the entry; the files' id of the run is no id of the database."""
        self._call("started_event", *arguments, _id=self._run_id, **named)
        return _id

    def __getattr__(self, name: str) -> Any:
        """Return a guarded event of the observer."""
        if name.endswith("_event") or name in ("log_metrics", "join"):
            return partial(self._call, name)
        raise AttributeError(name)

    def _call(self, name: str, *arguments: Any, **named: Any) -> None:
        if self._is_down:
            return
        try:
            if self._observer is None:
                self._observer = self._make()
            getattr(self._observer, name)(*arguments, **named)
        except self._errors as error:
            self._is_down = True
            first = str(error).partition("\n")[0].partition(" (configured")[0]
            LOG.warning("no entry in %s: %s; the run continues", without_password(self._url), first)


def database_observer(url: str, mongo: Any, sql: Any) -> GuardedObserver:
    """Return the guarded observer of a URL; `mongo` and `sql` are Sacred's classes."""
    if url.partition("://")[0] in MONGO:
        from pymongo.errors import PyMongoError
        from pymongo.uri_parser import parse_uri

        database = parse_uri(url)["database"] or NAME
        make = partial(mongo, url=url, db_name=database, serverSelectionTimeoutMS=WAIT)
        return GuardedObserver(url, make, (PyMongoError, OSError), None)
    from sqlalchemy.exc import SQLAlchemyError

    return GuardedObserver(url, partial(sql, url), (SQLAlchemyError, OSError), uuid.uuid4().hex)
