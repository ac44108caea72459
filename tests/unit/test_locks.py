"""Locks between processes, and file systems that have none; what is said of them, once."""

from __future__ import annotations

import errno
import os
import warnings

import pytest

from clipfed_bench.core.locks import BusyError, locked
from clipfed_bench.core.notices import notice, shown_by


class Refusing:
    """A lock on a file system that answers with ``number``."""

    def __init__(self, number):
        self.number = number

    def __call__(self, path, **options):
        return self

    def __enter__(self):
        raise OSError(self.number, os.strerror(self.number))

    def __exit__(self, *error):
        pytest.fail("released, and never held")


@pytest.mark.parametrize("wait", [True, False])
def test_a_file_system_without_locks_is_used_without_and_it_is_said_once(tmp_path, wait):
    said, inside = [], 0
    with shown_by(said.append):
        for name in ("ENOTSUP", "EOPNOTSUPP", "ENOSYS", "ENOLCK"):
            with locked(tmp_path / ".lock", wait, Refusing(getattr(errno, name))):
                inside += 1
        with locked(tmp_path / "another", wait, Refusing(errno.ENOLCK)):
            inside += 1
    assert inside == 5
    (text,) = said
    assert "has no locks" in text


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_what_else_goes_wrong_is_an_error(tmp_path, number):
    with pytest.raises(OSError, match=os.strerror(number)), locked(tmp_path / ".lock", make=Refusing(number)):
        pytest.fail("held")


def test_a_lock_is_held_by_one_and_an_error_inside_is_not_taken_for_its_own(tmp_path):
    with locked(tmp_path / ".lock"), pytest.raises(BusyError), locked(tmp_path / ".lock", wait=False):
        pytest.fail("held twice")
    with pytest.raises(OSError, match="no locks"), locked(tmp_path / ".lock"):
        raise OSError(errno.ENOLCK, "no locks")
    with locked(tmp_path / ".lock", wait=False):
        pass


def test_a_notice_is_said_once_and_to_whoever_listens():
    first, second = [], []
    with shown_by(first.append):
        notice("x")
        notice("x")
        with shown_by(second.append):
            notice("x")
        notice("x")
    assert (first, second) == (["x"], ["x"])
    with pytest.warns(UserWarning, match="nobody listens"):
        notice("nobody listens")
    with warnings.catch_warnings(action="error"):
        notice("nobody listens")
