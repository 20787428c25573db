"""The command ``lake``: its commands, and how an exception becomes an exit code.

0 done · 1 failed · 2 usage or configuration · 3 not found · 4 differences · 5 conflict · 6 unsupported · 7 run again ·
130 interrupted.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakehouse_cli.options import Session

__all__ = ["main", "run"]

INTERRUPTED = 130


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:])
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    os._exit(
        code
    )  # not sys.exit: obstore's threads may let go of bytes of an aborted upload while the interpreter ends, and crash


def run(arguments: list[str]) -> int:
    """Run ``lake`` with ``arguments`` and give its exit code.

    Importing takes a while, so all of it happens here, after Ctrl-C is taken care of.
    """
    interrupts = _Interrupts()
    if arguments == ["--version"]:  # on its own, since it must not wait for the imports below
        from lakehouse.version import __version__
        from lakehouse_cli import output

        output.line(f"lake {__version__}")
        return 0
    import typer

    from lakehouse.errors import LakeError
    from lakehouse_cli.app import app
    from lakehouse_cli.options import Session

    usage_error = typer.BadParameter.__bases__[0]  # typer's own or click's: that depends on typer's version
    session = Session(json="--json" in arguments, command=next((word for word in arguments if not word.startswith("-")), "lake"))
    try:
        interrupts.release()
        code = typer.main.get_command(app).main(arguments, prog_name=_program(), obj=session, standalone_mode=False)
        return _fail(session, INTERRUPTED, "Interrupted", _STOPPED) if code == INTERRUPTED else int(code or 0)
    except LakeError as error:
        return _fail(session, error.exit_code, type(error).__name__, str(error), error)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(session, INTERRUPTED, "Interrupted", _STOPPED)
    except BrokenPipeError:
        return 1
    except Exception as error:  # noqa: BLE001 (the last resort: no traceback reaches a user)
        if isinstance(error, usage_error):
            return _usage(session, error)
        message = f"unexpected {type(error).__name__}: {error}; this is a fault in lake; -vv shows where"
        return _fail(session, 1, "Unexpected", message, error)


def _program() -> str:
    """``lake``, or ``lakehouse`` where Lean's build tool has the shorter name."""
    return "lakehouse" if os.path.basename(sys.argv[0]) == "lakehouse" else "lake"


_STOPPED = "interrupted; what is whole was kept, and running again continues from there"


def _usage(session: Session, error: Exception) -> int:
    """A wrong call: one line and where help is. Without any arguments the help itself is the answer."""
    from lakehouse_cli import output

    message = str(getattr(error, "format_message", lambda: str(error))())
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", "lake")
    if type(error).__name__ == "NoArgsIsHelpError" and not session.json:
        output.note(message)
        return 2
    session.command = path.partition(" ")[2] or "lake"
    return _fail(session, 2, "Usage", f"{message.rstrip('.')}; see {path} --help")


def _fail(session: Session, exit_code: int, kind: str, message: str, error: Exception | None = None) -> int:
    from lakehouse_cli import output

    output.failure(session.command, kind, message, session.log_format, error if session.verbose > 1 else None)
    findings = list(getattr(getattr(error, "report", None), "findings", ()))
    if session.json:
        from lakehouse_cli.schemas import ErrorDocument

        output.document(
            ErrorDocument.model_validate(
                {
                    "command": session.command,
                    "ok": False,
                    "exit_code": exit_code,
                    "error": {"kind": kind, "message": output.redacted(message)},
                    "findings": findings,
                }
            )
        )
        return exit_code
    for finding in findings:
        output.line(f"{finding.sign} {finding.path}: {finding.message}")
    return exit_code


class _Interrupts:
    """The first Ctrl-C, or SIGTERM, raises KeyboardInterrupt: the library submits no more and keeps what is whole. The second
    ends at once.

    Until `release` the first is only noted: raised in the middle of an import it would leave half a module behind, or be lost.
    """

    def __init__(self) -> None:
        self._noted, self._held = False, True
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._interrupt)

    def release(self) -> None:
        """From now on Ctrl-C raises; one that was noted does so here."""
        self._held = False
        if self._noted:
            raise KeyboardInterrupt

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._noted:
            os._exit(INTERRUPTED)
        self._noted = True
        if not self._held:
            from lakehouse_cli import output

            output.interrupting()
            raise KeyboardInterrupt


if __name__ == "__main__":
    main()
